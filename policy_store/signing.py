"""Ed25519 signatures over a text, good for one purpose only."""

from dataclasses import dataclass

from policy_store.errors import SnapshotForged, SnapshotUntrusted
from policy_store.keys import PublicKey, SigningKey, TrustedKeys, is_signed

SIGNATURE_DIGITS = 128


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed (a key's id), and the signature as lower-case hex digits."""

    key: str
    value: str


def sign_text(text: str, purpose: str, key: SigningKey) -> Signature:
    """Sign a text; the same text under another purpose needs another signature."""
    return Signature(key.public.id, key.sign(_message(text, purpose)).hex())


def check_text(text: str, purpose: str, signature: Signature, trusted: TrustedKeys) -> PublicKey:
    """The trusted key that signed the text.

    Raises:
        SnapshotUntrusted: no trusted key has that id.
        SnapshotForged: the key did not sign this text.
    """
    key = trusted.find(signature.key)
    if key is None:
        raise SnapshotUntrusted(
            f"The snapshot is signed by key {signature.key[:16]}, which is not trusted here: if it "
            "is the store's, add it with `evolver keys trust`."
        )
    if not is_signed(key, _raw(signature.value), _message(text, purpose)):
        raise SnapshotForged(
            f"Key {key.id} did not sign what this snapshot says: keep what runs, find out who "
            "changed the file, and have the store write it again."
        )
    return key


def _message(text: str, purpose: str) -> bytes:
    return f"{purpose}\n{text}".encode()


def _raw(value: str) -> bytes:
    """The bytes of a signature; nothing that is spelt in another way than ours."""
    try:
        raw = bytes.fromhex(value)
    except ValueError:
        return b""
    return raw if raw.hex() == value and len(value) == SIGNATURE_DIGITS else b""
