"""All pairs, modes and seeds, each in a locked-down process of its own, a few at a time.

What is searched and run in such a process is a candidate's code as much as anybody's: so a whole
arm of the experiment runs where candidates run elsewhere, without files, network or other
processes. It answers with numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evolver.locked_jobs import LockedJob, Workplace
from evolver.online.arms import Arms, Effort
from evolver.online.pairs import Ground
from evolver.online.statics import planners
from evolver.online.thinking import compile_planners
from evolver.recordings import Recording
from sandbox.hardware import build_hardware
from sandbox.simulation import Mode

MOST_REPLY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """One pair under one seed in one mode; `pair` is its place among the grounds."""

    pair: int
    mode: Mode
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run; handed to every process.

    Attributes:
        grounds: the pairs, laid out.
        recording: replies of a model that the evolving arm is given; the mutator alone without.
    """

    grounds: tuple[Ground, ...]
    effort: Effort
    recording: Recording | None = None

    def jobs(self, seeds: int, modes: Sequence[Mode]) -> tuple[Job, ...]:
        """All of them, the longest traces first."""
        order = sorted(range(len(self.grounds)), key=lambda k: -len(self.grounds[k].trace))
        return tuple(Job(k, mode, s) for k in order for mode in modes for s in range(seeds))


def run_all(
    plan: Plan, jobs: Sequence[Job], workers: int, on_done: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Results of all jobs in their order; `on_done` hears each title.

    Raises:
        ExperimentRefused: a job failed; its sentence names the place.
        WorkersUnavailable, IsolationMissing: no process can be had, or a layer is missing.
    """
    place = Workplace(
        f"{__name__}:arms_job", f"{__name__}:prepare", plan, most_reply_bytes=MOST_REPLY_BYTES,
        remedy="leave it out with --pair",
    )  # fmt: skip
    return place.run_all([_locked(plan, job) for job in jobs], workers, on_done)


def _locked(plan: Plan, job: Job) -> LockedJob:
    title = f"{plan.grounds[job.pair].name}, {job.mode}, seed {job.seed}"
    return LockedJob(title, {"pair": job.pair, "mode": job.mode, "seed": job.seed})


def arms_job(
    payload: Plan, message: Mapping[str, Any], _attachment: bytes, _kept: dict[str, Any]
) -> bytes:
    """All arms of one job; runs in the locked-down child."""
    ground = payload.grounds[message["pair"]]
    arms = Arms(ground, message["mode"], message["seed"], payload.effort, payload.recording)
    return json.dumps(arms.run()).encode()


def prepare(payload: Plan) -> None:
    """Load what children need, by a short run of everything: they open no file."""
    compile_planners(planners())
    for ground in payload.grounds:
        build_hardware(ground.cluster)
    short = shortened(payload.grounds[0])
    effort = replace(payload.effort, evaluations=1, tries=2, factors=(1.0,))
    modes: tuple[Mode, ...] = ("backlog", "open")
    for mode in modes:
        Arms(short, mode, 0, effort).run()


def shortened(ground: Ground, points: int = 3) -> Ground:
    """A pair whose measured part is a few monitoring intervals long."""
    spec = ground.spec
    end_s = min(spec.past_s + points * spec.monitoring_s, spec.regime[-1].until_s)
    first = spec.regime[0].model_copy(update={"until_s": end_s})
    short = spec.model_copy(update={"regime": (first,)})
    return replace(ground, spec=short, trace=ground.trace.slice(0.0, end_s))
