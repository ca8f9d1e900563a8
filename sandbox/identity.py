"""What a policy is called: digests over canonical text, the same in every layer.

A *source digest* is SHA-256 over the UTF-8 bytes of the canonical source. A *policy digest* is
SHA-256 over the canonical JSON of the contract version, the parameters and the source digest, so
two policies that differ in one constant have different identities. Both are 64 lower-case hex
digits. Standard library only: hosts import this without numba or a database.
"""

import hashlib
import json
import math
from collections.abc import Mapping


def canonical_json(value: object) -> str:
    """One text per JSON value: sorted keys, no spaces, ASCII, floats as their shortest `repr`.

    Raises:
        ValueError: a number is NaN or infinite (write `None` for a missing measurement).
        TypeError: something that JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def text_digest(text: str) -> str:
    """SHA-256 of the UTF-8 bytes of `text`, as 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def source_digest(source: str) -> str:
    """The address of a canonical source."""
    return text_digest(source)


def canonical_parameters(parameters: Mapping[str, float]) -> dict[str, float]:
    """Parameters as plain finite floats, sorted by name.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    plain = {name: float(parameters[name]) for name in sorted(parameters)}
    for name, value in plain.items():
        if not math.isfinite(value):
            raise ValueError(f"Parameter {name} is {value}: give it a finite number.")
    return plain


def identity_digest(
    source_address: str, parameters: Mapping[str, float], contract_version: int
) -> str:
    """The identity of a policy whose source digest is already known."""
    identity = {
        "contract": int(contract_version),
        "parameters": canonical_parameters(parameters),
        "source": source_address,
    }
    return text_digest(canonical_json(identity))


def policy_digest(source: str, parameters: Mapping[str, float], contract_version: int) -> str:
    """The identity of a policy: its canonical source, its parameters and the contract's version.

    Raises:
        ValueError: a parameter is NaN or infinite, or the source is not valid Unicode.
    """
    return identity_digest(source_digest(source), parameters, contract_version)
