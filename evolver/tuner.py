"""Constant tuning: CMA-ES moves the named constants of one program, its structure stays.

Each constant lives on [0, 1] of its range, on a logarithmic scale when the range spans more than
a factor of ten; whole numbers use the margin that keeps CMA-ES from freezing on one of them
(Hamano et al., "CMA-ES with Margin", GECCO 2022). `Tuner` is a proposer like any other: what it
proposes costs no compilation, runs up the same rungs, and it learns from how each one stood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evolver.archive import Member
from evolver.proposer import Proposal, ProposalRequest, Standing
from evolver.task import Tunable

Parameters = dict[str, float]
Point = NDArray[np.float64]

LOG_SPAN = 10.0
FIRST_STEP = 0.25  # of a range
PATIENCE = 3  # populations in a row without a better one, after which a tuning ends
SIGNIFICANT_DIGITS = 4  # people read these constants
MOST_AXES = 64  # of one program; with hundreds a step takes seconds and finds nothing
MOST_STEPS = 10_000  # whole numbers over a wider range move as continuous ones do


@dataclass(frozen=True, slots=True)
class Axis:
    """How one constant maps to [0, 1]."""

    name: str
    low: float
    high: float
    integer: bool

    @property
    def logarithmic(self) -> bool:
        """A range over more than a factor of ten, without zero and not of whole numbers."""
        if self.integer or self.low <= 0:
            return False
        return LOG_SPAN < self.high / self.low < math.inf

    @property
    def step(self) -> float:
        """Distance of two neighbours on [0, 1]; 0 for a constant that moves continuously."""
        span = self.high - self.low
        return 1.0 / span if self.integer and span <= MOST_STEPS else 0.0

    def to_unit(self, value: float) -> float:
        """Place of a value on [0, 1]."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def to_value(self, unit: float) -> float:
        """Value at a place on [0, 1], rounded as people would write it."""
        unit = min(max(unit, 0.0), 1.0)
        if self.logarithmic:
            value = self.low * (self.high / self.low) ** unit
        else:
            value = self.low + unit * (self.high - self.low)
        value = float(round(value)) if self.integer else float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        return min(max(value, self.low), self.high)


class Optimizer(Protocol):
    """What both optimizers of the `cmaes` package share."""

    @property
    def population_size(self) -> int:
        """Points per batch."""

    def ask(self) -> Point | tuple[Point, Point]:
        """A point, with margin also the point to tell the score with."""

    def tell(self, solutions: list[tuple[Point, float]]) -> None:
        """Take the scores of one batch."""

    def should_stop(self) -> bool:
        """Has it converged?"""


def axes_of(tunables: Sequence[Tunable]) -> list[Axis]:
    """The constants that can move, the first `MOST_AXES` of them."""
    able = [Axis(t.name, t.low, t.high, t.integer) for t in tunables if t.high > t.low]
    return able[:MOST_AXES]


class Tuning:
    """The search for better constants of one program, by asking and telling.

    Args:
        tunables: of the program; one at least can move.
        start: the constants to begin with.
        seed: equal seeds ask for equal points.
    """

    def __init__(self, tunables: Sequence[Tunable], start: Mapping[str, float], seed: int) -> None:
        self._axes = axes_of(tunables)
        self._start = dict(start)
        self._optimizer = _optimizer(self._axes, start, seed)
        self._pending: dict[tuple[float, ...], Point] = {}
        self._told: list[tuple[Point, Standing]] = []
        self._best: Standing | None = None
        self._idle = 0

    @property
    def over(self) -> bool:
        """Nothing better is to be expected."""
        return self._idle >= PATIENCE or self._optimizer.should_stop()

    @property
    def population(self) -> int:
        """How many standings make one step."""
        return self._optimizer.population_size

    def ask(self) -> Parameters:
        """Constants to try."""
        point, told = _ask(self._optimizer)
        parameters = _parameters(self._axes, point, self._start)
        self._pending[self._key(parameters)] = told
        return parameters

    def tell(self, parameters: Mapping[str, float], standing: Standing | None) -> None:
        """How they stood; None when nobody knows, which counts as worst."""
        point = self._pending.pop(self._key(parameters), None)
        if point is None:
            return
        self._told.append((point, standing or (math.inf,)))
        if len(self._told) == self.population:
            self._step()

    def _key(self, parameters: Mapping[str, float]) -> tuple[float, ...]:
        return tuple(parameters[axis.name] for axis in self._axes)

    def _step(self) -> None:
        """One population is told: by rank, for infinities upset CMA-ES and it uses nothing else."""
        best = min(standing for _, standing in self._told)
        better = self._best is None or best < self._best
        self._best = best if better else self._best
        self._idle = 0 if better else self._idle + 1
        order = sorted({standing for _, standing in self._told})
        ranks = {standing: float(rank) for rank, standing in enumerate(order)}
        self._optimizer.tell([(point, ranks[standing]) for point, standing in self._told])
        self._told.clear()


@dataclass(slots=True)
class Tuner:
    """Moves the constants of the best structure that is not tuned out yet."""

    name: str = "tuner"
    waits: bool = False
    _tunings: dict[str, Tuning] = field(default_factory=dict, init=False)

    def propose(self, request: ProposalRequest) -> Proposal | None:
        """The structure of the parent or of another, with other constants; None: all are tuned."""
        for member in sorted((request.parent, *request.others), key=lambda m: m.rank):
            tuning = self._tuning(member, request.rng_seed)
            if tuning is not None and not tuning.over:
                parameters = tuning.ask()
                idea = f"constants of {member.name}"
                return Proposal(member.text, self.name, idea, (member.digest,), parameters)
        return None

    def learn(self, proposal: Proposal, standing: Standing | None) -> None:
        """How a proposal of ours stood."""
        tuning = self._tunings.get(proposal.text)
        if tuning is not None and proposal.parameters is not None:
            tuning.tell(proposal.parameters, standing)

    def population(self, member: Member, seed: int) -> int:
        """How many proposals make one step on this member; 0 when it cannot or need not be."""
        tuning = self._tuning(member, seed)
        return 0 if tuning is None or tuning.over else tuning.population

    def _tuning(self, member: Member, seed: int) -> Tuning | None:
        """The tuning of the member's structure, begun when it is first met."""
        if member.text not in self._tunings:
            if not axes_of(member.program.tunables):
                return None
            self._tunings[member.text] = Tuning(member.program.tunables, member.parameters, seed)
        return self._tunings[member.text]


def _optimizer(axes: Sequence[Axis], start: Mapping[str, float], seed: int) -> Optimizer:
    from cmaes import CMA, CMAwM

    # CMA-ES is not defined in one dimension: a second one that nothing reads goes along.
    padding = max(0, 2 - len(axes))
    mean = np.array([axis.to_unit(start[axis.name]) for axis in axes] + [0.5] * padding)
    steps = np.array([axis.step for axis in axes] + [0.0] * padding)
    bounds = np.tile([0.0, 1.0], (len(mean), 1))
    seed %= 2**32
    optimizer: Optimizer = (
        CMAwM(mean=mean, sigma=FIRST_STEP, bounds=bounds, steps=steps, seed=seed)
        if steps.any()
        else CMA(mean=mean, sigma=FIRST_STEP, bounds=bounds, seed=seed)
    )
    return optimizer


def _ask(optimizer: Optimizer) -> tuple[Point, Point]:
    """A point to score, and the point to tell its score with (they differ for whole numbers)."""
    asked = optimizer.ask()
    return asked if isinstance(asked, tuple) else (asked, asked)


def _parameters(axes: Sequence[Axis], point: Point, start: Mapping[str, float]) -> Parameters:
    moved = {axis.name: axis.to_value(float(point[i])) for i, axis in enumerate(axes)}
    return {**start, **moved}
