"""Everyone on one scenario: as written, tuned, and what evolves from there, on sealed windows.

Constants are tuned and policies evolved on training windows, what is entered is chosen on
validation windows, and every number of the board is of sealed windows, which nothing before them
has seen. Where traffic is drawn, two more draws under other seeds are sealed as a whole, and there
is a fourth one to choose on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evolver.candidates import seed_for
from evolver.exercised import keep_hooks
from evolver.leaderboard.entrants import DEFAULT, Given, entrants
from evolver.leaderboard.evolving import Breeding, Evolved, evolve
from evolver.leaderboard.measures import measures
from evolver.leaderboard.runs import BoardTask, Runs, verified
from evolver.leaderboard.shelf import Shelf
from evolver.leaderboard.spec import ScenarioSpec
from evolver.leaderboard.tuning import Entry, Tries, results_of, tune_all
from evolver.problem import Problem
from evolver.proposer import Proposer
from evolver.serving_words import description_of
from evolver.task import Description, Split
from sandbox.cluster import ClusterSpec
from sandbox.kernel.calls import CALLED
from sandbox.scenario import Scenario
from sandbox.windows import Windows


@dataclass(frozen=True, slots=True)
class Effort:
    """What is spent on a scenario.

    Attributes:
        tries: settings of constants; None to run everybody as written only.
        evaluations: of the search, each one candidate on all training windows; 0 for no search.
    """

    tries: Tries | None = field(default_factory=Tries)
    evaluations: float = 18.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Ground:
    """A scenario laid out.

    Attributes:
        problem: searched, chosen and judged on by its windows.
        fresh: more draws of it, sealed as a whole; none where traffic is recorded.
        choosing: one more, to choose on what enters; None where traffic is recorded.
        plain: the baseline's cluster, where that is another.
    """

    spec: ScenarioSpec
    problem: Problem
    fresh: tuple[Problem, ...] = ()
    choosing: Problem | None = None
    plain: ClusterSpec | None = None


@dataclass(slots=True)
class Contest:
    """One scenario's entrants and their results.

    Args:
        ground: the scenario.
        effort: what may be spent.
        shelf: machine code that need not be made again.
        given: entries from outside of the library.
        models: proposers of the search beside the mutator.
    """

    ground: Ground
    effort: Effort
    shelf: Shelf
    given: Sequence[Given] = ()
    models: Sequence[Proposer] = ()
    _hooks: frozenset[str] = field(init=False)
    _windows: Windows = field(init=False)
    _runs: Runs = field(init=False)
    _task: BoardTask = field(init=False)
    _sealed: tuple[str, ...] = field(init=False)
    _choosing: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        problem = self.ground.problem
        windows = self._windows = problem.windows()
        draws = enumerate(self.ground.fresh)
        fresh = [one for k, draw in draws for one in _drawn(f"fresh{k}", draw)]
        choosing = _drawn("choosing", self.ground.choosing)
        self._runs = Runs((*windows.scenarios, *fresh, *choosing), self.shelf.codes)
        words = description_of(problem, windows) if self.models else Description("", "")
        self._hooks = (problem.hooks | frozenset(self.ground.spec.decides)) & frozenset(CALLED)
        self._task = BoardTask(self._runs, windows, words, self._hooks)
        own = tuple(one.name for one in windows.sealed)
        more = tuple(one.name for one in fresh)
        self._sealed = own + more if more else windows.with_repeats(windows.sealed)
        unseen = self._task.windows(Split.VALIDATION) + tuple(one.name for one in choosing)
        self._choosing = unseen if choosing else self._training + unseen

    def run(self) -> dict[str, Any]:
        """Everything that was found, as plain values."""
        clock = _Clock()
        written = entrants(self.ground.spec, self._hooks, self.given)
        tuned: list[Entry] = []
        evolved = None
        if self.effort.tries is not None:
            tuned = self._tuned(written, self.effort.tries)
            clock.stop("tuning")
            if self.effort.evaluations > 0.0:
                evolved = self._evolved(tuned)
                clock.stop("evolving")
        windows = self._windows
        found = {
            "scenario": self.ground.spec.name,
            "hooks": sorted(self._hooks),
            "windows": [len(windows.training), len(windows.validation), len(self._sealed)],
            "entrants": self._judged(written, tuned),
            "own": self._own(written, tuned),
            "evolved": self._entered(evolved),
            "requests": self._runs.requests,
        }
        clock.stop("judging")
        return {**found, "cpu_s": clock.parts}

    def _tuned(self, written: Sequence[Entry], tries: Tries) -> list[Entry]:
        spec, seed = self.ground.spec, seed_for(self.effort.seed, 1)
        named = [name for name in (spec.system, spec.baseline.policy) if name is not None]
        return tune_all(self._task, written, self._screen, self._training, tries, seed, named)

    def _evolved(self, tuned: Sequence[Entry]) -> Evolved | None:
        if not any(math.isfinite(one.objective) for one in tuned):
            return None
        effort = self.effort
        tries = effort.tries.more if effort.tries is not None else 1
        seed = seed_for(effort.seed, 2)
        breeding = Breeding(
            self._screen, self._training, self._choosing, tries, effort.evaluations, seed
        )
        return evolve(self._task, tuned, self._hooks, breeding, self.models)

    @property
    def _training(self) -> tuple[str, ...]:
        return self._task.windows(Split.TRAINING)

    @property
    def _screen(self) -> tuple[str, ...]:
        """The rungs of the search below its last one."""
        rungs = [rung for rung in self._task.cascade() if rung.counts]
        return tuple(name for rung in rungs[:-1] or rungs for name in rung.windows)

    def _judged(
        self, written: Sequence[Entry], tuned: Sequence[Entry]
    ) -> dict[str, dict[str, Any]]:
        """Objectives on sealed windows of everybody, as written and tuned."""
        found: dict[str, dict[str, Any]] = {}
        for entry in written:
            found[entry.name] = {"hooks": list(entry.source.hooks), "written": self._row(entry)}
        for entry in tuned:
            found[entry.name]["tuned"] = self._row(entry)
        return found

    def _row(self, entry: Entry) -> dict[str, Any]:
        (results,) = results_of(self._task, [entry], self._sealed)
        faults = [result.fault for result in results.values() if result.fault is not None]
        return {
            "parameters": dict(entry.parameters),
            "training": entry.objective if math.isfinite(entry.objective) else None,
            "objectives": {name: result.objective for name, result in results.items()},
            "fault": faults[0] if faults else None,
        }

    def _entered(self, evolved: Evolved | None) -> dict[str, Any] | None:
        if evolved is None:
            return None
        entry = evolved.entry
        return {
            "idea": evolved.idea, "library": evolved.library, "gain": evolved.gain,
            "candidates": evolved.candidates,
            "name": None if entry is None else entry.name,
            "text": None if entry is None else entry.source.annotated(),
            "row": None if entry is None else self._row(entry),
        }  # fmt: skip

    def _own(self, written: Sequence[Entry], tuned: Sequence[Entry]) -> dict[str, Any]:
        """The scenario's own metric by sealed window: of the baseline, of its system."""
        spec = self.ground.spec
        system = spec.system or spec.baseline.policy
        found = {}
        for label, name, entries, plain in (
            ("baseline", spec.baseline.policy, written, True),
            ("written", system, written, False),
            ("tuned", system, tuned, False),
        ):
            entry = next((one for one in entries if one.name == name), None)
            if entry is not None:
                found[label] = self._metric(self._as_published(entry), plain)
        return found

    def _as_published(self, entry: Entry) -> Entry:
        """An entrant with the hooks that the published evaluation was about, and no others."""
        kept = keep_hooks(entry.source.annotated(), self.ground.spec.decides)
        if kept is None or entry.name == DEFAULT:
            return entry
        source = verified(kept)
        own = {name: entry.parameters[name] for name in source.parameters()}
        return Entry(entry.name, source, own, entry.objective)

    def _metric(self, entry: Entry, plain: bool) -> Mapping[str, float]:
        """The scenario's metric on each sealed window where there is anything to measure."""
        cluster, metric = self.ground.plain if plain else None, self.ground.spec.metric
        found: dict[str, float] = {}
        for window in self._sealed:
            outcome, scenario = self._runs.outcome(entry.source, entry.parameters, window, cluster)
            value = measures(outcome, scenario).get(metric.name, math.nan)
            value = max(value, metric.floor or 0.0)
            found |= {window: value} if math.isfinite(value) and value > 0.0 else {}
        return found


class _Clock:
    """Processor time of this process by part."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._since_s = time.process_time()

    def stop(self, part: str) -> None:
        """What passed since the last stop was this part."""
        now_s = time.process_time()
        self.parts[part] = round(now_s - self._since_s, 2)
        self._since_s = now_s


def _drawn(label: str, problem: Problem | None) -> tuple[Scenario, ...]:
    """All windows of another draw, under names of their own."""
    windows = problem.windows().all if problem is not None else ()
    return tuple(replace(one, name=f"{label}-{one.name}") for one in windows)
