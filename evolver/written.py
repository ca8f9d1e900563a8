"""A policy with given constants written into its source: what people read, compare and file.

A stored source is canonical text and keeps no tuning ranges, so tuned values may lie outside the
ranges that the verifier assumes when it reads the text back; written in place they are always
legal, and a host needs no parameters beside the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evolver.draft import Draft

if TYPE_CHECKING:
    from sandbox.source import PolicySource


def written(text: str, parameters: Mapping[str, float], name: str = "policy") -> PolicySource:
    """The verified source with these values as its constants.

    Raises:
        PolicyRefused: the text is no policy.
        ValueError: what is written is another policy.
    """
    from sandbox.verifier import verify

    source = verify(text, name)
    if source.parameters() == {**source.parameters(), **parameters}:
        return source
    found = verify(Draft.read(text, parameters).text(), name)
    if any(parameters.get(one, value) != value for one, value in found.parameters().items()):
        raise ValueError("the constants as written are not those that were given")
    return found
