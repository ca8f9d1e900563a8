"""What the search asks of a problem: verify a text, score it on windows, say what it is about.

Nothing here knows about serving. `serving_task.py` is the task of this project; any other problem
whose candidates are texts with named constants can be searched by writing these few methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Split(StrEnum):
    """Three stretches of time: one to search on, one to choose on, one to prove on."""

    TRAINING = "training"
    VALIDATION = "validation"
    SEALED = "sealed"


class Tunable(Protocol):
    """A named constant that a tuner may move within `low .. high`."""

    @property
    def name(self) -> str:
        """Name of the constant."""

    @property
    def value(self) -> float:
        """What the text gives it."""

    @property
    def low(self) -> float:
        """Smallest value it may take."""

    @property
    def high(self) -> float:
        """Largest value it may take."""

    @property
    def integer(self) -> bool:
        """True when only whole numbers make sense."""


class Program(Protocol):
    """A verified candidate: its canonical text, what it claims and which constants can move."""

    @property
    def canonical(self) -> str:
        """The text that is hashed and run."""

    @property
    def claim(self) -> str:
        """What its author says it does."""

    @property
    def tunables(self) -> Sequence[Tunable]:
        """The constants that can move, in a stable order."""

    def annotated(self) -> str:
        """The text with its claim and the ranges of its constants: verifying it gives it again."""

    def digest(self, parameters: Mapping[str, float] | None = None) -> str:
        """Identity of this text with these parameters (its own when None)."""

    def parameters(self) -> dict[str, float]:
        """The constants as written."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a text is no legal candidate, and how to mend it."""

    line: int
    code: str
    reason: str
    mend: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A text that verification turned down; at least one reason."""

    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class WindowResult:
    """One candidate on one window; a fault (crash, timeout, fuel, ...) makes it the worst case.

    Attributes:
        objective: positive, lower is better.
        fingerprint: equal for candidates that decided alike on this window; "" when unknown.
        remarks: about what went worst here, in numbers: feedback for proposers.
    """

    window: str
    objective: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    fault: str | None = None
    fingerprint: str = ""
    remarks: tuple[str, ...] = ()


Results = Mapping[str, WindowResult]
"""Results of one candidate by window name."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One fidelity of the search: candidates that did well on the rungs below it run on these.

    Attributes:
        windows: run in addition to those of the rungs below.
        counts: its objectives count; else only its faults and fingerprints do (a probe).
    """

    name: str
    windows: tuple[str, ...]
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """One candidate to score on some windows; `digest` is its identity."""

    program: Program
    parameters: Mapping[str, float]
    windows: tuple[str, ...]
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", self.program.digest(self.parameters))


@dataclass(frozen=True, slots=True)
class Human:
    """A policy that people wrote: the search starts from it and must beat it."""

    name: str
    text: str
    active: bool = False  # the one that runs now


@dataclass(frozen=True, slots=True)
class Gate:
    """One guardrail: did the candidate keep it against the human it is compared with?"""

    name: str
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Description:
    """The problem in words and numbers, for proposers and reports; never request content.

    Attributes:
        setting_lines: what does not change in a run (machines, limits, guardrails, defaults).
        window_lines: what the training windows look like.
        regime: numbers that say which kind of problem this is, for a memory across runs.
    """

    title: str
    objective: str
    window_lines: tuple[str, ...] = ()
    setting_lines: tuple[str, ...] = ()
    regime: Mapping[str, float] = field(default_factory=dict)


OnDone = Callable[[int, list[WindowResult]], None]
"""Called with the index and the results of each job as it is done, in no fixed order."""


def nobody(job: int, results: list[WindowResult]) -> None:
    """Takes results that nobody waits for."""


class Task(Protocol):
    """A problem to search.

    `evaluate` never raises because of a candidate: whatever the candidate does comes back as a
    result with `fault` set. It is deterministic, answers in the order of the jobs and of each
    job's windows, and may use any number of workers.
    """

    @property
    def worst_objective(self) -> float:
        """Charged for a window on which a candidate crashed, hung or misbehaved."""

    def describe(self) -> Description:
        """What the problem is."""

    def windows(self, split: Split) -> tuple[str, ...]:
        """Names of the windows of one split; variants of one window are named side by side."""

    def cascade(self) -> tuple[Rung, ...]:
        """The search's rungs, cheapest first; those that count cover the training windows."""

    def variants(self) -> tuple[str, ...]:
        """Training windows under other conditions, for the best of the search only; or none."""

    def unit(self, window: str) -> str:
        """What a window counts as in statistics: all variants of one are one unit."""

    def cost(self, window: str) -> int:
        """What one run of a window costs, in any whole unit that all windows share."""

    def verify(self, text: str, name: str) -> Program | Refused:
        """The legal candidate that `text` is, or why it is none."""

    def evaluate(self, jobs: Sequence[Job], on_done: OnDone = nobody) -> list[list[WindowResult]]:
        """Score each job on each of its windows."""

    def niche(self, program: Program, results: Results) -> tuple[int, ...]:
        """Which niche of the archive the candidate belongs to, by what it does; fixed bins."""

    def score_lines(self, results: Results, rivals: Sequence[Results] = ()) -> tuple[str, ...]:
        """Where the time went, by cause, and where the rivals do better: for proposers."""

    def gates(self, candidate: Results, human: Results) -> tuple[Gate, ...]:
        """The guardrails of a win, measured on the same windows."""


@runtime_checkable
class Doubting(Protocol):
    """A task whose candidates may rest on what is only predicted."""

    def doubts(self, program: Program) -> tuple[str, ...]:
        """Windows on which predictions are worse or missing, for programs that read some.

        They are run for a winner and its rivals, beside the proof, and shown with it.
        """
