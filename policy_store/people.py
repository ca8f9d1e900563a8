"""Who people are to the store: accounts, sessions and tokens as records, and what a name may be."""

import hashlib
import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from policy_store.errors import InvalidInput
from policy_store.intake import DIGEST, plain_name
from policy_store.records import Role, Scope

MAX_ACCOUNT_CHARS = 64  # it is the subject of entries of the audit log
SECRET_BYTES = 32
# Names under which the store's own parts sign the audit log.
RESERVED = frozenset(
    {"evolver", "verifier", "simulator", "mutator", "watchdog", "system", "nobody", "anonymous"}
)
_SHAPE = re.compile(r"[^\W_]([\w.@+' -]*[\w])?")


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in.

    Attributes:
        identity: as an identity provider knows them, `issuer|subject`; None for nobody there.
        invited: a link was made for them that nobody has used yet.
    """

    name: str
    role: Role
    created_at: datetime
    has_password: bool
    identity: str | None
    disabled: bool
    invited: bool = False

    def way(self) -> str:
        """How they sign in, in words."""
        if self.disabled:
            return "nothing: disabled"
        if self.identity is not None:
            return "an identity provider"
        if self.has_password:
            return "a password"
        return "a link, not used yet" if self.invited else "nothing yet"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A browser that is signed in; `id` is the digest of its cookie, which nobody keeps."""

    id: str
    account: str
    csrf: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """A program's key to the API; `id` is the digest of its secret, which nobody keeps."""

    id: str
    name: str
    account: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None

    def good(self, now: datetime) -> bool:
        """Whether it opens anything still."""
        return self.revoked_at is None and now < self.expires_at


def new_secret() -> str:
    """32 random bytes as text for addresses and cookies."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> str:
    """What is kept of a secret; one with so many random bits needs no salt."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def account_name(name: str) -> str:
    """A name that people can tell from others.

    Raises:
        InvalidInput: it is not written plainly, mixes scripts, or belongs to a part of the store.
    """
    plain = plain_name(name)
    if len(plain) > MAX_ACCOUNT_CHARS or not _SHAPE.fullmatch(plain) or "  " in plain:
        raise InvalidInput(
            f"An account's name has 1 to {MAX_ACCOUNT_CHARS} letters and digits, between them also "
            "any of . @ + ' _ - and single spaces: choose another."
        )
    if unicodedata.normalize("NFKC", plain) != plain or len(_scripts(plain)) > 1:
        raise InvalidInput(
            "That name mixes alphabets or uses signs that look like others: write it in letters "
            "of one alphabet."
        )
    if likeness(plain) in RESERVED or DIGEST.fullmatch(plain):
        raise InvalidInput(f"{plain!r} is the name of something else here: choose another.")
    return plain


def could_be_name(text: str) -> bool:
    """Whether to look for an account of that name at all: databases refuse some signs."""
    return 0 < len(text) <= MAX_ACCOUNT_CHARS and text.isprintable()


def likeness(name: str) -> str:
    """A name as eyes read it: two accounts with the same one could pass for each other."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


def _scripts(name: str) -> set[str]:
    """The alphabets of the letters, as Unicode's names of them begin."""
    return {unicodedata.name(char, "?").split()[0] for char in name if char.isalpha()}
