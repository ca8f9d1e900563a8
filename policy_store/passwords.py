"""Passwords as they are kept: scrypt, its parameters beside each hash, so that they can grow.

    scrypt$32768$8$1$SALT$HASH        n, r, p, then 16 and 32 bytes in URL-safe base64

Asking for somebody who does not exist costs the same work as asking for somebody who does. A hash
takes 128 * n * r bytes of memory, so few are made at once.
"""

import hashlib
import hmac
import os
import threading
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from policy_store.errors import InvalidInput

MIN_CHARS, MAX_CHARS, MIN_DIFFERENT = 12, 1024, 5
SALT_BYTES, HASH_BYTES = 16, 32
AT_ONCE = 2

_turns = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class Work:
    """What one guess costs: `n` is a power of two; 128 * n * r bytes of memory."""

    n: int = 1 << 15
    r: int = 8
    p: int = 1


NOW = Work()
"""What new hashes cost; older ones are made again when their owner signs in."""


def check_password(password: str, name: str) -> None:
    """Pass a password that cannot be guessed in a few tries.

    Raises:
        InvalidInput: it can.
    """
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise InvalidInput(
            f"A password has {MIN_CHARS} to {MAX_CHARS:,} characters, this one {len(password)}: "
            "choose another, such as four words."
        )
    if len(set(password)) < MIN_DIFFERENT or name.casefold() == password.casefold():
        raise InvalidInput("That password is guessed at once: choose another, such as four words.")


def hashed(password: str) -> str:
    """The text to keep."""
    return _text(NOW, os.urandom(SALT_BYTES), password)


def matches(password: str, kept: str | None) -> bool:
    """Whether this is the password; None, for somebody without one, takes as long to deny."""
    if kept is None or len(password) > MAX_CHARS:
        hashed("nobody has this password")
        return False
    return hmac.compare_digest(_text(_work(kept), _salt(kept), password), kept)


def outdated(kept: str) -> bool:
    """Whether a hash is cheaper to guess at than one made now."""
    return _work(kept) != NOW


def _text(work: Work, salt: bytes, password: str) -> str:
    # The same password typed on another keyboard may be composed otherwise.
    secret = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    memory = 256 * work.n * work.r
    with _turns:
        made = hashlib.scrypt(
            secret, salt=salt, n=work.n, r=work.r, p=work.p, maxmem=memory, dklen=HASH_BYTES
        )
    return f"scrypt${work.n}${work.r}${work.p}${_base64(salt)}${_base64(made)}"


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode("ascii")


def _work(kept: str) -> Work:
    _, n, r, p, _, _ = kept.split("$")
    return Work(int(n), int(r), int(p))


def _salt(kept: str) -> bytes:
    return urlsafe_b64decode(kept.split("$")[4])
