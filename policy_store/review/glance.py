"""A policy at a glance, for lists: its verdict, its effect and the gates it failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from policy_store.gates import measured
from policy_store.records import PolicyVersion
from policy_store.store import PolicyStore
from sandbox.evidence import Effect, Evidence, GateStatus, Role
from sandbox.stats import relative_gain

RIVALS = (Role.ACTIVE, Role.BEST_HUMAN)  # whose comparison says most, best first


@dataclass(frozen=True, slots=True)
class Gain:
    """An effect on sealed windows; shares, 0.05 for 5 % less time than the rival."""

    against: str
    metric: str
    mean: float
    low: float
    high: float
    windows: int


@dataclass(frozen=True, slots=True)
class Glance:
    """One line of a list.

    Attributes:
        measured_at: when its evidence came; when it was proposed, where there is none.
        outcome: verdict in one word; empty without evidence that can be read.
        gain: None where nothing was compared on sealed windows.
        failed: names of gates.
    """

    version: PolicyVersion
    measured_at: datetime
    outcome: str = ""
    gain: Gain | None = None
    failed: tuple[str, ...] = ()


def glances(store: PolicyStore, versions: Sequence[PolicyVersion]) -> tuple[Glance, ...]:
    """The latest evidence of each version in short, in their order."""
    return tuple(_glance(store, version) for version in versions)


def reach(lines: Iterable[Glance]) -> float:
    """The largest gain or loss that any interval of a list holds: one scale for all its bars."""
    ends = [abs(x) for line in lines if line.gain for x in (line.gain.low, line.gain.high)]
    return min(max((0.05, *ends)), 1.0)


def gain_of(evidence: Evidence) -> Gain | None:
    """The effect on sealed windows that says most."""
    sealed = [effect for effect in evidence.effects if effect.sealed]
    ranked = sorted(sealed, key=_rank)
    if not ranked:
        return None
    first, interval = ranked[0], ranked[0].interval
    mean, low, high = map(relative_gain, (interval.mean, interval.low, interval.high))
    against = first.against.value.replace("_", " ")
    return Gain(against, first.metric, mean, low, high, interval.windows)


def _rank(effect: Effect) -> int:
    return RIVALS.index(effect.against) if effect.against in RIVALS else len(RIVALS)


def _glance(store: PolicyStore, version: PolicyVersion) -> Glance:
    records = store.show(version.digest).evidence
    if not records:
        return Glance(version, version.created_at)
    evidence = measured(records[-1])
    if evidence is None:
        return Glance(version, records[-1].attached_at)
    failed = tuple(gate.name for gate in evidence.gates if gate.status is GateStatus.FAIL)
    return Glance(
        version, records[-1].attached_at, evidence.outcome.value, gain_of(evidence), failed
    )
