"""The key of a deployment, under which names and prompts are hashed; it never leaves its hosts.

Gateways that share the file agree on the numbers of tenants, sessions and prefix blocks, and so
do their logs; a gateway that is restarted agrees with itself. Whoever has both the key and a log
can try out guesses, so the file is for its owner's eyes only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from pathlib import Path

from serving_adapter.errors import AdapterError

KEY_BYTES = 32
NAME = "hash.key"
_MOST_BYTES = 1024

_log = logging.getLogger("evolver.host")


def hash_key(path: Path) -> bytes:
    """The key in a file, which is made where it is not.

    Raises:
        AdapterError: it cannot be made or read, or holds no key.
    """
    try:
        if not path.exists():
            _make(path)
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES)
            shown = os.fstat(file.fileno()).st_mode & 0o007
        key = bytes.fromhex(text.decode("ascii"))
    except OSError as error:
        raise AdapterError(
            f"The hash key {path} cannot be used: {error.strerror}; name another file."
        ) from error
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise AdapterError(
            f"The hash key {path} is not {KEY_BYTES} bytes in hexadecimal: remove it and one is "
            "made, or copy the one of another gateway."
        )
    if shown:
        _log.warning("others can read the hash key: take their rights to the file away")
    return key


def known_key(folder: Path | None) -> bytes | None:
    """The key in a host's folder, for doors that make none; None where there is none.

    Raises:
        AdapterError: as for `hash_key`.
    """
    path = None if folder is None else folder / NAME
    return hash_key(path) if path is not None and path.exists() else None


def _make(path: Path) -> None:
    """Write a fresh key; of two processes that start at once the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES).hex().encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(waiting, path)
    finally:
        waiting.unlink()
