"""Ed25519 keys: the private one that signs what goes live, and the public ones a host trusts.

    FOLDER/signing.pem    the signing key, PKCS 8, mode 0600; no passphrase, so that it works unseen
    trusted_keys.json     {"schema": 1, "keys": [{"id": hex, "public_key": hex, "owner": str}]}

A trust file holds one key or several: while an old and a new one overlap, both are good. A folder
of such files works too. A key's id is the first 16 digits of the SHA-256 of its 32 public bytes.
`cryptography` is loaded when a key is used, and nothing else that is heavy.
"""

import hashlib
import itertools
import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy_store.errors import KeyExposed, KeyMissing, KeyUnusable, TrustUnusable
from policy_store.files import create_file, only_writer, open_file, replace_file
from sandbox.identity import canonical_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SCHEMA = 1
SIGNING_KEY = "signing.pem"
PUBLIC_BYTES = 32
MAX_BYTES = 1 << 18
MAX_OWNER_CHARS = 80


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Half of a key pair that anybody may know; `owner` is whose it is said to be."""

    raw: bytes
    owner: str = ""

    @property
    def id(self) -> str:
        """What signatures call it."""
        return hashlib.sha256(self.raw).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key in memory; its secret is in no `repr`."""

    public: PublicKey
    _private: "Ed25519PrivateKey" = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature."""
        return self._private.sign(message)


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """The keys whose signatures count; none by default."""

    keys: tuple[PublicKey, ...] = ()

    def find(self, key_id: str) -> PublicKey | None:
        """The key with that id, if it is trusted."""
        return next((key for key in self.keys if key.id == key_id), None)

    def with_key(self, key: PublicKey) -> "TrustedKeys":
        """These and one more; a key that is here already takes the new owner's name."""
        return TrustedKeys((*(known for known in self.keys if known.id != key.id), key))

    def without(self, key_id: str) -> "TrustedKeys":
        """These but one."""
        return TrustedKeys(tuple(key for key in self.keys if key.id != key_id))


def new_signing_key(folder: Path, owner: str = "") -> SigningKey:
    """Make a signing key; one that is there already is put aside as `signing-1.pem` and so on."""
    ed25519, serialization = _cryptography()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    private = ed25519.Ed25519PrivateKey.generate()
    text = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / SIGNING_KEY
    with only_writer(path):
        if path.exists():
            path.rename(next(p for p in _set_aside(folder) if not p.exists()))
        create_file(path, text, 0o600)
    return SigningKey(PublicKey(private.public_key().public_bytes_raw(), owner), private)


def load_signing_key(folder: Path, owner: str = "") -> SigningKey:
    """The signing key of a folder.

    Raises:
        KeyMissing: there is none.
        KeyExposed: others than its owner may read it.
        KeyUnusable: it is no Ed25519 key without a passphrase.
    """
    path = folder / SIGNING_KEY
    text = _read_private(path)
    ed25519, serialization = _cryptography()
    try:
        private = serialization.load_pem_private_key(text, password=None)
    except (TypeError, ValueError) as error:
        raise _unusable(path) from error
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise _unusable(path)
    return SigningKey(PublicKey(private.public_key().public_bytes_raw(), owner), private)


def read_trusted(path: Path) -> TrustedKeys:
    """The keys of a trust file, or of all `*.json` in a folder; none where there is nothing.

    Raises:
        TrustUnusable: a file that cannot be read, is damaged, or that everybody may write.
    """
    try:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        contents = [_read_public(file) for file in files]
    except FileNotFoundError:
        return TrustedKeys()
    except OSError as error:
        raise _no_trust(path, f"it cannot be read, {error.strerror}") from error
    found = TrustedKeys()
    for file, content in zip(files, contents, strict=True):
        for key in parse_keys(content, file):
            found = found.with_key(key)
    return found


def write_trusted(path: Path, trusted: TrustedKeys) -> None:
    """Replace a trust file."""
    with only_writer(path):
        replace_file(path, keys_text(trusted.keys).encode("ascii"), 0o644)


def keys_text(keys: Iterable[PublicKey]) -> str:
    """Public keys as the text of a trust file."""
    body = [{"id": key.id, "public_key": key.raw.hex(), "owner": key.owner} for key in keys]
    return canonical_json({"schema": SCHEMA, "keys": body}) + "\n"


def parse_keys(content: bytes, source: Path) -> tuple[PublicKey, ...]:
    """The keys in the text of a trust file.

    Raises:
        TrustUnusable: it is none, or a key is not the one its id says.
    """
    try:
        body = json.loads(content)
        if body["schema"] != SCHEMA:
            raise ValueError(f"schema {body['schema']} is not {SCHEMA}")
        return tuple(_parse_key(each) for each in body["keys"])
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise _no_trust(source, f"it does not parse, {error}") from error


def is_signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether the owner of `key` signed this message."""
    ed25519, _ = _cryptography()
    from cryptography.exceptions import InvalidSignature

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _set_aside(folder: Path) -> Iterator[Path]:
    return (folder / f"signing-{number}.pem" for number in itertools.count(1))


def _parse_key(body: dict[str, Any]) -> PublicKey:
    raw, owner = bytes.fromhex(body["public_key"]), body["owner"]
    if len(raw) != PUBLIC_BYTES:
        raise ValueError(f"a public key has {len(raw)} bytes, not {PUBLIC_BYTES}")
    if not isinstance(owner, str) or len(owner) > MAX_OWNER_CHARS or not owner.isprintable():
        raise ValueError("an owner is no name")
    key = PublicKey(raw, owner)
    if body["id"] != key.id:
        raise ValueError(f"the key called {body['id']!r} is {key.id}")
    return key


def _read_private(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            mode, owner = os.fstat(file.fileno()).st_mode, os.fstat(file.fileno()).st_uid
            text = file.read(MAX_BYTES)
    except FileNotFoundError as error:
        raise KeyMissing(f"There is no signing key at {path}: run `evolver keys new`.") from error
    except OSError as error:
        raise KeyUnusable(
            f"The signing key {path} cannot be read ({error.strerror}): check its permissions."
        ) from error
    if stat.S_IMODE(mode) & 0o077 or owner not in (0, os.geteuid()):
        raise KeyExposed(
            f"Others may read the signing key {path}, so it proves nothing: run `chmod 600 {path}` "
            "if nobody did, `evolver keys new` otherwise."
        )
    return text


def _read_public(path: Path) -> bytes:
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
            raise _no_trust(path, f"everybody may write it, so run chmod o-w {path} first")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _no_trust(path, f"it is larger than {MAX_BYTES} bytes")
    return content


def _unusable(path: Path) -> KeyUnusable:
    return KeyUnusable(
        f"{path} is no Ed25519 key without a passphrase: move it away, then run `evolver keys new`."
    )


def _no_trust(path: Path, why: str) -> TrustUnusable:
    return TrustUnusable(
        f"The trust file {path} is unusable ({why}): mend it, or write it again with "
        "`evolver keys trust`."
    )


def _cryptography() -> tuple[Any, Any]:
    """The two modules that keys need.

    Raises:
        KeyUnusable: they are not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise KeyUnusable(
            "Signatures need the package cryptography: pip install 'cryptography>=46'."
        ) from error
    return ed25519, serialization
