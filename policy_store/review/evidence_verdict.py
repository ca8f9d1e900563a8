"""The verdict on a policy, from the numbers of its evidence and not from its words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from policy_store.review.charts import Span, percent
from policy_store.review.evidence_words import (
    ROLES,
    gate_name,
    lasting,
    roles_of,
    standing,
)
from sandbox.evidence import Effect, Evidence, GateStatus, Outcome, Role
from sandbox.stats import MIN_WINDOWS, cluster_means, log_ratios

EXACT = 1e-6  # log-ratios that differ by less were computed from the same numbers


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict in one word and one sentence.

    Attributes:
        word: "better", "undecided" or "worse".
        doubts: where the record contradicts itself, or is about something else.
    """

    word: str
    sentence: str
    guardrails: str
    doubts: tuple[str, ...]


def verdict_of(evidence: Evidence, active: str | None = None) -> Verdict:
    """The verdict that the numbers give, whatever the record's own words are."""
    sealed = [effect for effect in evidence.effects if effect.sealed]
    mine = standing(evidence, Role.ACTIVE)
    sealed.sort(key=lambda effect: effect.interval.low)
    against = [effect for effect in sealed if effect.against is mine] or sealed
    failed = [gate for gate in evidence.gates if gate.status is GateStatus.FAIL]
    proved = bool(sealed) and all(effect.interval.improved for effect in sealed)
    if any(effect.interval.worse for effect in against):
        word = "worse"
    elif proved and not failed and evidence.outcome is Outcome.IMPROVED:
        word = "better"
    else:
        word = "undecided"
    sentences = [_sentence(effect, evidence) for effect in against[:1]]
    if sealed and sealed[0] is not against[0]:
        sentences.append(_weakest(sealed[0], evidence))
    sample = _sample(evidence)
    return Verdict(
        word, " ".join((*sentences, sample)), _guardrails(evidence),
        tuple(_doubts(evidence, word, active)),
    )  # fmt: skip


def _sentence(effect: Effect, evidence: Evidence) -> str:
    span, interval = span_of(effect), effect.interval
    change = f"{abs(100 * span.mean):.1f} % {'shorter' if span.mean >= 0 else 'longer'}"
    if effect.metric != "mean end-to-end time":
        change = f"{abs(100 * span.mean):.1f} % {'better' if span.mean >= 0 else 'worse'}"
    return (
        f"{effect.metric.capitalize()} is {change} than under {rival_of(effect, evidence)}, "
        f"{100 * interval.confidence:g} % interval {percent(span.low)} to {percent(span.high)}."
    )


def _weakest(effect: Effect, evidence: Evidence) -> str:
    span = span_of(effect)
    return (
        f"The least of its gains is {percent(span.mean)}, against {rival_of(effect, evidence)}, "
        f"{percent(span.low)} to {percent(span.high)}."
    )


def rival_of(effect: Effect, evidence: Evidence) -> str:
    """Whom an effect is against: by name, with all its roles."""
    known = next((one for one in evidence.contenders if one.role is effect.against), None)
    if known is None:
        return f"the {ROLES[effect.against]}"
    return f"{known.name} (the {roles_of(known)})"


def _sample(evidence: Evidence) -> str:
    units = {w.unit: w.stop_s - w.start_s for w in evidence.windows if w.sealed and not w.variant}
    count = evidence.sealed_units
    if not count:
        return "No sealed window was opened for it, so nothing is proved."
    stretch = "window" if count == 1 else "windows"
    return (
        f"Measured on {count} sealed {stretch}, {lasting(math.fsum(units.values()))} of traffic "
        "that the search did not see."
    )


def _guardrails(evidence: Evidence) -> str:
    counts = dict.fromkeys(GateStatus, 0)
    for gate in evidence.gates:
        counts[gate.status] += 1
    failed = [gate_name(gate.name) for gate in evidence.gates
              if gate.status is GateStatus.FAIL]  # fmt: skip
    if not evidence.gates:
        return "No guardrail was tried."
    rest = f"{counts[GateStatus.PASS]} kept, {counts[GateStatus.NOT_RUN]} not run"
    if failed:
        return f"{len(failed)} of {len(evidence.gates)} guardrails broken: {', '.join(failed)}."
    return f"No guardrail broken: {rest}."


def _doubts(evidence: Evidence, word: str, active: str | None) -> Iterable[str]:
    """Where the record's numbers and words do not agree, or are about another situation."""
    said = "better" if evidence.outcome is Outcome.IMPROVED else "not better"
    if (word == "better") != (said == "better"):
        yield f"The record calls itself {evidence.outcome.value}; its own numbers say {word}."
    for effect in evidence.effects:
        again = recomputed(evidence, effect)
        wrong = again is None or abs(again[0] - effect.interval.mean) > EXACT
        if wrong or (again and again[1] != effect.interval.windows):
            yield (
                f"The effect against {rival_of(effect, evidence)} does not follow from the "
                "windows in the record."
            )
    if 0 < evidence.sealed_units < MIN_WINDOWS:
        yield f"{evidence.sealed_units} sealed windows are few: a win needs {MIN_WINDOWS}."
    yield from _strangers(evidence, active)


def _strangers(evidence: Evidence, active: str | None) -> Iterable[str]:
    """Whether what is live is what it was measured against."""
    if active is not None and active not in {one.digest for one in evidence.contenders}:
        yield f"It was not measured against {active[:12]}, which is active now."
    elif standing(evidence, Role.ACTIVE) is None:
        yield "The policy that was active then is not among those it was compared with."


def recomputed(evidence: Evidence, effect: Effect) -> tuple[float, int] | None:
    """Mean log-ratio and number of units, from the windows alone; None where they give none."""
    pairs = [
        (window.objective[effect.against], window.objective[Role.CANDIDATE], window.unit)
        for window in evidence.windows
        if window.sealed is effect.sealed
        and {effect.against, Role.CANDIDATE} <= set(window.objective)
    ]
    try:
        ratios = log_ratios([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    except ValueError:
        return None
    means = cluster_means(ratios, [pair[2] for pair in pairs])
    return (float(means.mean()), len(means)) if len(means) else None


def span_of(effect: Effect) -> Span:
    """What an effect's interval says, as shares."""
    interval = effect.interval
    return Span.of_ratios(interval.low, interval.mean, interval.high)
