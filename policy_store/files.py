"""Files that others read while we write: replaced whole and durably, by one writer at a time."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def only_writer(target: Path) -> Iterator[None]:
    """Keep other writers of `target` out, through a lock file beside it; makes its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_name(target.name + ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def replace_file(target: Path, content: bytes, mode: int) -> None:
    """Put `content` at `target` with these permissions; a crash leaves the old file or the new."""
    name = _scrap(target, content, mode)
    try:
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def create_file(target: Path, content: bytes, mode: int) -> bool:
    """The same where nothing is yet; False, and nothing is changed, when something is."""
    name = _scrap(target, content, mode)
    try:
        os.link(name, target)
    except FileExistsError:
        return False
    finally:
        Path(name).unlink(missing_ok=True)
    _sync_folder(target.parent)
    return True


def _scrap(target: Path, content: bytes, mode: int) -> str:
    handle, name = tempfile.mkstemp(prefix=target.name + ".", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return name


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
