"""The default policy: what decides when nothing better is approved, or when that has failed.

It is written in the contract like any other policy, is verified like any other, defines every
hook, and stops on no input. All other policies live in `evolver/library/`.
"""

from __future__ import annotations

import functools
from importlib import resources

from sandbox.source import PolicySource

__all__ = ["default_source", "default_text"]


def default_text() -> str:
    """Source text of the default policy."""
    return resources.files(__name__).joinpath("default.py").read_text(encoding="ascii")


@functools.cache
def default_source() -> PolicySource:
    """The default policy, verified."""
    from sandbox.verifier import verify

    return verify(default_text(), "default")
