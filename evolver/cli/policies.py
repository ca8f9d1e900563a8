"""Which policy a word on the command line means: active, a library name, a file, or a digest."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evolver.cli.failures import Misused
from sandbox.home import home

if TYPE_CHECKING:
    from policy_store.store import PolicyStore
    from sandbox.source import PolicySource

ACTIVE, DEFAULT = "active", "default"
MAX_FILE_BYTES = 1 << 20
_DIGITS = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True, slots=True)
class Named:
    """A verified policy under the name it was asked for.

    Attributes:
        parameters: values that replace the constants as written; None for those.
        origin: "default", "library", "file" or "store".
    """

    name: str
    source: PolicySource
    origin: str
    parameters: Mapping[str, float] | None = None

    @property
    def digest(self) -> str:
        """Identity of source and parameters."""
        return self.source.digest(self.parameters)


def store_path() -> Path:
    """Where the policy store is, unless EVOLVER_STORE names another place."""
    return home() / "store.db"


def store_place() -> str:
    """The file or the database URL of the policy store."""
    return os.environ.get("EVOLVER_STORE") or str(store_path())


def has_store() -> bool:
    """Whether there is a store; a database on a server is taken to have one."""
    return "://" in store_place() or Path(store_place()).is_file()


def open_store() -> PolicyStore:
    """The policy store, made if missing."""
    from policy_store.store import PolicyStore

    return PolicyStore.open(store_place())


def find_policy(word: str) -> Named:
    """The policy that a word means.

    Raises:
        Misused: there is none.
        PolicyRefused: it is there, but the verifier does not admit it.
        UnknownPolicy: a digest that the store does not have.
    """
    from evolver import library
    from sandbox.policies import default_source
    from sandbox.verifier import verify

    if word == DEFAULT:
        return Named(word, default_source(), "default")
    if word == ACTIVE:
        return _active()
    if word in library.names():
        return Named(word, verify(library.read(word), word), "library")
    path = Path(word)
    if path.is_file():
        return Named(path.stem, verify(read_policy_file(path), path.stem), "file")
    if _DIGITS.fullmatch(word) and has_store():
        return _stored(word)
    raise Misused(_unknown(word), "evolver policy list --library")


def read_policy_file(path: Path) -> str:
    """The text of a policy file.

    Raises:
        Misused: no file, too large for a policy, or not UTF-8.
    """
    if not path.is_file():
        raise Misused(f"There is no file {path}; check the path.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise Misused(f"{path} is larger than a policy can be; give a Python file of a policy.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Misused(f"{path} is not UTF-8 text; give a Python file of a policy.") from None


def _active() -> Named:
    from policy_store.records import Alias
    from sandbox.policies import default_source

    if has_store():
        with open_store() as store:
            digest = store.slot(Alias.ACTIVE).digest
        if digest is not None:
            return _stored(digest, f"{ACTIVE} {digest[:8]}")
    return Named(f"{ACTIVE} (default)", default_source(), "default")


def _stored(word: str, name: str = "") -> Named:
    from sandbox.verifier import verify

    with open_store() as store:
        details = store.show(word)
    version = details.version
    source = verify(details.source.text, version.name)
    shown = name or f"{version.name} {version.digest[:8]}"
    return Named(shown, source, "store", dict(version.parameters))


def _unknown(word: str) -> str:
    from evolver import library

    near = difflib.get_close_matches(word, library.names(), n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}" if near else "give a library name"
    if word.endswith(".py") or "/" in word:
        hint = "check the path"
    elif _DIGITS.fullmatch(word):
        hint = "nothing is stored yet, so evolve or name a library policy"
    return (
        f"There is no policy {word!r}; {hint}, or a file, `{ACTIVE}`, `{DEFAULT}` or the first six "
        "digits of a stored one."
    )
