"""Scores candidates that nobody has approved, each in a locked-down process of its own.

    pool (this process) --- set-up, payload --> warm process (imports, compiles, runs no policy)
          |                                           | fork, some milliseconds
          +---- job (JSON) / scores (JSON) ----> child of one source text

A child sees one source text only, so no candidate can touch another's score; new parameters for
the same text go to the same child, which keeps its compiled policy. Each job has a wall-clock
deadline. A candidate that hangs, crashes, runs out of memory, is refused or answers nonsense
scores worst on every window of the job: nothing that a dying process reported is believed. Such a
verdict only counts from a child that did nothing before, so results depend neither on the number
of workers nor on the order of jobs (except for a candidate that needs almost its whole deadline).

A process that broke out of the policy language could still lie about its own score: what it
reports is checked for type and range, not for truth.
"""

from __future__ import annotations

import json
import logging
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from sandbox.scores import Candidate, MalformedScore, WindowScore, scores_from_json, worst_score
from sandbox.worker_child import Child, JobFault
from sandbox.worker_lockdown import Layer, Limits
from sandbox.worker_process import Role, WarmProcess, WorkerSetup, WorkersUnavailable

__all__ = ["Candidate", "Job", "Layer", "WorkerPool", "WorkersUnavailable"]

Job = tuple[Candidate, Sequence[str]]

SERVING_SCORER = "sandbox.scenario:score_job"
_log = logging.getLogger("evolver.sandbox.worker")


@dataclass(slots=True)
class _Worker:
    """A child bound to one source text."""

    child: Child
    source_digest: str
    jobs_done: int = 0
    busy_s: float = 0.0


@dataclass(slots=True)
class _Run:
    """A job in the hands of a child."""

    index: int
    worker: _Worker
    started_s: float
    deadline_s: float


@dataclass(slots=True)
class _Batch:
    """The jobs of one call of `evaluate`, and how far they are."""

    jobs: Sequence[Job]
    waiting: deque[int]
    results: list[list[WindowScore] | None]
    on_done: Callable[[int], None]
    runs: list[_Run] = field(default_factory=list)

    def finish(self, index: int, scores: list[WindowScore]) -> None:
        """Keep the scores of a job."""
        self.results[index] = scores
        self.on_done(index)

    def worst(self, index: int, fault: str) -> None:
        """A job without scores of its own."""
        self.finish(index, [worst_score(window, fault) for window in self.jobs[index][1]])


class WorkerPool:
    """A warm process and up to `workers` children at work; use it as a context manager.

    Args:
        payload: what the scorer needs besides the candidate (scenarios); pickled once.
        workers: children at work at the same time.
        deadline_s: wall-clock seconds for one job, compilation included.
        memory_bytes: address space of a child.
        score: dotted path of the scorer, see `sandbox.worker_main.Scorer`.
        prepare: dotted path of a function of the payload, run once before any child exists.
        search_path: folders to import scorer and payload from, besides what is installed.
        keep: idle children that keep their compiled policy for further parameters.

    Not for use from several threads at once.
    """

    def __init__(
        self,
        payload: object,
        workers: int = 2,
        deadline_s: float = 60.0,
        memory_bytes: int = 4 << 30,
        *,
        score: str = SERVING_SCORER,
        prepare: str = "",
        search_path: Sequence[str] = (),
        keep: int = 8,
    ) -> None:
        if workers < 1 or deadline_s <= 0:
            raise ValueError("A pool needs at least one worker and a positive deadline.")
        cpu_s = max(3600, int(20 * deadline_s))
        self._limits = Limits(memory_bytes=memory_bytes, cpu_s=cpu_s)
        roles = {"score": Role(score, limits=self._limits)}
        self._setup = WorkerSetup(roles, prepare, tuple(search_path))
        self._payload = payload
        self._workers = workers
        self._deadline_s = deadline_s
        self._keep = max(keep, 1)
        self._warm: WarmProcess | None = None
        self._idle: list[_Worker] = []  # least recently used first
        self._layers: tuple[Layer, ...] = ()

    def start(self) -> None:
        """Start the warm process now rather than with the first job; find out the layers.

        Raises:
            WorkersUnavailable: the scorer cannot be imported, or no process can be started.
        """
        if self._warm is None:
            self._warm = WarmProcess(self._setup, self._payload)
            probe = self._warm.fork("score")
            self._layers = probe.layers
            self._warm.end(probe)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of isolation, in force or missing and why; known once started."""
        return self._layers

    def close(self) -> None:
        """End every process of the pool."""
        for worker in self._idle:
            worker.child.channel.close()
        self._idle.clear()
        if self._warm is not None:
            self._warm.close()
            self._warm = None

    def __enter__(self) -> WorkerPool:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def evaluate(
        self, jobs: Sequence[Job], on_done: Callable[[int], None] = lambda _: None
    ) -> list[list[WindowScore]]:
        """Scores of each job, one per window, in the order given; never raises for a candidate.

        Args:
            jobs: a candidate and the names of the windows to score it on.
            on_done: called with the index of each job as it is done, in no fixed order.

        Raises:
            WorkersUnavailable: processes cannot be started; no candidate is to blame.
        """
        self.start()
        batch = _Batch(jobs, deque(range(len(jobs))), [None] * len(jobs), on_done)
        try:
            try:
                self._work_off(batch)
            except WorkersUnavailable:
                self._start_again(batch)
                self._work_off(batch)
        except BaseException:
            self._abandon(batch)
            raise
        return [scores for scores in batch.results if scores is not None]

    def _work_off(self, batch: _Batch) -> None:
        while batch.waiting or batch.runs:
            while batch.waiting and len(batch.runs) < self._workers:
                self._begin(batch, batch.waiting.popleft())
            self._collect(batch)

    def _start_again(self, batch: _Batch) -> None:
        """The warm process is gone, and its children with it: repeat what has no result."""
        _log.warning("the scoring processes ended unexpectedly; starting them again")
        self._abandon(batch)
        unfinished = (i for i, scores in enumerate(batch.results) if scores is None)
        batch.waiting = deque(unfinished)
        self.start()

    def _abandon(self, batch: _Batch) -> None:
        """End everything; jobs in flight lose their process."""
        for run in batch.runs:
            run.worker.child.channel.close()
        batch.runs.clear()
        self.close()

    def _begin(self, batch: _Batch, index: int, *, fresh: bool = False) -> None:
        """Hand a job to a child of its source, forked now unless one is idle."""
        candidate, windows = batch.jobs[index]
        worker = self._worker_for(candidate.source_digest, fresh)
        now_s = time.monotonic()
        run = _Run(index, worker, now_s, now_s + self._deadline_s)
        batch.runs.append(run)
        given = candidate.parameters
        plain = None if given is None else {k: float(v) for k, v in given.items()}
        message = {"parameters": plain, "windows": list(windows)}
        try:
            worker.child.send(message, candidate.source_text.encode())
        except ValueError:
            batch.runs.remove(run)
            self._idle.append(worker)
            batch.worst(index, "refused")
        except JobFault as fault:
            self._failed(batch, run, fault)

    def _worker_for(self, source_digest: str, fresh: bool) -> _Worker:
        """An idle child of this source, else a new one; the longest idle one makes room."""
        for worker in self._idle:
            if worker.source_digest == source_digest and not fresh:
                self._idle.remove(worker)
                return worker
        while len(self._idle) >= self._keep:
            self._end(self._idle.pop(0))
        return _Worker(self._warm_process().fork("score"), source_digest)

    def _collect(self, batch: _Batch) -> None:
        """Wait for the next answer, end or deadline, and settle what came."""
        with selectors.DefaultSelector() as selector:
            for run in batch.runs:
                child = run.worker.child
                selector.register(child.channel, child.events, run)
            next_s = min((run.deadline_s for run in batch.runs), default=0.0)
            ready = selector.select(max(0.0, next_s - time.monotonic())) if batch.runs else []
        for key, _ in ready:
            self._settle(batch, key.data)
        for run in [run for run in batch.runs if time.monotonic() >= run.deadline_s]:
            self._failed(batch, run, JobFault("timeout", f"{self._deadline_s:g} s"))

    def _settle(self, batch: _Batch, run: _Run) -> None:
        """Take what a child sent: scores, a fault, or the end of the process."""
        try:
            reply = run.worker.child.poll()
            if reply is None:
                return
            scores = _read_scores(reply, batch.jobs[run.index][1])
        except JobFault as fault:
            self._failed(batch, run, fault)
            return
        batch.runs.remove(run)
        batch.finish(run.index, scores)
        self._release(run)

    def _failed(self, batch: _Batch, run: _Run, fault: JobFault) -> None:
        """End the child; ask a fresh one when this one had a past, else the verdict stands."""
        batch.runs.remove(run)
        self._end(run.worker)
        if run.worker.jobs_done:
            self._begin(batch, run.index, fresh=True)
            return
        _log.debug("candidate %s: %s", run.worker.source_digest[:12], fault)
        batch.worst(run.index, fault.kind)

    def _release(self, run: _Run) -> None:
        """Keep the child for further parameters, unless its processor time runs low."""
        worker = run.worker
        worker.jobs_done += 1
        worker.busy_s += time.monotonic() - run.started_s
        if worker.busy_s + self._deadline_s > self._limits.cpu_s:
            self._end(worker)
        else:
            self._idle.append(worker)

    def _end(self, worker: _Worker) -> None:
        self._warm_process().end(worker.child)

    def _warm_process(self) -> WarmProcess:
        if self._warm is None:
            raise WorkersUnavailable("The pool is closed: make a new one.")
        return self._warm


def _read_scores(reply: bytes, windows: Sequence[str]) -> list[WindowScore]:
    """What a child says, checked: scores of these windows."""
    try:
        return scores_from_json(json.loads(reply), windows)
    except (MalformedScore, ValueError, RecursionError) as error:
        raise JobFault("crash", str(error)) from error
