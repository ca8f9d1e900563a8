"""What a compile process does: load the compiler once, then one text per locked-down child."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.native.policy_builder import build, build_hook, load_toolkit
from sandbox.verifier import check_restricted, verify


def prepare(_payload: object) -> None:
    """Load what all children share: they may not read our private directories."""
    load_toolkit()


def compile_job(
    _payload: object, message: Mapping[str, Any], _attachment: bytes, _kept: dict[str, Any]
) -> bytes:
    """Machine code of a text that this process verifies itself, of all hooks or of `only` some."""
    return build(verify(message["source"]), message["only"]).to_bytes()


def hook_job(
    _payload: object, message: Mapping[str, Any], _attachment: bytes, _kept: dict[str, Any]
) -> bytes:
    """Machine code of one hook, which other policies get too: so this process sees its text alone.

    Whoever asks has verified the hook's policy.
    """
    check_restricted(message["lowered"])
    return build_hook(message["lowered"]).to_bytes()
