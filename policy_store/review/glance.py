"""A policy at a glance, for lists: its verdict, its effect and the gates it failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from markupsafe import Markup

from policy_store.gates import measured
from policy_store.records import EvidenceRecord, PolicyVersion
from policy_store.review.charts import Scale, Span
from policy_store.review.evidence_verdict import span_of, verdict_of
from policy_store.review.evidence_words import gate_name
from policy_store.store import PolicyStore
from sandbox.evidence import Effect, Evidence, GateStatus, Role

RIVALS = (Role.ACTIVE, Role.BEST_HUMAN)  # whose comparison says most, best first


@dataclass(frozen=True, slots=True)
class Said:
    """What a record of evidence says.

    Attributes:
        verdict: "better", "undecided" or "worse", as the policy's page says; empty without
            evidence that can be read.
        gain: on sealed windows; None where nothing was compared there.
        against: whose gain it is.
        failed: names of gates.
    """

    verdict: str = ""
    gain: Span | None = None
    against: str = ""
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Glance:
    """One line of a list.

    Attributes:
        measured_at: when its evidence came; when it was proposed, where there is none.
        bar: the gain on the scale that all lines of the list share; empty without one.
    """

    version: PolicyVersion
    measured_at: datetime
    said: Said
    bar: Markup


def glances(store: PolicyStore, versions: Sequence[PolicyVersion]) -> tuple[Glance, ...]:
    """The latest evidence of each version in short, in their order."""
    told = [_latest(store, version) for version in versions]
    scale = Scale.around(said.gain for said, _ in told if said.gain)
    return tuple(
        Glance(version, at, said, scale.bar(said.gain) if said.gain else Markup())
        for version, (said, at) in zip(versions, told, strict=True)
    )


def _latest(store: PolicyStore, version: PolicyVersion) -> tuple[Said, datetime]:
    records = store.show(version.digest).evidence
    if not records:
        return Said(), version.created_at
    return _said(records[-1]), records[-1].attached_at


@lru_cache(maxsize=256)
def _said(record: EvidenceRecord) -> Said:
    """Reading a record takes most of a list's time."""
    evidence = measured(record)
    if evidence is None:
        return Said()
    effect = _telling(evidence)
    return Said(
        verdict=verdict_of(evidence).word,
        gain=span_of(effect) if effect else None,
        against=effect.against.value.replace("_", " ") if effect else "",
        failed=tuple(
            gate_name(gate.name) for gate in evidence.gates if gate.status is GateStatus.FAIL
        ),
    )


def _telling(evidence: Evidence) -> Effect | None:
    """The effect on sealed windows that says most."""
    sealed = [effect for effect in evidence.effects if effect.sealed]
    return min(sealed, key=_rank, default=None)


def _rank(effect: Effect) -> int:
    return RIVALS.index(effect.against) if effect.against in RIVALS else len(RIVALS)
