"""What a run's history adds up to: who earned what, why tries came to nothing, where it led."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from evolver.archive import HUMAN
from evolver.run_history import Arm, Call, Rejected, RunHistory, Scored, Spent, Step

_Try = TypeVar("_Try", Rejected, Scored)
GAINS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # what runs are compared at


@dataclass(frozen=True, slots=True)
class Earned:
    """What became of one proposer's tries, and what they cost.

    Attributes:
        legal: tries that were legal candidates nobody knew yet.
        better: candidates that beat their parent.
        gain: all that they gained over the best of their time: 0.1 is 10 % less than that.
        share: of the budget; None where the run did not say.
        best: score of the best one.
    """

    proposer: str
    asked: int
    legal: int
    scored: int
    better: int
    gain: float
    share: float | None
    evaluations: float | None
    tokens: int
    price_usd: float
    best: float | None


@dataclass(frozen=True, slots=True)
class Reason:
    """Tries that were turned down alike; `examples` are different ones, the first first."""

    kind: str
    code: str
    count: int
    proposers: tuple[tuple[str, int], ...]
    examples: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class Called:
    """All calls of one model; `failures` by error, most frequent first."""

    model: str
    calls: int
    failures: tuple[tuple[str, int], ...]
    tokens_in: int
    tokens_out: int
    price_usd: float
    price_known: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One in the line from a human policy to the winner; `beside` are its other parents."""

    scored: Scored
    beside: tuple[str, ...] = ()


def earned(history: RunHistory) -> list[Earned]:
    """A line for each proposer that was ever asked, best found first."""
    rejected, scored = _by_proposer(history.rejected), _by_proposer(history.scored)
    gains = _gains(history)
    names = sorted({*rejected, *scored, *history.arms} - {HUMAN})
    lines = [
        _earned(
            name, rejected.get(name, []), scored.get(name, []), history.arms.get(name),
            gains.get(name, 0.0),
        )
        for name in names
    ]  # fmt: skip
    return sorted(lines, key=lambda line: (line.best is None, line.best or 0.0, line.proposer))


def _by_proposer(tries: Iterable[_Try]) -> dict[str, list[_Try]]:
    found: dict[str, list[_Try]] = {}
    for one in tries:
        found.setdefault(one.proposer, []).append(one)
    return found


def _gains(history: RunHistory) -> dict[str, float]:
    """By how much each proposer improved on the best of its time, as logarithms."""
    best = history.tuned.score if history.tuned else 1.0
    gains: dict[str, float] = {}
    for one in history.scored:
        if not one.fault and 0 < one.score < best:
            gains[one.proposer] = gains.get(one.proposer, 0.0) + math.log(best / one.score)
            best = one.score
    return gains


def _earned(
    name: str, rejected: Sequence[Rejected], scored: Sequence[Scored], arm: Arm | None, gain: float
) -> Earned:
    ran = sum(one.kind in ("faulted", "slower", "alike", "hopeless", "budget") for one in rejected)
    gains = [one.gain for one in scored if one.gain is not None and not one.fault]
    fit = [one.score for one in scored if not one.fault]
    return Earned(
        proposer=name,
        asked=max(len(rejected) + len(scored), arm.asked if arm else 0),
        legal=ran + len(scored),
        scored=len(scored),
        better=sum(over > 0 for over in gains),
        gain=-math.expm1(-gain),
        share=arm.share if arm else None,
        evaluations=arm.evaluations if arm else None,
        tokens=arm.tokens if arm else 0,
        price_usd=arm.price_usd if arm else 0.0,
        best=min(fit, default=None),
    )


def reasons(history: RunHistory, examples: int = 3) -> list[Reason]:
    """Why tries came to nothing, most frequent first; scored ones that gained nothing included."""
    groups: dict[tuple[str, str], list[Rejected]] = {}
    for one in (*history.rejected, *_gained_nothing(history)):
        groups.setdefault((one.kind, one.code), []).append(one)
    found = [
        Reason(
            kind,
            code,
            len(tries),
            tuple(Counter(one.proposer for one in tries).most_common()),
            tuple({one.reason: one for one in reversed(tries)}.values())[::-1][:examples],
        )
        for (kind, code), tries in groups.items()
    ]
    return sorted(found, key=lambda reason: (-reason.count, reason.kind, reason.code))


def _gained_nothing(history: RunHistory) -> list[Rejected]:
    lost = []
    for one in history.scored:
        if one.fault:
            kind, code, why = "faulted", "failed when it ran", one.fault
        elif one.gain is not None and one.gain <= 0:
            kind, code = "no gain", "scored in full, no better than its parent"
            why = f"{one.score / (one.parent_score or 1.0) - 1.0:+.1%} against its parent"
        else:
            continue
        lost.append(Rejected(kind, code, why, one.proposer, one.idea, one.text, one.generation))
    return lost


def called(calls: Sequence[Call]) -> list[Called]:
    """A line for each model, most expensive first."""
    models: dict[str, list[Call]] = {}
    for call in calls:
        models.setdefault(call.model, []).append(call)
    lines = [
        Called(
            model,
            len(those),
            tuple(Counter(call.error for call in those if call.error).most_common()),
            sum(call.tokens_in for call in those),
            sum(call.tokens_out for call in those),
            sum(call.price_usd for call in those),
            all(call.price_known for call in those if not call.error),
            sum(call.seconds for call in those),
        )
        for model, those in models.items()
    ]
    return sorted(lines, key=lambda line: (-line.price_usd, -line.calls, line.model))


def lineage(history: RunHistory) -> list[Ancestor]:
    """From a human policy to the winner, first parents only; the others are named beside."""
    known = {one.digest: one for one in (*history.scored, *history.baselines)}
    line: list[Ancestor] = []
    one, met = history.winner, set[str]()
    while one is not None and one.digest not in met:
        met.add(one.digest)
        others = [known[parent].name for parent in one.parents[1:] if parent in known]
        line.append(Ancestor(one, tuple(others)))
        one = known.get(one.parents[0]) if one.parents else None
    return line[::-1]


def family(history: RunHistory) -> set[str]:
    """Digests of the winner and of everyone it descends from."""
    known = {one.digest: one for one in (*history.scored, *history.baselines)}
    met: set[str] = set()
    open_ = [history.winner.digest] if history.winner else []
    while open_:
        digest = open_.pop()
        if digest in known and digest not in met:
            met.add(digest)
            open_.extend(known[digest].parents)
    return met


def gain_at(history: RunHistory, step: Step) -> float:
    """Gain at one step over the best policy as people wrote it."""
    return gain_over(history.untuned, step.score)


def gain_over(human: Scored | None, score: float) -> float:
    """Gain of a score over a human policy's, over 1 when there is none."""
    return 1.0 - score / ((human.score if human else 1.0) or 1.0)


def searched(history: RunHistory) -> float | None:
    """Gain of the best candidate over the best human policy, tuned, on the training windows."""
    if history.best is not None and history.tuned is not None:
        return gain_over(history.tuned, history.best.score)
    return history.ahead


def reached(history: RunHistory, gain: float) -> Spent | None:
    """What had been spent when a gain over the best untuned human policy was first reached."""
    steps = (step for step in history.curve if gain_at(history, step) >= gain - 1e-12)
    return next((step.spent for step in steps), None)


def until_end(history: RunHistory) -> list[Step]:
    """The curve, going on level to the end of the run."""
    if not history.curve:
        return []
    last = history.curve[-1]
    if history.spent == last.spent:
        return list(history.curve)
    return [*history.curve, replace(last, spent=history.spent)]
