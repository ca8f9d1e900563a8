"""Keeps machine code on disk so that nobody else can put code there: private and authenticated.

A directory belongs to this user alone (0700). Each file carries an HMAC-SHA256 under a random key
that lies beside it (0600): what was written by anything that cannot read the key is ignored,
deleted and compiled again. Files are written whole or not at all, by any number of processes.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sandbox.errors import CacheRefused
from sandbox.home import home
from sandbox.native.machine_code import MAX_CODE_BYTES

KEY_BYTES = 32
MOST_BYTES = 256 << 20
UNFINISHED_S = 3600.0  # a temporary file that is older was left by a process that died

_MAGIC = b"evolverc"
_MAC_BYTES = 32
_KEY_NAME = "key"
_SUFFIX = ".code"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_log = logging.getLogger("evolver.sandbox.native")


class CodeCache:
    """Bytes by name in one private directory; the least recently used go first.

    Args:
        directory: made when missing, its parents too.
        most_bytes: of all files together.
    """

    def __init__(self, directory: Path, most_bytes: int = MOST_BYTES) -> None:
        self.directory = directory
        self._most_bytes = most_bytes

    def get(self, name: str) -> bytes | None:
        """What was kept under a name (a digest); None when nothing was, or nothing authentic.

        Raises:
            CacheRefused: the directory is not this user's alone.
        """
        with private_directory(self.directory) as folder:
            try:
                data = _read(folder, name + _SUFFIX, len(_MAGIC) + _MAC_BYTES + MAX_CODE_BYTES)
                key = _key(folder)
            except FileNotFoundError:
                return None
            except OSError:
                key, data = b"", b""
            mac, payload = data[len(_MAGIC) :][:_MAC_BYTES], data[len(_MAGIC) + _MAC_BYTES :]
            expected = _mac(key, name, payload)
            if data[: len(_MAGIC)] == _MAGIC and hmac.compare_digest(mac, expected):
                return payload
            _log.warning("machine code %s is not authentic: deleted, to be compiled again", name)
            _remove(folder, name + _SUFFIX)
            return None

    def put(self, name: str, payload: bytes) -> None:
        """Keep bytes under a name; when the disk will not, say so and go on.

        Raises:
            CacheRefused: the directory is not this user's alone.
        """
        with private_directory(self.directory) as folder:
            try:
                data = _MAGIC + _mac(_key(folder), name, payload) + payload
                temporary = _write(folder, data)
                os.rename(temporary, name + _SUFFIX, src_dir_fd=folder, dst_dir_fd=folder)
                self._make_room(folder)
            except OSError as error:
                _log.warning("machine code cannot be kept in %s: %s", self.directory, error)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name; `get` tells whether it is authentic."""
        return (self.directory / (name + _SUFFIX)).is_file()

    def _make_room(self, folder: int) -> None:
        """Delete the files that were used longest ago, and what dying processes left."""
        files = []
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if name.endswith(_SUFFIX):
                    files.append((found.st_mtime, found.st_size, name))
                elif name != _KEY_NAME and found.st_mtime < time.time() - UNFINISHED_S:
                    _remove(folder, name)
        total = sum(size for _, size, _ in files)
        for _, size, name in sorted(files):
            if total <= self._most_bytes:
                break
            _remove(folder, name)
            total -= size


@contextlib.contextmanager
def private_directory(path: Path) -> Iterator[int]:
    """A descriptor of a directory of this user that nobody else may enter; made when missing.

    Raises:
        CacheRefused: it is somebody else's, others may write to it, or it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise CacheRefused(
            f"No machine code can be kept in {path} ({error.strerror}): set EVOLVER_HOME to a "
            "directory of yours."
        ) from error
    try:
        found = os.fstat(folder)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise CacheRefused(
                f"Others may write machine code into {path}: delete it, or set EVOLVER_HOME to a "
                "directory of yours."
            )
        if found.st_mode & 0o077:
            os.fchmod(folder, 0o700)
        yield folder
    finally:
        os.close(folder)


def _mac(key: bytes, name: str, payload: bytes) -> bytes:
    """Over the name too: one file's content is not good as another's."""
    return hmac.digest(key, _MAGIC + name.encode() + b"\0" + payload, "sha256")


def _key(folder: int) -> bytes:
    """This directory's key; made by whoever comes first, and anew when it was not kept private."""
    try:
        return _read_key(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("the key of the machine code is not usable (%s): a new one is made", error)
        _remove(folder, _KEY_NAME)
    temporary = _write(folder, secrets.token_bytes(KEY_BYTES))
    with contextlib.suppress(FileExistsError):
        os.link(temporary, _KEY_NAME, src_dir_fd=folder, dst_dir_fd=folder)
    _remove(folder, temporary)
    return _read_key(folder)


def _read_key(folder: int) -> bytes:
    key = _read(folder, _KEY_NAME, KEY_BYTES)
    if len(key) != KEY_BYTES:
        raise OSError("it is too short")
    return key


def _read(folder: int, name: str, most_bytes: int) -> bytes:
    """A file of this user that nobody else may read or write; no link, no pipe.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is anything else.
    """
    with open(os.open(name, _READ, dir_fd=folder), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > most_bytes:
            raise OSError("it is no such file")
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise OSError("it is not private")
        os.utime(file.fileno())
        return file.read(most_bytes)


def _write(folder: int, data: bytes) -> str:
    """A new file, whole; its name."""
    name = f".{os.getpid()}-{secrets.token_hex(8)}"
    try:
        with open(os.open(name, _CREATE, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
    except OSError:
        _remove(folder, name)
        raise
    return name


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)


def code_directory(kind: str) -> Path:
    """A private directory for a kind of machine code, the first that can be had: beside the
    package, as in a clone of the repository, else under EVOLVER_HOME.

    Raises:
        CacheRefused: there is none; the message is about the last.
    """
    beside = Path(__file__).resolve().parent / "__numba__"
    refused = CacheRefused("Machine code has no place: set EVOLVER_HOME to a directory of yours.")
    for root in (beside, home() / "cache" / "native"):
        try:
            with private_directory(root), private_directory(root / kind):
                pass
            if os.access(root / kind, os.W_OK):
                return root / kind
        except CacheRefused as error:
            refused = error
    raise refused
