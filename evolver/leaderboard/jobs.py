"""The contests of all scenarios, each in a locked-down process of its own."""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolver.leaderboard.contest import Contest, Effort, Ground
from evolver.leaderboard.entrants import Given
from evolver.leaderboard.ground import Scenario
from evolver.leaderboard.shelf import Shelf
from evolver.leaderboard.spec import Metric, ScenarioSpec
from evolver.leaderboard.tuning import Tries
from evolver.locked_jobs import LockedJob, Workplace
from evolver.models import ModelProposer
from evolver.online.thinking import Recorded
from evolver.problem import Problem
from evolver.recorded_answers import RecordedAnswers, RecordedEndpoint
from evolver.recordings import Recording
from sandbox.cluster import load_cluster
from sandbox.engine import load_policy
from sandbox.errors import SandboxError
from sandbox.kernel.calls import CALLED
from sandbox.replay import at_load, default_policy
from telemetry import generate, load_profile
from telemetry.profile import TrafficProfile

SMALL = 240  # requests of a contest that only loads what contests need
_FAILED = "failed"  # why, in place of what a contest found
FRESH, CHOOSING = (1000, 3000), 2000  # added to the seed: of draws that nobody searches on


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, the same for every scenario.

    Attributes:
        given: entries from outside of the library.
        recording: replies of a model that take part in evolution.
        shelf: the library in machine code. some: scenario, of those that are run.
    """

    effort: Effort
    given: tuple[Given, ...]
    recording: Recording | None
    shelf: Shelf
    some: ScenarioSpec


@dataclass(frozen=True, slots=True)
class Ran:
    """What `Contest.run` found, scenario by scenario in their order; why others failed, by name."""

    results: list[dict[str, Any]]
    failed: Mapping[str, str]


def run_board(
    scenarios: Sequence[Scenario],
    effort: Effort,
    *,
    given: Sequence[Given] = (),
    recording: Recording | None = None,
    traces: Path | None = None,
    workers: int = 1,
    on_done: Callable[[str], None] = lambda _: None,
) -> Ran:
    """All contests; one that cannot be laid out, or fails, ends no other.

    Raises:
        WorkersUnavailable, IsolationMissing: no process can be had, or a layer is missing.
    """
    plan = Plan(effort, tuple(given), recording, Shelf.made(CALLED, workers), scenarios[0].spec)
    place = Workplace(f"{__name__}:contest_job", f"{__name__}:prepare", plan, reads_packages=True)
    jobs = [
        LockedJob(one.name, {}, functools.partial(_laid, one, effort.seed, traces))
        for one in scenarios
    ]
    found = place.run_each(jobs, workers, on_done)
    whys = [one if isinstance(one, str) else one.get(_FAILED) for one in found]
    failed = {job.title: why for job, why in zip(jobs, whys, strict=True) if why is not None}
    return Ran([one for one in found if isinstance(one, dict) and _FAILED not in one], failed)


def lay(scenario: Scenario, seed: int, traces: Path | None) -> Ground:
    """The scenario, more draws of it where nothing of it is recorded, and the plain cluster."""
    problem = scenario.problem(seed, traces)
    fresh, choosing = tuple[Problem, ...](), None
    if not scenario.spec.needs_files:
        fresh = tuple(scenario.problem(seed + draw, traces) for draw in FRESH)
        choosing = scenario.problem(seed + CHOOSING, traces)
    plain = scenario.baseline_cluster(problem.cluster)
    return Ground(
        scenario.spec, problem, fresh, choosing, None if plain == problem.cluster else plain
    )


def _laid(scenario: Scenario, seed: int, traces: Path | None) -> bytes:
    return pickle.dumps(lay(scenario, seed, traces), protocol=pickle.HIGHEST_PROTOCOL)


def contest_job(
    payload: Plan, _message: Mapping[str, Any], attachment: bytes, _kept: dict[str, Any]
) -> bytes:
    """One contest; runs in the locked-down child."""
    ground: Ground = pickle.loads(attachment)  # noqa: S301 - of our own parent
    models = _models(payload.recording)
    try:
        contest = Contest(ground, payload.effort, payload.shelf, payload.given, models)
    except SandboxError as error:  # it cannot be cut into windows: no defect, so in its own words
        return json.dumps({_FAILED: str(error)}).encode()
    return json.dumps(contest.run()).encode()


def _models(recording: Recording | None) -> tuple[Recorded, ...]:
    if recording is None:
        return ()
    answers = RecordedAnswers(recording.exchanges, live=False, lenient=True)
    endpoint = RecordedEndpoint(answers, None)
    moves = dict.fromkeys((one.model, one.move) for one in recording.exchanges)
    proposers = [ModelProposer(endpoint, model, move) for model, move in moves]
    return tuple(Recorded(one, one.name) for one in proposers)


def prepare(payload: Plan) -> None:
    """Load what children share: kernel, both engines, the compiler, and the library's code.

    What lies in our own folders can be read here only, and some of what is imported late asks the
    system what children may not: so a small contest is run once.
    """
    from sandbox.native import compile_job

    load_policy(default_policy().source, engine="interpreted", only=CALLED)
    compile_job.prepare(None)
    payload.shelf.read()
    profile = load_profile("azure2023_conv")
    if not isinstance(profile, TrafficProfile):
        raise TypeError("azure2023_conv is a profile of traffic.")
    cluster = load_cluster("edge-8b")
    trace, report = at_load(generate(profile, n=SMALL, seed=0), cluster, 0.7)
    metric = Metric(name="e2e_mean_s", better="lower")
    spec = payload.some.model_copy(update={"metric": metric, "decides": ("route",)})
    ground = Ground(spec, Problem(trace, cluster, report))
    Contest(ground, Effort(Tries(2, 2, 1), 1.0), payload.shelf).run()
