"""What may be kept: each check returns the plain value or raises `InvalidInput` saying why not."""

import re
from collections.abc import Mapping

from policy_store.errors import InvalidInput
from sandbox.identity import canonical_json, canonical_parameters

MAX_SOURCE_CHARS = 65_536
MAX_CLAIM_CHARS = 4_096
MAX_NAME_CHARS = 80
MAX_NOTE_CHARS = 4_096
MAX_PARAMETERS = 256
DIGEST = re.compile(r"[0-9a-f]{64}")


def check_source(source: str, claim: str) -> None:
    """Pass a source and its claim that are neither empty nor oversized."""
    if not source.strip() or len(source) > MAX_SOURCE_CHARS:
        raise InvalidInput(
            f"A policy source has 1 to {MAX_SOURCE_CHARS} characters, this one {len(source)}: "
            "shorten it."
        )
    if len(claim) > MAX_CLAIM_CHARS:
        raise InvalidInput(
            f"A policy's docstring has at most {MAX_CLAIM_CHARS} characters: shorten it."
        )
    _check_storable(source)
    _check_storable(claim)


def plain_parameters(parameters: Mapping[str, float]) -> dict[str, float]:
    """Parameters as finite floats, sorted by name."""
    if len(parameters) > MAX_PARAMETERS:
        raise InvalidInput(f"A policy has at most {MAX_PARAMETERS} parameters: merge some.")
    try:
        return {plain_name(name): value for name, value in canonical_parameters(parameters).items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"Parameters are finite numbers by name: {error}") from error


def json_text(value: Mapping[str, object]) -> str:
    """Canonical JSON of a payload; NaN and infinity are not JSON."""
    try:
        return canonical_json(dict(value))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"The payload is not JSON ({error}): write None for a missing measurement."
        ) from error


def plain_name(name: str) -> str:
    """A name of 1 to 80 printable characters."""
    if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise InvalidInput(f"{name!r} is no name: give 1 to {MAX_NAME_CHARS} printable characters.")
    return name.strip()


def plain_digest(digest: str) -> str:
    """A whole digest: 64 lower-case hex digits."""
    if not DIGEST.fullmatch(digest):
        raise InvalidInput(f"{digest[:80]!r} is no digest: give 64 lower-case hex digits.")
    return digest


def required_note(note: str) -> str:
    """The reason for a decision: there must be one."""
    if not note.strip() or len(note) > MAX_NOTE_CHARS:
        raise InvalidInput(
            f"A decision needs its reason in 1 to {MAX_NOTE_CHARS} characters: say why in the note."
        )
    _check_storable(note)
    return note.strip()


def _check_storable(text: str) -> None:
    # PostgreSQL keeps no NUL in text, and no database keeps half a surrogate pair.
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidInput("The text holds a NUL or a lone surrogate: remove it.")
