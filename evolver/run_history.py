"""A stored run as a typed history: what was tried, what it was worth and what it cost, in order.

The rows come from a database, from any version, and may end anywhere: what is missing or is not of
the expected type reads as nothing. Scores are relative to the best human of each window, below 1 is
better; a gain of 0.05 means 5 % less than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from evolver.archive import HUMAN
from evolver.budget import Limits
from policy_store.records import Run

MOST = 1e15  # no score, cost or count of a run is as large


class Row(Protocol):
    """One stored event."""

    @property
    def kind(self) -> str:
        """What it is about."""

    @property
    def payload(self) -> Mapping[str, object]:
        """Its data."""

    @property
    def at(self) -> datetime:
        """When it was written."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run had spent at some moment."""

    evaluations: float = 0.0
    seconds: float = 0.0
    tokens: int = 0
    price_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """The best of all at one moment; `name` leads, a human at first."""

    spent: Spent
    score: float
    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Scored:
    """A policy that was scored on all training windows.

    Attributes:
        parent_score: None for humans and where it is not recorded.
        tuned_from: digest of what it is with other constants, if a tuner made it.
    """

    digest: str
    name: str
    proposer: str
    idea: str
    parents: tuple[str, ...]
    score: float
    parent_score: float | None
    fault: str
    text: str
    parameters: Mapping[str, float]
    generation: int
    spent: Spent
    active: bool = False
    tuned_from: str = ""

    @property
    def human(self) -> bool:
        """Whether people wrote it; with constants tuned, too."""
        return self.proposer == HUMAN

    @property
    def gain(self) -> float | None:
        """By how much less than its parent's the objective is; negative when it is more."""
        return 1.0 - self.score / self.parent_score if self.parent_score else None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A try that came to nothing.

    Attributes:
        kind: "refused", "unusable", "twin", "failed", "faulted", "slower", "alike",
            "hopeless" or "budget".
        code: what it shares with others that were turned down alike.
        reason: why, in words.
    """

    kind: str
    code: str
    reason: str
    proposer: str
    idea: str
    text: str
    generation: int
    ask: str = ""


@dataclass(frozen=True, slots=True)
class Finalist:
    """One that was compared on the validation windows; `varied` is its score on the variants."""

    name: str
    score: float
    varied: float | None


@dataclass(frozen=True, slots=True)
class Call:
    """One try to get an answer from a model; `error` is empty when one came."""

    model: str
    ask: str
    tokens_in: int
    tokens_out: int
    price_usd: float
    price_known: bool
    seconds: float
    finish: str
    error: str


@dataclass(frozen=True, slots=True)
class Arm:
    """What the search itself booked for a proposer; `share` is of the budget."""

    asked: int = 0
    share: float = 0.0
    evaluations: float = 0.0
    tokens: int = 0
    price_usd: float = 0.0


@dataclass(slots=True)
class RunHistory:
    """Everything that is known of one run."""

    run: Run
    title: str = ""
    objective: str = ""
    windows: dict[str, int] = field(default_factory=dict)
    baselines: list[Scored] = field(default_factory=list)
    scored: list[Scored] = field(default_factory=list)  # candidates, in order
    tuning: list[Scored] = field(default_factory=list)  # tries at constants of human policies
    tuning_tries: int = 0  # at those, scored in full or not
    rejected: list[Rejected] = field(default_factory=list)  # of candidates
    finalists: list[Finalist] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    curve: list[Step] = field(default_factory=list)
    arms: dict[str, Arm] = field(default_factory=dict)
    generations: int = 0
    spent: Spent = field(default_factory=Spent)
    chosen: str | None = None  # digest of the one that the verdict is about
    sealed_opened: bool = False
    ahead: float | None = None  # gain of the best over the best human, by the last generation
    outcome: Mapping[str, object] = field(default_factory=dict)  # of run_finished

    @property
    def limits(self) -> Limits | None:
        """What the run was allowed to spend."""
        given = mapping(self.run.config.get("limits"))
        known = {name: number_or_none(given.get(name)) for name in Limits.__dataclass_fields__}
        if not any(value is not None and value > 0 for value in known.values()):
            return None
        tokens = known["tokens"]
        return Limits(
            known["evaluations"], known["seconds"], int(tokens) if tokens else None,
            known["price_usd"],
        )  # fmt: skip

    @property
    def trace(self) -> str:
        """Name of the trace."""
        return words(self.run.config.get("trace_name")) or "-"

    @property
    def verdict(self) -> str | None:
        """How it ended: improved, no_change, ...; None while it can go on."""
        return self.run.verdict

    @property
    def untuned(self) -> Scored | None:
        """The best policy as people wrote it."""
        return _best(b for b in self.baselines if not b.tuned_from)

    @property
    def tuned(self) -> Scored | None:
        """The best policy that people wrote, constants tuned or not."""
        return _best(self.baselines)

    @property
    def best(self) -> Scored | None:
        """The best candidate of the search."""
        return _best(self.scored)

    @property
    def winner(self) -> Scored | None:
        """The candidate the verdict is about, else the best of the search."""
        return self.find(self.chosen) or self.best

    def find(self, digest: str | None) -> Scored | None:
        """Who has this digest."""
        every = (*self.baselines, *self.scored)
        return next((scored for scored in every if scored.digest == digest), None)


def mapping(value: object) -> Mapping[str, object]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[object]:
    """The value if it is a list, else an empty one."""
    return list(value) if isinstance(value, list | tuple) else []


def words(value: object) -> str:
    """The value if it is text, else nothing."""
    return value if isinstance(value, str) else ""


def number_or_none(value: object) -> float | None:
    """The value if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -MOST < value < MOST else None


def number(value: object) -> float:
    """The value if it is a finite number, else 0."""
    return number_or_none(value) or 0.0


def _best(scored: Iterable[Scored]) -> Scored | None:
    fit = [one for one in scored if not one.fault]
    return min(fit, key=lambda one: (one.score, one.digest), default=None)
