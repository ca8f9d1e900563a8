"""A verified policy source: canonical text, its tunables and what the verifier found out about it.

The canonical text is what is hashed, shown and run: the unparsed tree without comments,
docstrings and unused definitions. The docstring is carried beside it, as a claim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from sandbox.contract import CONTRACT_VERSION
from sandbox.errors import ParametersRefused
from sandbox.identity import policy_digest
from sandbox.language.canonical import docstring


@dataclass(frozen=True, slots=True)
class Tunable:
    """A module constant that a tuner may move within `low .. high`."""

    name: str
    value: float
    low: float
    high: float
    integer: bool


@dataclass(frozen=True, slots=True)
class PolicySource:
    """What the verifier admitted.

    Attributes:
        name: what people call it; not part of its identity.
        canonical: the text that is hashed, shown and run.
        claim: the docstring, which says what the author believes; never trusted.
        tunables: constants in the order of the parameter vector.
        hooks: hooks it defines, in the contract's order.
        helpers: its own functions, in order of definition.
        cost: static worst-case fuel of each hook; for planner hooks, whose loops may be longer,
            an estimate that counts an unknown loop as 256 turns.
        fields_read: record fields that any hook reads, as `Instance.kv_used_tokens`.
        lowered: the checked form both engines run; made from `canonical` alone.
    """

    name: str
    canonical: str
    claim: str
    tunables: tuple[Tunable, ...]
    hooks: tuple[str, ...]
    helpers: tuple[str, ...] = ()
    cost: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    fields_read: frozenset[str] = frozenset()
    lowered: str = ""

    def parameters(self) -> dict[str, float]:
        """The value of each tunable as written."""
        return {tunable.name: tunable.value for tunable in self.tunables}

    def vector(self, parameters: Mapping[str, float] | None = None) -> npt.NDArray[np.float64]:
        """Parameters in tunable order, the missing ones as written.

        Raises:
            ParametersRefused: an unknown name, or a value outside its range.
        """
        given = dict(parameters or {})
        values = [_fit(tunable, given.pop(tunable.name, None)) for tunable in self.tunables]
        if given:
            known = ", ".join(self.parameters()) or "none"
            raise ParametersRefused(f"No tunable is called {min(given)}: this policy has {known}.")
        return np.array(values, dtype=np.float64)

    def digest(self, parameters: Mapping[str, float] | None = None) -> str:
        """Identity of this source with these parameters, under this contract."""
        values = {**self.parameters(), **(parameters or {})}
        return policy_digest(self.canonical, values, CONTRACT_VERSION)

    def annotated(self) -> str:
        """The canonical text with docstring and `# tune:` comments: reads back without loss."""
        ranges = {tunable.name: tunable for tunable in self.tunables}
        lines = [docstring(self.claim)] if self.claim else []
        for line in self.canonical.splitlines():
            tunable = ranges.get(line.split(" = ")[0])
            lines.append(f"{line}{_tune_comment(tunable)}" if tunable else line)
        return "\n".join(lines) + "\n"


def _fit(tunable: Tunable, value: float | None) -> float:
    number = tunable.value if value is None else float(value)
    if not (math.isfinite(number) and tunable.low <= number <= tunable.high):
        raise ParametersRefused(
            f"{tunable.name} is {number}: keep it within {tunable.low} .. {tunable.high}."
        )
    if tunable.integer and number != int(number):
        raise ParametersRefused(f"{tunable.name} is {number}: give it a whole number.")
    return number


def _tune_comment(tunable: Tunable) -> str:
    low, high = _number(tunable, tunable.low), _number(tunable, tunable.high)
    return f"  # tune: {low} .. {high}"


def _number(tunable: Tunable, value: float) -> str:
    return str(int(value)) if tunable.integer else repr(float(value))
