"""Files that others read while we write: replaced whole and durably, by one writer at a time."""

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LOCK_S, LOCK_POLL_S = 30.0, 0.001
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def only_writer(target: Path) -> Iterator[None]:
    """Keep other writers of `target` out, through a lock file beside it; makes its folder.

    Raises:
        OSError: another one has kept it for `LOCK_S`, or the disk refuses.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_name(target.name + ".lock"), "w", encoding="ascii") as lock:
        _lock(lock.fileno(), time.monotonic() + LOCK_S)
        yield


def _lock(handle: int, until_s: float) -> None:
    """A process that was stopped with the lock in its hands must not stop all others."""
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until_s:
                raise
        time.sleep(LOCK_POLL_S)


def replace_file(target: Path, content: bytes, mode: int, *, durable: bool = True) -> None:
    """Put `content` at `target` with these permissions; a crash leaves the old file or the new.

    Not `durable`, it waits for no disk, and a power cut may leave either, too, or an empty file.
    """
    part = _write_part(target, content, mode, durable)
    try:
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if durable:
        sync(target.parent)


def create_file(target: Path, content: bytes, mode: int) -> bool:
    """The same where nothing is yet; False, and nothing is changed, when something is."""
    try:
        with new_file(target, mode) as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


@contextmanager
def new_file(target: Path, mode: int) -> Iterator[BinaryIO]:
    """A file to write, which is at `target`, whole and durable, once the block ends well.

    Raises:
        FileExistsError: something is there by then; it is not changed.
    """
    part = _part_name(target)
    try:
        with _created(part) as file:
            yield file
            _finish(file, mode, durable=True)
        os.link(part, target)
    finally:
        part.unlink(missing_ok=True)
    sync(target.parent)


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """A file to read; a pipe or device in its place is an OSError at once, not a wait for ever."""
    with open(os.open(path, _READ), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        yield file


def sync(path: Path) -> None:
    """Have the disk hold what a file or folder holds."""
    handle = os.open(path, _READ)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_part(target: Path, content: bytes, mode: int, durable: bool) -> Path:
    part = _part_name(target)
    try:
        with _created(part) as file:
            file.write(content)
            _finish(file, mode, durable)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def _part_name(target: Path) -> Path:
    return target.with_name(f"{target.name}.{secrets.token_hex(8)}.part")


def _created(part: Path) -> BinaryIO:
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return os.fdopen(handle, "wb")


def _finish(file: BinaryIO, mode: int, durable: bool) -> None:
    file.flush()
    os.fchmod(file.fileno(), mode)
    if durable:
        os.fsync(file.fileno())


def stamp_of(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is replaced; None while there is none."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
