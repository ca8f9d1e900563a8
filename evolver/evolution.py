"""One evolution run on a trace, put together: windows, workers, search, evidence, store.

This is the path that the command line, the demo and later the daemon share. The parts know
nothing of each other: the search sees a `Task`, the task sees a pool of locked-down workers.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evolver import library
from evolver.budget import Limits
from evolver.closing import attach_close_up
from evolver.dossier import as_stored, evidence_of
from evolver.errors import RecordStale
from evolver.exchanges import Recorder
from evolver.exercised import keep_hooks
from evolver.history import History
from evolver.journal import EventKind, EventSink
from evolver.loop import Memory, RunResult, Search, SearchSettings
from evolver.models import check_models, model_proposers
from evolver.mutator import Mutator
from evolver.problem import Problem
from evolver.progress import SILENT, Progress
from evolver.proposer import Proposer
from evolver.record import RunRecord
from evolver.recorded_answers import RecordedAnswers
from evolver.run_start import RunStart, Writers
from evolver.serving_task import Pool, ServingTask
from evolver.serving_words import description_of
from evolver.task import Human
from evolver.verdict import Outcome
from evolver.veterans import recall, remembered
from policy_store import PolicyStore
from sandbox.evidence import Evidence
from sandbox.policies import default_text
from sandbox.scenario import Scenario
from sandbox.scoring import ServingScoring
from sandbox.windows import Windows
from sandbox.worker import WorkerPool

if TYPE_CHECKING:
    from evolver.ray_pool import RayPool

# A candidate is scored on the screen, then on all windows, then tuned: compiled once for all.
KEPT_CHILDREN = 40
JOB_DEADLINE_S = 60.0  # wall clock, compilation included


@dataclass(frozen=True, slots=True)
class Evolution:
    """A finished run.

    Attributes:
        evidence: about the winner; None when no candidate was worth proving.
        policy: digest of the version in the store; None when nothing was proposed.
        close_up: what came of looking at the winner request by request, in a sentence.
    """

    run: str
    windows: Windows
    result: RunResult
    evidence: Evidence | None
    policy: str | None
    close_up: str = ""


@dataclass(frozen=True, slots=True)
class Means:
    """Where a run computes; nothing here changes what it finds.

    Attributes:
        workers: processes that score; one a core by default.
        accept_missing: layers of isolation that may be missing; the record says which were.
        ray: address of a Ray cluster whose nodes score; this machine by default.
    """

    workers: int | None = None
    accept_missing: Collection[str] = ()
    ray: str | None = None


def start_pool(
    scenarios: Sequence[Scenario], means: Means, limits: Limits | None = None
) -> WorkerPool | RayPool:
    """A pool of locked-down workers that hold these scenarios.

    A candidate that hangs may take a small part of a limit in seconds only.
    """
    seconds = limits.seconds if limits is not None and limits.seconds is not None else math.inf
    deadline_s = min(JOB_DEADLINE_S, max(JOB_DEADLINE_S / 6, seconds / 6))
    if means.ray is not None:
        from evolver.ray_pool import RayPool

        return RayPool(
            ServingScoring, scenarios, means.ray, means.workers,
            keep=KEPT_CHILDREN, accept_missing=means.accept_missing, deadline_s=deadline_s,
        )  # fmt: skip
    return WorkerPool(
        ServingScoring(scenarios),
        workers=means.workers or os.cpu_count() or 1,
        deadline_s=deadline_s,
        keep=KEPT_CHILDREN,
        accept_missing=means.accept_missing,
    )


def humans(hooks: frozenset[str], active: Human | None = None) -> tuple[Human, ...]:
    """Who must be beaten: the active policy, and the baselines that people wrote.

    Each takes part with the hooks that the problem exercises; the rest would change nothing. An
    active policy with none of them leaves those decisions to the default, which stands in for it.
    """
    found = []
    if active is not None:
        text = keep_hooks(active.text, hooks) or keep_hooks(default_text(), hooks)
        found += [replace(active, text=text)] if text is not None else []
    for name in library.baselines():
        text = keep_hooks(library.read(name), hooks)
        if text is not None:
            found.append(Human(name, text))
    return tuple(found)


def proposers(
    hooks: frozenset[str],
    writers: Writers,
    recorded: RecordedAnswers | None = None,
    record: Recorder = lambda _: None,
) -> tuple[Proposer, ...]:
    """The models that are named, and the built-in mutator over the library's hooks.

    Args:
        hooks: that candidates may have.
        writers: who writes.
        recorded: answers that models gave already.
        record: takes every answer that is new to the run.
    """
    models = model_proposers(writers.models, record, recorded)
    if not writers.mutator:
        return models
    texts = (keep_hooks(library.read(name), hooks) for name in library.names())
    donors = tuple(text for text in texts if text is not None)
    return (*models, Mutator(donors, hooks=hooks))


def serving_task(problem: Problem, windows: Windows, pool: Pool) -> ServingTask:
    """The search's view of the windows; the numbers shown to proposers are of training only."""
    return ServingTask(pool, windows, description_of(problem, windows), problem.hooks)


def evolve(
    problem: Problem,
    limits: Limits,
    store: PolicyStore,
    *,
    writers: Writers | None = None,
    active: Human | None = None,
    means: Means | None = None,
    sinks: Sequence[EventSink] = (),
    progress: Progress = SILENT,
    inputs: Mapping[str, object] | None = None,
    remember: bool = True,
    author: str = "evolver",
) -> Evolution:
    """Search, prove, and put the winner with its evidence into the store.

    Args:
        problem: what is searched on.
        limits: what may be spent.
        store: keeps the run as it happens, and remembers earlier ones.
        writers: who write candidates; the built-in mutator alone by default.
        active: the policy that runs now.
        means: where to compute.
        sinks: told the events.
        progress: told what goes on between events.
        inputs: how the caller came to the problem; kept for a resume.
        remember: begin with what earlier runs know.
        author: of what is proposed.

    Raises:
        EvolverError, SandboxError, StoreError: with what to do next. What happened up to then is
            kept, and `resume` goes on with it.
    """
    writers = writers or Writers()
    if writers.recording is None:
        check_models(writers.models, dollars=limits.price_usd is not None)
    windows = problem.windows()
    memory = Memory()
    if remember:
        memory = recall(store, problem.regime(windows), problem.hooks)
    start = RunStart(
        limits, humans(problem.hooks, active), memory, writers, problem.facts(),
        inputs or {},
    )  # fmt: skip
    with RunRecord.begin(store, start) as record:
        return _run(
            problem, windows, start, record, store, means or Means(), sinks, progress, author
        )


def resume(
    run: str,
    problem: Problem,
    store: PolicyStore,
    *,
    means: Means | None = None,
    sinks: Sequence[EventSink] = (),
    progress: Progress = SILENT,
    author: str = "evolver",
) -> Evolution:
    """Go on with an interrupted run, to the end it would have come to.

    The search goes through its record again, which takes seconds, and then on; sinks are told all.

    Raises:
        RecordStale: the problem or the program is another one than when the run began, or it ended.
        EvolverError, SandboxError, StoreError: as `evolve`.
    """
    start = _begun(run, problem, store)
    with RunRecord.resume(store, run) as record:
        return _run(
            problem, problem.windows(), start, record, store, means or Means(), sinks, progress,
            author,
        )  # fmt: skip


def reproduce(
    run: str,
    problem: Problem,
    store: PolicyStore,
    *,
    means: Means | None = None,
    sinks: Sequence[EventSink] = (),
    progress: Progress = SILENT,
) -> RunResult:
    """Do a finished run again: everything is simulated anew, models' answers are the recorded ones.

    Nothing is written. It returns when each event came out as recorded, bit for bit.

    Raises:
        RecordStale: something came out otherwise, or the run has no end, or is of another version.
    """
    start = _begun(run, problem, store)
    record = RunRecord.read(store, run)
    events = record.history.events
    if not events or events[-1].kind is not EventKind.RUN_FINISHED:
        raise RecordStale(f"Run {run[:12]} has no end yet: go on with it by --resume.")
    answers = RecordedAnswers(record.exchanges, live=False)
    windows = problem.windows()
    with start_pool(windows.scenarios, means or Means()) as pool:
        return Search(
            serving_task(problem, windows, pool),
            proposers(problem.hooks, start.writers, answers),
            start.humans,
            start.limits,
            _settings(problem),
            sinks,
            memory=start.memory,
            history=History(events),
            progress=progress,
        ).run()


def _begun(run: str, problem: Problem, store: PolicyStore) -> RunStart:
    """What the run was given; the problem must be the one that it was begun on."""
    row = store.runs.get_run(run)
    if row.pruned_at is not None:
        raise RecordStale(
            f"The details of run {run[:12]} were removed on {row.pruned_at:%Y-%m-%d}, so it cannot "
            "be done again: begin a new run."
        )
    start = RunStart.of(row.config)
    if json.loads(json.dumps(problem.facts())) != dict(start.problem):
        raise RecordStale(
            f"Run {run[:12]} was begun on other data: give it the same trace, cluster and options."
        )
    return start


def _settings(problem: Problem) -> SearchSettings:
    return SearchSettings(seed=problem.seed, smallest_gain=problem.smallest_gain)


def _answers(writers: Writers, record: RunRecord) -> RecordedAnswers:
    """Of an earlier run, or of this one before an interruption."""
    if writers.recording is not None:
        return RecordedAnswers(writers.recording.exchanges, live=False, lenient=True)
    return RecordedAnswers(record.exchanges, live=True)


def _run(
    problem: Problem,
    windows: Windows,
    start: RunStart,
    record: RunRecord,
    store: PolicyStore,
    means: Means,
    sinks: Sequence[EventSink],
    progress: Progress,
    author: str,
) -> Evolution:
    with start_pool(windows.scenarios, means, start.limits) as pool:
        missing = tuple(layer.sentence for layer in pool.missing)
        windows = replace(windows, notes=(*windows.notes, *pool.notes))
        task = serving_task(problem, windows, pool)
        search = Search(
            task,
            proposers(
                problem.hooks, start.writers, _answers(start.writers, record), record.on_exchange
            ),
            start.humans,
            start.limits,
            _settings(problem),
            (record, *sinks),
            memory=start.memory,
            history=record.history,
            keep=record.on_results,
            progress=progress,
        )
        result = search.run()
        verdict = result.verdict
        evidence = evidence_of(verdict, problem, windows.scenarios, task)
        policy, lesson = None, None
        if verdict.outcome is Outcome.IMPROVED and evidence is not None and verdict.winner:
            evidence = as_stored(evidence, verdict.winner)
            policy = record.propose(verdict, evidence, author, result.members)
            gain = verdict.effect.gain if verdict.effect else None
            lesson = remembered(policy, verdict.winner.idea, gain, problem.regime(windows))
        record.finish(result, policy, missing, lesson)
    close_up = ""
    if policy is not None and evidence is not None:
        active = next((human.text for human in start.humans if human.active), None)
        close_up = attach_close_up(
            store, policy, evidence, windows.scenarios,
            active=active, author=author, accept_missing=means.accept_missing,
        )  # fmt: skip
    return Evolution(record.run, windows, result, evidence, policy, close_up)
