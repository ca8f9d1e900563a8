"""The live picture of a run as lines: how far it is, who leads, what it costs, what goes on now."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evolver.budget import Limits
from evolver.cli.run_words import change, dollars, duration, number, short
from evolver.run_accounts import Earned, gain_at
from evolver.run_history import RunHistory, Spent
from telemetry.sparkline import sparkline

BAR, SPARK, ARMS_SHOWN = 24, 32, 5
LABEL = 17  # columns


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known beside the events.

    Attributes:
        seconds: into the run, by the clock.
        doing: what goes on right now.
        refusals: the latest reasons, in words.
        earned: by each proposer, as of the latest generation.
    """

    phase: str
    seconds: float
    doing: Sequence[str] = ()
    refusals: Sequence[str] = ()
    earned: Sequence[Earned] = ()


def live_lines(history: RunHistory, limits: Limits, now: Moment) -> Iterator[str]:
    """All of it, a dozen lines at most."""
    spent = history.spent
    spent = Spent(spent.evaluations, now.seconds, spent.tokens, spent.price_usd)
    share, limit = nearest(limits, spent)
    full = round(share * BAR)
    yield f"{now.phase}  {'━' * full}{'╌' * (BAR - full)}  {share:.0%} of {limit}"
    yield from _leaders(history)
    yield _line("spent", _spent(spent))
    yield from (_line("now" if k == 0 else "", words) for k, words in enumerate(now.doing))
    yield from _arms(now.earned)
    for k, said in enumerate(now.refusals):
        yield _line("refused lately" if k == 0 else "", short(said, 76))


def nearest(limits: Limits, spent: Spent) -> tuple[float, str]:
    """The limit that ends the run first: the share of it that is spent, and its words."""
    shares = [(0.0, "its budget")]
    if limits.evaluations is not None:
        shares.append((spent.evaluations / limits.evaluations, f"{limits.evaluations:g} evals"))
    if limits.seconds is not None:
        shares.append((spent.seconds / limits.seconds, duration(limits.seconds)))
    if limits.tokens is not None:
        shares.append((spent.tokens / limits.tokens, f"{limits.tokens:,} tokens"))
    if limits.price_usd is not None:
        shares.append((spent.price_usd / limits.price_usd, f"${limits.price_usd:g}"))
    share, words = max(shares[1:], default=shares[0], key=lambda pair: pair[0])
    return min(share, 1.0), words


def _leaders(history: RunHistory) -> Iterator[str]:
    human, best = history.tuned, history.best
    if human is not None:
        yield _line("best baseline", f"{change(human.score):>7}  {human.name}")
    if best is not None:
        curve = sparkline(gains(history), width=SPARK, low=0.0)
        yield _line("best candidate", f"{change(best.score):>7}  {best.name}: {short(best.idea)}")
        yield _line("", f"         {curve} over {number(history.spent.evaluations, 'evaluation')}")


def gains(history: RunHistory, columns: int = SPARK) -> list[float]:
    """The best gain so far at equal steps of evaluations; nan before anything was scored."""
    curve, most = history.curve, history.spent.evaluations
    values, place = [], 0
    for column in range(columns):
        until = most * (column + 1) / columns
        while place < len(curve) and curve[place].spent.evaluations <= until + 1e-9:
            place += 1
        values.append(gain_at(history, curve[place - 1]) if place else math.nan)
    return values


def _spent(spent: Spent) -> str:
    said = [number(spent.evaluations, "evaluation"), duration(spent.seconds)]
    if spent.tokens:
        said += [f"{spent.tokens:,} tokens", dollars(spent.price_usd)]
    return ", ".join(said)


def _arms(earned: Sequence[Earned]) -> Iterator[str]:
    known = [line for line in earned if line.share is not None]
    lines = sorted(known, key=lambda line: (-line.gain, -(line.share or 0.0), line.proposer))
    for place, line in enumerate(lines[:ARMS_SHOWN]):
        yield _line(
            "proposers" if place == 0 else "",
            f"{short(line.proposer, 30):<30}  {line.share or 0.0:>4.0%} of the budget, "
            f"gained {line.gain:.1%}, {line.asked} asked",
        )


def _line(label: str, words: str) -> str:
    return f"{label:<{LABEL}}{words}"
