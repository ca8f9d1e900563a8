"""Scores candidates on the nodes of a Ray cluster, as `sandbox.worker.WorkerPool` does here.

    this process ---- payload, once ----> object store
         |                                     | fetched by each node
         +---- job / scores ----> seat (an actor, one processor) ---- locked-down children

A seat holds a `WorkerPool` of one worker, so a candidate is isolated on a node as it is here, and
what a node lacks is demanded as it is here. Where a job ran changes no bit of its scores: a node
with other sources, versions or another kind of processor is refused. A job whose seat is lost goes
to another one; after `MOST_LOSSES` of them nothing is guessed, and the pool gives up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any

from evolver.ray_cluster import connect
from evolver.ray_node import MakeScoring, PlainScore, plain, scores_of
from evolver.ray_seats import AGAIN, LOOK_S, Place, Seats
from sandbox.scores import WindowScore
from sandbox.worker import Job, Layer, WorkersUnavailable
from sandbox.worker_batch import OnDone, nobody
from sandbox.worker_layers import accepted

MOST_LOSSES = 3  # of the seats that were at one job


class RayPool:
    """Seats on the nodes of a Ray cluster; use it as a context manager.

    Args:
        make: makes of the payload what candidates are asked and what answers are worth.
        payload: sent to each node once.
        address: `auto`, `HOST:PORT`, `ray://HOST:PORT`, or `local`.
        workers: seats at most; as many as the nodes have processors by default.
        deadline_s, memory_bytes, search_path, keep: of each seat's `WorkerPool`.
        accept_missing: names of layers that may be missing on any node, besides those that the
            node's own environment names.

    Raises:
        IsolationMissing: there is no layer of a name in `accept_missing`.

    Not for use from several threads at once.
    """

    def __init__(
        self,
        make: MakeScoring,
        payload: object,
        address: str,
        workers: int | None = None,
        deadline_s: float = 60.0,
        memory_bytes: int = 4 << 30,
        *,
        search_path: Sequence[str] = (),
        keep: int = 8,
        accept_missing: Collection[str] = (),
    ) -> None:
        self._make, self._payload, self._address, self._workers = make, payload, address, workers
        self._deadline_s = deadline_s
        self._settings = {
            "deadline_s": deadline_s,
            "memory_bytes": memory_bytes,
            "search_path": tuple(search_path),
            "keep": keep,
            "accept_missing": tuple(sorted(accepted(accept_missing))),
        }
        self._ray: Any = None
        self._joined = False
        self._seats: Seats | None = None

    def start(self) -> None:
        """Connect, and open a first seat on each node that has a processor to give.

        Raises:
            WorkersUnavailable: no cluster answers, or none of its nodes can be used.
            IsolationMissing: a layer is missing on them that nobody accepted to miss.
        """
        if self._seats is not None:
            return
        self._ray, self._joined = connect(self._address, self._workers)
        try:
            self._seats = Seats(
                self._ray, self._address, self._make, self._payload, self._settings,
                self._deadline_s, self._workers,
            )  # fmt: skip
            self._seats.open()
        except BaseException:
            self.close()
            raise

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of isolation, in force where they are on every node that is used."""
        return self._seats.layers if self._seats else ()

    @property
    def missing(self) -> tuple[Layer, ...]:
        """Layers that are missing somewhere and were accepted to be."""
        return tuple(layer for layer in self.layers if not layer.in_force)

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know about where candidates run, and about nodes that are not used."""
        layers = tuple(layer.sentence for layer in self.missing)
        return layers + (self._seats.refusals if self._seats else ())

    def close(self) -> None:
        """End every seat; leave the cluster if it was joined for this."""
        seats, self._seats = self._seats, None
        try:
            if seats is not None:
                seats.close()
        finally:
            if self._joined:
                self._joined = False
                self._ray.shutdown()

    def __enter__(self) -> RayPool:
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
        if self._seats is None:
            raise WorkersUnavailable("The pool is closed: make a new one.")
        batch = _Batch(jobs, on_done)
        try:
            while len(batch.results) < len(jobs):
                self._seats.wait_for_some()
                for place in list(self._seats.free[: len(batch.waiting)]):
                    index = batch.next_for(place)
                    self._seats.ask(place, index, plain(*jobs[index]))
                for place, answer in self._seats.step(LOOK_S):
                    batch.settle(place, answer)
                    if answer is not None:
                        self._seats.free.append(place)
        except BaseException:
            self.close()  # seats in mid-job would answer a later batch
            raise
        return [batch.results[index] for index in range(len(jobs))]


class _Batch:
    """The jobs of one call of `evaluate`, and how far they are."""

    def __init__(self, jobs: Sequence[Job], on_done: OnDone) -> None:
        self._jobs, self._on_done = jobs, on_done
        self._losses = [0] * len(jobs)
        self.waiting = deque(range(len(jobs)))
        self.results: dict[int, list[WindowScore]] = {}

    def next_for(self, place: Place) -> int:
        """The next job, one of the text that the seat has compiled if there is any."""
        known = (i for i in self.waiting if self._jobs[i][0].source_text == place.source)
        index = next(known, self.waiting[0])
        self.waiting.remove(index)
        return index

    def settle(self, place: Place, answer: Sequence[PlainScore] | None) -> None:
        """Keep what a seat answered; a job whose seat was lost waits for another one.

        Raises:
            WorkersUnavailable: it was lost too often, or what came is no answer.
        """
        index = place.job
        if answer is not None:
            try:
                self.results[index] = scores_of(answer, self._jobs[index][1])
            except (ValueError, TypeError) as error:
                raise WorkersUnavailable(f"A node of the Ray cluster gave {error}.") from error
            self._on_done(index, self.results[index])
            return
        self._losses[index] += 1
        if self._losses[index] >= MOST_LOSSES:
            raise WorkersUnavailable(
                f"An evaluation was lost on the Ray cluster {MOST_LOSSES} times; check the nodes' "
                f"memory. {AGAIN}"
            )
        self.waiting.appendleft(index)
