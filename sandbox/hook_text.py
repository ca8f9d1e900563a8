"""The text of one hook by itself: the hook, the helpers it reaches, and names that say nothing.

Both engines run it. Machine code is made hook by hook, and kept by this text: policies that share
a hook share its code, whatever else they do, whatever they call their helpers and constants, and
whatever values those have. A frame points at the values of the constants that the hook reads.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sandbox.language.kinds import hooks
from sandbox.source import PolicySource

MOST_KEPT = 4096
_NAME = re.compile(r"(?<![\w.])[fvc]_\w+")
_PLACE = re.compile(r"(?<![\w.])P\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class HookText:
    """What both engines run, and a hook's machine code is made from.

    Attributes:
        hook: its name.
        lowered: functions in the lowered form, callees first, the hook last.
        places: of the constants it reads, in its order, among the policy's tunables.
        digest: of the lowered text, 64 hex digits.
    """

    hook: str
    lowered: str
    places: tuple[int, ...]
    digest: str


def digest_of(lowered: str) -> str:
    """The digest of a hook's lowered text."""
    return hashlib.sha256(lowered.encode()).hexdigest()


def count_constants(lowered: str) -> int:
    """How many constants a hook's lowered text reads."""
    return len(set(_PLACE.findall(lowered)))


def functions_of(lowered: str) -> dict[str, str]:
    """The text of each function of a lowered text, by name."""
    texts = re.split(r"\n\n(?=def )", lowered.rstrip("\n"))
    return {text[4 : text.index("(")]: text for text in texts}


def hook_text(source: PolicySource, hook: str) -> HookText:
    """A hook of a verified source by itself; a KeyError where it has none of this name."""
    return _hook_text(source.lowered, hook)


@functools.lru_cache(MOST_KEPT)
def _hook_text(lowered: str, hook: str) -> HookText:
    cut = _Cut(_functions_of(lowered))
    cut.take(f"h_{hook}", f"h_{hook}", {name for name, _ in hooks()[hook].parameters})
    text = "\n\n".join(cut.texts) + "\n"
    return HookText(hook, text, tuple(cut.places), digest_of(text))


def parameters_by_hook(
    source: PolicySource, parameters: Mapping[str, float] | None, wanted: Iterable[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """For some hooks of a source what each reads of its constants, in the order it reads them.

    Raises:
        ParametersRefused: a parameter is unknown or out of its range.
    """
    values = source.vector(parameters)
    return {hook: values[list(hook_text(source, hook).places)] for hook in wanted}


_functions_of = functools.lru_cache(256)(functions_of)


class _Cut:
    """Functions that are taken out of a policy, with numbers for names."""

    def __init__(self, functions: Mapping[str, str]) -> None:
        self._functions = functions
        self._names: dict[str, str] = {}
        self.texts: list[str] = []
        self.places: dict[int, int] = {}

    def take(self, name: str, called: str, kept: set[str]) -> None:
        """Take a function after those it calls; `kept` are variables that keep their names."""
        text = self._functions[name]
        for callee in dict.fromkeys(_NAME.findall(text)):
            if callee != name and callee in self._functions and callee not in self._names:
                self.take(callee, "", set())
        self._names[name] = called or f"f_{len(self._names)}"
        local = {f"v_{one}": f"v_{one}" for one in kept}
        text = _NAME.sub(lambda found: self._renamed(found.group(), local), text)
        self.texts.append(_PLACE.sub(self._placed, text))

    def _renamed(self, name: str, local: dict[str, str]) -> str:
        if name in self._functions:
            return self._names[name]
        return local.setdefault(name, f"{name[0]}_{len(local)}")

    def _placed(self, found: re.Match[str]) -> str:
        place = self.places.setdefault(int(found.group(1)), len(self.places))
        return f"P[{place}]"
