"""Policies that stay: planners people wrote, their constants tuned on some stretch.

Of the library's planners those are named here whose question is when to plan anew and what for, as
GPUs come and go. Left out are those that split phases or lengths among engines: they plan for
routes of their own, and here every arm has the default policy's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evolver import library
from evolver.archive import geometric_mean
from evolver.exercised import PLANNER_HOOKS, keep_hooks
from evolver.online.thinking import Trials, share_code, verified
from evolver.task import Human
from evolver.tuner import Tuning, axes_of
from evolver.written import written
from sandbox.policies import default_source
from sandbox.scenario import Scenario
from sandbox.source import PolicySource

LIBRARY = (
    "static_plan", "periodic_replanning", "threshold_trigger", "autopoiesis", "chameleon",
    "oserve", "spotserve",
)  # fmt: skip

Objective = Callable[[PolicySource, Mapping[str, float]], float]
"""Seconds of a policy with these constants; infinite when it fails."""


@dataclass(frozen=True, slots=True)
class Static:
    """A policy with the best constants that were found, and their objective."""

    name: str
    source: PolicySource
    objective: float

    @property
    def human(self) -> Human:
        """As a policy that somebody wrote, for a search to begin with."""
        return Human(self.name, self.source.annotated())


@functools.cache
def planners() -> tuple[Human, ...]:
    """The default policy's planner, then those of the library: trigger and planner alone."""
    texts = [("default", default_source().annotated())]
    texts += [(name, library.read(name)) for name in LIBRARY]
    kept = ((name, keep_hooks(text, PLANNER_HOOKS)) for name, text in texts)
    return tuple(Human(name, text) for name, text in kept if text is not None)


def on_stretches(pieces: Sequence[Scenario], trials: Trials) -> Objective:
    """Geometric mean of the objective over stretches."""

    def objective(source: PolicySource, parameters: Mapping[str, float]) -> float:
        results = [trials.result(source, parameters, piece) for piece in pieces]
        if any(result.fault is not None for result in results):
            return math.inf
        return geometric_mean([result.objective for result in results])

    return objective


def tune(human: Human, objective: Objective, tries: int, seed: int) -> Static:
    """The policy with the best of so many settings of its constants, those as written first."""
    source = verified(human.text)
    best, least = source.parameters(), objective(source, source.parameters())
    if not axes_of(source.tunables):
        return Static(human.name, source, least)
    tuning = Tuning(source.tunables, best, seed)
    for _ in range(tries - 1):
        if tuning.over:
            break
        asked = tuning.ask()
        value = objective(source, asked)
        tuning.tell(asked, (value,))
        if value < least:
            best, least = asked, value
    tuned = written(human.text, best, human.name)
    share_code(tuned, source)
    return Static(human.name, tuned, least)


def tune_all(
    humans: Sequence[Human], objective: Objective, tries: int, seed: int
) -> tuple[Static, ...]:
    """Each of them tuned alike; the best first, ties by name."""
    tuned = (tune(human, objective, tries, seed + k) for k, human in enumerate(humans))
    return tuple(sorted(tuned, key=lambda one: (one.objective, one.name)))
