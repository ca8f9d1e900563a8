"""What a piece of evidence says, worked out again from its numbers for a person to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from policy_store.review.charts import Scale, Span
from policy_store.review.evidence_verdict import Verdict, span_of, verdict_of
from policy_store.review.evidence_words import (
    MEASURED,
    ROLES,
    best_human,
    count,
    gate_name,
    roles_of,
    seconds,
    share,
    standing,
)
from sandbox.evidence import Contender, Evidence, Gate, GateStatus, Role, WindowEvidence

ORDER = {GateStatus.FAIL: 0, GateStatus.NOT_RUN: 1, GateStatus.PASS: 2}


@dataclass(frozen=True, slots=True)
class EffectRow:
    """The candidate against one rival."""

    rival: str
    name: str
    digest: str
    metric: str
    span: Span
    bar: Markup
    confidence: float
    windows: int
    sealed: bool
    p_value: float


@dataclass(frozen=True, slots=True)
class WindowRow:
    """One window; values are objectives in seconds, None where a policy did not run there."""

    window: WindowEvidence
    candidate: float | None
    active: float | None
    human: float | None
    gain: float | None
    gain_human: float | None
    bar: Markup


@dataclass(frozen=True, slots=True)
class Fact:
    """One measurement side by side; texts, empty where it was not measured."""

    name: str
    unit: str
    candidate: str
    active: str
    human: str


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """Everything of a record that the page shows.

    Attributes:
        gates: with their names in words, failed ones first.
        reference: what windows are compared with, in words.
        has_active: the policy that was active then is among the contenders.
        sealed, searched: rows of windows, worst first.
    """

    evidence: Evidence
    verdict: Verdict
    gates: tuple[tuple[str, Gate], ...]
    effects: tuple[EffectRow, ...]
    effects_axis: Markup
    reference: str
    has_active: bool
    sealed: tuple[WindowRow, ...]
    searched: tuple[WindowRow, ...]
    windows_axis: Markup
    facts: tuple[Fact, ...]
    contenders: tuple[tuple[str, Contender], ...]


def evidence_view(evidence: Evidence, active: str | None = None) -> EvidenceView:
    """The view of a record; `active` is the digest of what is active now."""
    mine, theirs = standing(evidence, Role.ACTIVE), best_human(evidence)
    reference = mine or theirs
    sealed, searched, axis = _windows(evidence, mine, theirs)
    rows, effects_axis = _effects(evidence)
    return EvidenceView(
        evidence=evidence,
        verdict=verdict_of(evidence, active),
        gates=tuple(
            (gate_name(gate.name), gate)
            for gate in sorted(evidence.gates, key=lambda gate: ORDER[gate.status])
        ),
        effects=rows,
        effects_axis=effects_axis,
        reference=ROLES[Role.ACTIVE if mine else Role.BEST_HUMAN] if reference else "",
        has_active=mine is not None,
        sealed=sealed,
        searched=searched,
        windows_axis=axis,
        facts=tuple(_facts(evidence, mine, theirs)),
        contenders=tuple((roles_of(one), one) for one in evidence.contenders),
    )


def _effects(evidence: Evidence) -> tuple[tuple[EffectRow, ...], Markup]:
    spans = [span_of(effect) for effect in evidence.effects]
    scale = Scale.around(spans)
    contenders = {one.role: one for one in evidence.contenders}
    rows = []
    for effect, span in zip(evidence.effects, spans, strict=True):
        known = contenders.get(effect.against)
        rows.append(
            EffectRow(
                rival=roles_of(known) if known else ROLES[effect.against],
                name=known.name if known else "",
                digest=known.digest if known else "", metric=effect.metric, span=span,
                bar=scale.bar(span), confidence=effect.interval.confidence,
                windows=effect.interval.windows, sealed=effect.sealed, p_value=effect.p_value,
            )
        )  # fmt: skip
    return tuple(sorted(rows, key=lambda row: row.span.low)), scale.axis()


def _windows(
    evidence: Evidence, mine: Role | None, theirs: Role | None
) -> tuple[tuple[WindowRow, ...], tuple[WindowRow, ...], Markup]:
    reference = mine or theirs
    gains = {w.name: _gain(w, reference) for w in evidence.windows}
    points = {name: Span(g, g, g) for name, g in gains.items() if g is not None}
    bands = [span_of(e) for e in evidence.effects if e.sealed and e.against is reference]
    scale = Scale.around([*points.values(), *bands])
    rows = [
        WindowRow(
            window=w,
            candidate=w.objective.get(Role.CANDIDATE),
            active=w.objective.get(mine) if mine else None,
            human=w.objective.get(theirs) if theirs else None,
            gain=gains[w.name],
            gain_human=_gain(w, theirs),
            bar=scale.bar(points[w.name], bands[0] if bands and w.sealed else None)
            if w.name in points else Markup(""),
        )
        for w in evidence.windows
    ]  # fmt: skip
    rows.sort(key=lambda row: (row.gain is None, row.gain or 0.0, row.window.name))
    sealed = tuple(row for row in rows if row.window.sealed)
    return sealed, tuple(row for row in rows if not row.window.sealed), scale.axis()


def _gain(window: WindowEvidence, against: Role | None) -> float | None:
    mine = window.objective.get(Role.CANDIDATE)
    theirs = window.objective.get(against) if against else None
    if mine is None or theirs is None or theirs <= 0.0:
        return None
    return 1.0 - mine / theirs


SHOWN: Mapping[str, Callable[[float], str]] = {"slo_attainment": share, "smooth_goodput": count}
COUNTS = {
    "rejected": "rejected", "unfinished": "unfinished", "preemptions": "preemptions",
    "reconfigurations": "reconfigurations",
}  # fmt: skip


def _facts(evidence: Evidence, mine: Role | None, theirs: Role | None) -> Iterable[Fact]:
    """Means of sealed windows, and counts of them an hour; of all windows when none is sealed."""
    windows = [w for w in evidence.windows if w.sealed] or list(evidence.windows)
    roles = (Role.CANDIDATE, mine, theirs)
    for name, words in MEASURED.items():
        values = [_mean(windows, role, name) for role in roles]
        if any(value is not None for value in values):
            show = SHOWN.get(name, seconds)
            yield Fact(words, "", *(show(value) if value is not None else "" for value in values))
    for name, words in COUNTS.items():
        values = [_hourly(windows, role, name) for role in roles]
        if any(value is not None for value in values):
            texts = (count(value) if value is not None else "" for value in values)
            yield Fact(words, "an hour", *texts)
    by_role = {one.role: one for one in evidence.contenders}
    known = [by_role.get(role) if role else None for role in roles]
    yield Fact("fuel per decision", "", *(count(c.fuel_per_decision) if c else "" for c in known))
    for words, part in (("GPU time reconfiguring", "reconfiguration_s"),
                        ("GPU time idle for a plan", "scheduling_s")):  # fmt: skip
        yield Fact(words, "", *(_part(c, part) if c else "" for c in known))


def _part(contender: Contender, part: str) -> str:
    total = contender.time.total_s
    return share(getattr(contender.time, part) / total) if total > 0.0 else ""


def _values(
    windows: Sequence[WindowEvidence], role: Role | None, name: str
) -> list[tuple[float, float]]:
    """Each window's value, with its length in seconds."""
    found = []
    for window in windows:
        metrics: Mapping[str, float | None] = window.metrics.get(role, {}) if role else {}
        value = metrics.get(name)
        if value is not None:
            found.append((value, window.stop_s - window.start_s))
    return found


def _mean(windows: Sequence[WindowEvidence], role: Role | None, name: str) -> float | None:
    values = [value for value, _ in _values(windows, role, name)]
    return math.fsum(values) / len(values) if values else None


def _hourly(windows: Sequence[WindowEvidence], role: Role | None, name: str) -> float | None:
    found = _values(windows, role, name)
    span_s = math.fsum(length for _, length in found)
    return 3600.0 * math.fsum(value for value, _ in found) / span_s if span_s > 0.0 else None
