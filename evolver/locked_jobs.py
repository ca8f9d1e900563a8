"""Whole jobs in locked-down processes of their own, a few at a time.

What searches and runs in such a process is a candidate's code as much as anybody's: so a job runs
where candidates run elsewhere, without network, other processes, or files but the packages' own.
It answers with plain values.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolver.errors import EvolverError, ExperimentRefused
from sandbox.errors import SandboxError
from sandbox.worker_child import JobFault
from sandbox.worker_layers import IsolationMissing, accepted, demand
from sandbox.worker_lockdown import Limits
from sandbox.worker_process import Role, WarmProcess, WorkerSetup, WorkersUnavailable
from telemetry.errors import TelemetryError

DEADLINE_S = 3600.0
MOST_REPLY_BYTES = 64 << 20
_ROLE = "job"


@dataclass(frozen=True, slots=True)
class LockedJob:
    """One job.

    Attributes:
        title: for people.
        message: small plain values. attachment: makes the rest, when the job's turn has come.
    """

    title: str
    message: Mapping[str, object]
    attachment: Callable[[], bytes] = bytes


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where jobs run.

    Attributes:
        job: dotted path of a `sandbox.worker_main.Job`; it answers with JSON.
        prepare: dotted path of what each warm process runs once on the payload.
        payload: handed to every job.
        reads_packages: jobs compile, so they may read the packages' folders.
        most_reply_bytes: of one answer.
        remedy: what to do about a job that failed, besides reporting it.
    """

    job: str
    prepare: str
    payload: object
    reads_packages: bool = False
    most_reply_bytes: int = MOST_REPLY_BYTES
    remedy: str = "leave it out"

    def run_all(
        self, jobs: Sequence[LockedJob], workers: int, on_done: Callable[[str], None]
    ) -> list[dict[str, Any]]:
        """Results of all jobs in their order, begun in that order; `on_done` hears each title.

        Raises:
            ExperimentRefused: a job failed; its sentence names it.
            WorkersUnavailable, IsolationMissing: no process can be had, or a layer is missing.
        """
        run = _Run(self, jobs, on_done)
        run.finish(workers)
        return [run.results[index] for index in range(len(jobs))]

    def run_each(
        self, jobs: Sequence[LockedJob], workers: int, on_done: Callable[[str], None]
    ) -> list[dict[str, Any] | str]:
        """The same, but a job that fails ends no other: what it failed by stands in its place.

        Raises:
            WorkersUnavailable, IsolationMissing: no process can be had, or a layer is missing.
        """
        run = _Run(self, jobs, on_done, apart=True)
        run.finish(workers)
        return [run.results[k] if k in run.results else run.refused[k] for k in range(len(jobs))]

    def start(self) -> WarmProcess:
        """A process that has prepared all that its children share."""
        limits = Limits(cpu_s=int(DEADLINE_S))
        role = Role(self.job, self.reads_packages, limits, self.most_reply_bytes)
        return WarmProcess(WorkerSetup({_ROLE: role}, self.prepare), self.payload)


class _Run:
    def __init__(
        self,
        place: Workplace,
        jobs: Sequence[LockedJob],
        on_done: Callable[[str], None],
        apart: bool = False,
    ) -> None:
        self._place, self._jobs, self._on_done, self._apart = place, jobs, on_done, apart
        self._waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(len(jobs)):
            self._waiting.put(index)
        self.results: dict[int, dict[str, Any]] = {}
        self.refused: dict[int, str] = {}
        self.failures: list[BaseException] = []

    def finish(self, workers: int) -> None:
        """Work off all jobs; raises what ended the work before that."""
        count = min(workers, len(self._jobs))
        threads = [threading.Thread(target=self.work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def work(self) -> None:
        """One warm process, and a child of it for each job."""
        try:
            warm = self._place.start()
            try:
                self._work_off(warm)
            finally:
                warm.close()
        except BaseException as error:
            self.failures.append(error)

    def _work_off(self, warm: WarmProcess) -> None:
        while not self.failures:
            try:
                index = self._waiting.get_nowait()
            except queue.Empty:
                return
            job = self._jobs[index]
            try:
                self.results[index] = _asked(warm, job, self._place.remedy)
            except (WorkersUnavailable, IsolationMissing):
                raise
            except (EvolverError, SandboxError, TelemetryError) as error:
                if not self._apart:
                    raise
                self.refused[index] = str(error)
            self._on_done(job.title)


def _asked(warm: WarmProcess, job: LockedJob, remedy: str) -> dict[str, Any]:
    attachment = job.attachment()
    child = warm.fork(_ROLE)
    try:
        demand(child.layers, accepted(()))
        reply = child.ask(job.message, attachment, deadline_s=DEADLINE_S)
        found: dict[str, Any] = json.loads(reply)
    except JobFault as fault:
        raise ExperimentRefused(
            f"{job.title} ended with {fault}: {remedy}, or report this."
        ) from fault
    finally:
        warm.end(child)
    return found
