"""The two sides of a scenario: which policy each is, on which windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evolver import library
from evolver.errors import ExperimentRefused
from evolver.exercised import keep_hooks
from evolver.leaderboard.ground import Scenario
from evolver.leaderboard.reading import DEFAULT
from sandbox.policies import default_source
from sandbox.scenario import Scenario as Window
from sandbox.source import PolicySource
from sandbox.verifier import verify


@dataclass(frozen=True, slots=True)
class Laid:
    """Windows of one scenario, of every seed: to tune on and to be judged on, for both clusters.

    Attributes:
        units: of each sealed window what it counts as: a recording is the same under every seed.
    """

    training: tuple[Window, ...]
    sealed: tuple[Window, ...]
    plain_training: tuple[Window, ...]
    plain_sealed: tuple[Window, ...]
    units: tuple[str, ...]
    notes: tuple[str, ...]


def laid_out(scenario: Scenario, seeds: Sequence[int], traces: Path | None) -> Laid:
    """The problem of each seed, cut into windows."""
    training: list[Window] = []
    sealed: list[Window] = []
    units: list[str] = []
    notes: dict[str, None] = {}
    for seed in seeds:
        problem = scenario.problem(seed, traces)
        windows = problem.windows()
        training += windows.training
        sealed += windows.sealed
        draw = "" if scenario.spec.needs_files else f"{seed} "
        units += [f"{draw}{window.name}" for window in windows.sealed]
        if problem.load.load is not None:
            notes[problem.load.sentence] = None
        notes.update(dict.fromkeys(windows.notes))

    def plain(windows: list[Window]) -> tuple[Window, ...]:
        return tuple(replace(w, cluster=scenario.baseline_cluster(w.cluster)) for w in windows)

    return Laid(
        tuple(training), tuple(sealed), plain(training), plain(sealed), tuple(units), tuple(notes)
    )


def entrant(name: str, text: str, decides: Sequence[str]) -> PolicySource:
    """A policy with the hooks that a scenario lets entrants decide.

    Raises:
        ExperimentRefused: it has none of them.
        PolicyRefused: it is no policy.
    """
    kept = keep_hooks(text, decides)
    if kept is None:
        raise ExperimentRefused(
            f"The policy {name} decides none of {', '.join(decides)}; name another."
        )
    return verify(kept, name)


def system_source(scenario: Scenario) -> PolicySource:
    """The policy that the scenario is about; of a technique, the baseline's on another cluster."""
    spec = scenario.spec
    if spec.system is None:
        return baseline_source(scenario)
    return entrant(spec.system, library.read(spec.system), spec.decides)


def baseline_source(scenario: Scenario) -> PolicySource:
    """The policy that it is compared with."""
    spec = scenario.spec
    if spec.baseline.policy == DEFAULT:
        return default_source()
    return entrant(spec.baseline.policy, library.read(spec.baseline.policy), spec.decides)
