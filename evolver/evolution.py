"""One evolution run on a trace, put together: windows, workers, search, evidence, store.

This is the path that the command line, the demo and later the daemon share. The parts know
nothing of each other: the search sees a `Task`, the task sees a pool of locked-down workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from evolver import library
from evolver.budget import Limits
from evolver.dossier import evidence_of
from evolver.exercised import exercised_hooks, keep_hooks
from evolver.journal import EventSink
from evolver.loop import RunResult, Search, SearchSettings
from evolver.model_endpoint import Exchange, ModelSettings
from evolver.models import model_proposer
from evolver.mutator import Mutator
from evolver.proposer import Proposer
from evolver.record import RunRecord
from evolver.serving_task import ServingTask
from evolver.serving_words import description_of
from evolver.task import Human
from evolver.verdict import Outcome, smallest_gain
from policy_store import PolicyStore
from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from sandbox.evidence import Evidence
from sandbox.policies import default_text
from sandbox.replay import LoadReport
from sandbox.scenario import Scenario
from sandbox.scoring import ServingScoring
from sandbox.simulation import Mode
from sandbox.windows import Windows, split_windows
from sandbox.worker import WorkerPool
from telemetry.trace import Trace

# A candidate is scored on the screen, then on all windows, then tuned: compiled once for all.
KEPT_CHILDREN = 40
MODEL_CALLS = 4  # at once: a model is waited for, not computed here


@dataclass(frozen=True, slots=True)
class Problem:
    """What is searched on: a trace, laid on a cluster at a load.

    Attributes:
        trace: already scaled; load says how.
    """

    trace: Trace
    cluster: ClusterSpec
    load: LoadReport
    capacity: Pairing | None = None
    mode: Mode = "open"
    seed: int = 0

    @property
    def hooks(self) -> frozenset[str]:
        """Hooks that the problem exercises."""
        replans = self.capacity is not None or self.mode == "backlog"
        return exercised_hooks(self.trace, self.cluster, replans)

    def windows(self) -> Windows:
        """Training, validation and sealed windows by time."""
        return split_windows(
            self.trace, self.cluster, self.capacity, seed=self.seed, mode=self.mode
        )


@dataclass(frozen=True, slots=True)
class Evolution:
    """A finished run.

    Attributes:
        evidence: about the winner; None when no candidate was worth proving.
        policy: digest of the version in the store; None when nothing was proposed.
    """

    run: str
    windows: Windows
    result: RunResult
    evidence: Evidence | None
    policy: str | None


def start_pool(
    scenarios: Sequence[Scenario],
    workers: int | None = None,
    accept_missing: Collection[str] = (),
) -> WorkerPool:
    """A pool of locked-down workers that hold these scenarios; one worker a core by default."""
    return WorkerPool(
        ServingScoring(scenarios),
        workers=workers or os.cpu_count() or 1,
        keep=KEPT_CHILDREN,
        accept_missing=accept_missing,
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
    hooks: frozenset[str], model: ModelSettings | None, record: Callable[[Exchange], None]
) -> tuple[Proposer, ...]:
    """The built-in mutator over the library's hooks, and before it a model when one is named."""
    texts = (keep_hooks(library.read(name), hooks) for name in library.names())
    donors = tuple(text for text in texts if text is not None)
    mutator = Mutator(donors, hooks=hooks)
    if model is None:
        return (mutator,)
    return (model_proposer(model, record), mutator)


def serving_task(problem: Problem, windows: Windows, pool: WorkerPool) -> ServingTask:
    """The search's view of the windows; the numbers shown to proposers are of training only."""
    return ServingTask(pool, windows, description_of(problem, windows), problem.hooks)


def evolve(
    problem: Problem,
    limits: Limits,
    store: PolicyStore,
    *,
    workers: int | None = None,
    accept_missing: Collection[str] = (),
    model: ModelSettings | None = None,
    active: Human | None = None,
    sinks: Sequence[EventSink] = (),
    author: str = "evolver",
) -> Evolution:
    """Search, prove, and put the winner with its evidence into the store.

    Layers of isolation in `accept_missing` may be missing; the notes of the windows and the run's
    record say which were.

    Raises:
        EvolverError, SandboxError, StoreError: with what to do next; events up to then are kept.
    """
    windows = problem.windows()
    with (
        RunRecord(store, problem, limits, model) as record,
        start_pool(windows.scenarios, workers, accept_missing) as pool,
    ):
        missing = tuple(layer.sentence for layer in pool.missing)
        windows = replace(windows, notes=(*windows.notes, *missing))
        task = serving_task(problem, windows, pool)
        search = Search(
            task,
            proposers(problem.hooks, model, record.on_exchange),
            humans(problem.hooks, active),
            limits,
            SearchSettings(
                seed=problem.seed,
                threads=MODEL_CALLS if model else 1,
                smallest_gain=smallest_gain(problem.cluster),
            ),
            (record, *sinks),
        )
        result = search.run()
        evidence = evidence_of(result.verdict, problem, windows.scenarios, task)
        policy = None
        if result.verdict.outcome is Outcome.IMPROVED and evidence is not None:
            policy = record.propose(result.verdict, evidence, author)
        record.finish(result, policy, missing)
    return Evolution(record.run, windows, result, evidence, policy)
