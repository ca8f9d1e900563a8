"""A policy at a glance, for lists: its verdict, its effect and the gates it failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from markupsafe import Markup

from policy_store.gates import measured
from policy_store.records import PolicyVersion
from policy_store.review.charts import Scale, Span
from policy_store.review.evidence_verdict import span_of, verdict_of
from policy_store.store import PolicyStore
from sandbox.evidence import Effect, Evidence, GateStatus, Role

RIVALS = (Role.ACTIVE, Role.BEST_HUMAN)  # whose comparison says most, best first


@dataclass(frozen=True, slots=True)
class Glance:
    """One line of a list.

    Attributes:
        measured_at: when its evidence came; when it was proposed, where there is none.
        verdict: "better", "undecided" or "worse", as the policy's page says; empty without
            evidence that can be read.
        gain: on sealed windows; None where nothing was compared there.
        against: whose gain it is.
        bar: the gain on the scale that all lines of the list share.
        failed: names of gates.
    """

    version: PolicyVersion
    measured_at: datetime
    verdict: str = ""
    gain: Span | None = None
    against: str = ""
    bar: Markup = Markup()  # noqa: RUF009 - it does not change
    failed: tuple[str, ...] = ()


def glances(store: PolicyStore, versions: Sequence[PolicyVersion]) -> tuple[Glance, ...]:
    """The latest evidence of each version in short, in their order."""
    lines = [_glance(store, version) for version in versions]
    scale = Scale.around(line.gain for line in lines if line.gain)
    return tuple(replace(line, bar=scale.bar(line.gain)) if line.gain else line for line in lines)


def _glance(store: PolicyStore, version: PolicyVersion) -> Glance:
    records = store.show(version.digest).evidence
    if not records:
        return Glance(version, version.created_at)
    evidence = measured(records[-1])
    if evidence is None:
        return Glance(version, records[-1].attached_at)
    effect = _telling(evidence)
    return Glance(
        version,
        records[-1].attached_at,
        verdict=verdict_of(evidence).word,
        gain=span_of(effect) if effect else None,
        against=effect.against.value.replace("_", " ") if effect else "",
        failed=tuple(gate.name for gate in evidence.gates if gate.status is GateStatus.FAIL),
    )


def _telling(evidence: Evidence) -> Effect | None:
    """The effect on sealed windows that says most."""
    sealed = [effect for effect in evidence.effects if effect.sealed]
    return min(sealed, key=_rank, default=None)


def _rank(effect: Effect) -> int:
    return RIVALS.index(effect.against) if effect.against in RIVALS else len(RIVALS)
