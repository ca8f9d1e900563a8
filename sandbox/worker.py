"""Scores candidates that nobody has approved, each in a locked-down process of its own.

    pool (this process) --- set-up, payload --> warm process (imports, loads, runs no policy)
          |                                           | fork, some milliseconds
          +---- source / machine code ----------> "compile" child, one a source text
          +---- job, machine code / outcomes ---> "score" child, one a source text

A child sees one source text only, so no candidate can touch another's score; new parameters for
the same text go to the same child, which keeps its loaded policy and is stopped in between. Each
job has a wall-clock deadline, compilation included. A candidate that hangs, crashes, runs out of
memory, is refused or answers nonsense scores worst on every window of the job. Such a verdict only
counts from a child that did nothing before, so results depend neither on the number of workers nor
on the order of jobs (except for a candidate that needs almost its whole deadline).

What a child answers is what happened in its simulation; that it can be true is checked, and the
score is computed, in this process (see `sandbox.scoring`).
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Collection, Sequence
from types import TracebackType

from sandbox.errors import SandboxError
from sandbox.scores import Candidate, WindowScore
from sandbox.worker_batch import Batch, Codes, Job, OnDone, Run, Scoring, Worker, nobody
from sandbox.worker_child import Child, JobFault
from sandbox.worker_layers import IsolationMissing, accepted, demand, layers_of
from sandbox.worker_lockdown import Layer, Limits
from sandbox.worker_process import WarmProcess, WorkerSetup, WorkersUnavailable

__all__ = [
    "Candidate", "IsolationMissing", "Job", "Layer", "Scoring", "WorkerPool", "WorkersUnavailable",
]  # fmt: skip

SCORE, COMPILE = "score", "compile"
_log = logging.getLogger("evolver.sandbox.worker")


class WorkerPool:
    """A warm process and up to `workers` children at work; use it as a context manager.

    Args:
        scoring: what is asked of children, and what their answers are worth.
        workers: children at work at the same time.
        deadline_s: wall-clock seconds for one job, compilation included.
        memory_bytes: address space of a child.
        search_path: folders to import jobs and payload from, besides what is installed.
        keep: idle children that keep their loaded policy for further parameters.
        accept_missing: names of layers that may be missing, besides those that the environment
            variable EVOLVER_ACCEPT_MISSING names.

    Raises:
        IsolationMissing: there is no layer of a name in `accept_missing`.

    Not for use from several threads at once.
    """

    def __init__(
        self,
        scoring: Scoring,
        workers: int = 2,
        deadline_s: float = 60.0,
        memory_bytes: int = 4 << 30,
        *,
        search_path: Sequence[str] = (),
        keep: int = 8,
        accept_missing: Collection[str] = (),
    ) -> None:
        if workers < 1 or deadline_s <= 0:
            raise ValueError("A pool needs at least one worker and a positive deadline.")
        self._cpu_s = max(3600, int(20 * deadline_s))
        self._scoring = scoring
        limits = Limits(memory_bytes=memory_bytes, cpu_s=self._cpu_s)
        self._setup = WorkerSetup(scoring.roles(limits), scoring.prepare, tuple(search_path))
        self._workers = workers
        self._deadline_s = deadline_s
        self._keep = max(keep, 1)
        self._accepted = accepted(accept_missing)
        self._warm: WarmProcess | None = None
        self._idle: list[Worker] = []  # least recently used first
        self._codes = Codes()
        self._layers: tuple[Layer, ...] = ()

    def start(self) -> None:
        """Start the warm process now rather than with the first job; find out the layers.

        Raises:
            WorkersUnavailable: a job cannot be imported, or no process can be started.
            IsolationMissing: a layer is missing that nobody accepted to miss.
        """
        if self._warm is not None:
            return
        self._warm = WarmProcess(self._setup, self._scoring.payload)
        try:
            self._layers = layers_of(self._warm, self._setup.roles)
            demand(self._layers, self._accepted)
        except BaseException:
            self.close()
            raise

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of isolation, in force or missing and why; known once started."""
        return self._layers

    @property
    def missing(self) -> tuple[Layer, ...]:
        """Layers that are missing and were accepted to be."""
        return tuple(layer for layer in self._layers if not layer.in_force)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know about where candidates run, in sentences."""
        return tuple(layer.sentence for layer in self.missing)

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

    def evaluate(self, jobs: Sequence[Job], on_done: OnDone = nobody) -> list[list[WindowScore]]:
        """Scores of each job, one per window, in the order given; never raises for a candidate.

        Args:
            jobs: a candidate and the names of the windows to score it on.
            on_done: called with the index and the scores of each job as it is done, once each and
                in no fixed order; what it raises ends the batch.

        Raises:
            WorkersUnavailable, IsolationMissing: no candidate is to blame.
        """
        self.start()
        batch = Batch(jobs, on_done)
        try:
            try:
                self._work_off(batch)
            except WorkersUnavailable:
                _log.warning("the scoring processes ended unexpectedly; starting them again")
                self._abandon(batch)
                batch.start_again()
                self.start()
                self._work_off(batch)
        except BaseException:
            self._abandon(batch)
            raise
        return [scores for scores in batch.results if scores is not None]

    def _work_off(self, batch: Batch) -> None:
        while batch.waiting or batch.runs:
            while batch.waiting and len(batch.runs) < self._workers:
                self._begin(batch, batch.waiting.popleft())
            self._collect(batch)

    def _abandon(self, batch: Batch) -> None:
        """End everything; jobs in flight lose their process."""
        for run in batch.runs:
            run.worker.child.channel.close()
        self.close()

    def _begin(
        self,
        batch: Batch,
        index: int,
        *,
        fresh: bool = False,
        coded: bool = False,
        until_s: float | None = None,
    ) -> None:
        """Hand a job to a child of its source, or have its machine code made first."""
        candidate, windows = batch.jobs[index]
        now_s = time.monotonic()
        if until_s is None:
            until_s = now_s + self._deadline_s
        try:
            question = self._scoring.question(candidate, windows)
        except (SandboxError, ValueError) as refused:
            _log.debug("candidate %s: %s", candidate.source_digest[:12], refused)
            batch.worst(index, "refused")
            return
        digest = candidate.source_digest
        code = self._codes.get(digest)
        hasty = False
        if code is not None or not (question.needs_code or coded):
            worker = self._worker_for(digest, fresh)
            hasty = code is None and question.patience_s < until_s - now_s
        elif batch.is_first_of(digest, index):
            worker = Worker(self._fork(COMPILE), digest, compiles=True)
        else:
            return  # another job has it made
        until_s = now_s + question.patience_s if hasty else until_s
        run = Run(index, worker, time.monotonic(), until_s, hasty)
        batch.runs.append(run)
        try:
            worker.child.send(question.message, code or b"")
        except ValueError:  # a parameter that is no finite number
            self._failed(batch, run, JobFault("refused", "a parameter is no number"))
        except JobFault as fault:
            self._failed(batch, run, fault)

    def _worker_for(self, digest: str, fresh: bool) -> Worker:
        """An idle child of this source, else a new one; the longest idle one makes room."""
        for worker in self._idle:
            if worker.source_digest == digest and not fresh:
                self._idle.remove(worker)
                worker.child.resume()
                return worker
        while len(self._idle) >= self._keep:
            self._end(self._idle.pop(0))
        return Worker(self._fork(SCORE), digest)

    def _fork(self, role: str) -> Child:
        child = self._warm_process().fork(role)
        demand(child.layers, self._accepted)
        return child

    def _collect(self, batch: Batch) -> None:
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

    def _settle(self, batch: Batch, run: Run) -> None:
        """Take what a child sent: machine code, outcomes, a fault, or the end of the process."""
        try:
            reply = run.worker.child.poll()
            if reply is None:
                return
            scores = None if run.worker.compiles else self._scores(batch.jobs[run.index][1], reply)
        except JobFault as fault:
            self._failed(batch, run, fault)
            return
        batch.runs.remove(run)
        if scores is None:
            self._compiled(batch, run, reply)
            return
        self._release(run)
        batch.finish(run.index, scores)

    def _scores(self, windows: Sequence[str], reply: bytes) -> list[WindowScore]:
        try:
            return self._scoring.scores(windows, reply)
        except (ValueError, ArithmeticError, LookupError) as error:
            raise JobFault("crash", str(error)) from error

    def _compiled(self, batch: Batch, run: Run, code: bytes) -> None:
        """Score with the machine code now: this job, and those that waited for it."""
        digest = run.worker.source_digest
        self._end(run.worker)
        self._codes.keep(digest, code)
        batch.waiting.extendleft(reversed(batch.waiters(digest)[1:]))
        self._begin(batch, run.index, until_s=run.deadline_s)

    def _failed(self, batch: Batch, run: Run, fault: JobFault) -> None:
        """End the child; ask a fresh one when this one had a past, else the verdict stands.

        A first crash is no verdict either: the system may end any process to save memory.
        """
        digest, compiles = run.worker.source_digest, run.worker.compiles
        batch.runs.remove(run)
        self._end(run.worker)
        asked = batch.waiters(digest) if compiles else [run.index]
        hurried = run.hasty and fault.kind == "timeout"
        crashed = fault.kind == "crash" and batch.is_first_crash(run)
        if run.worker.jobs_done or hurried or crashed:
            for index in asked:
                self._begin(batch, index, fresh=True, coded=hurried or compiles)
            return
        _log.debug("candidate %s: %s", digest[:12], fault)
        for index in asked:
            batch.worst(index, fault.kind)

    def _release(self, run: Run) -> None:
        """Keep the child for further parameters, unless its processor time runs low."""
        worker = run.worker
        worker.jobs_done += 1
        worker.busy_s += time.monotonic() - run.started_s
        if worker.busy_s + self._deadline_s > self._cpu_s:
            self._end(worker)
        else:
            worker.child.pause()
            self._idle.append(worker)

    def _end(self, worker: Worker) -> None:
        self._warm_process().end(worker.child)

    def _warm_process(self) -> WarmProcess:
        if self._warm is None:
            raise WorkersUnavailable("The pool is closed: make a new one.")
        return self._warm
