"""Seats on a Ray cluster: which nodes may be used, who works where, and who was lost."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from evolver.ray_cluster import listens
from evolver.ray_node import MakeScoring, PlainJob, PlainScore, Seat, difference, installation
from sandbox.errors import SandboxError
from sandbox.worker import IsolationMissing, Layer, WorkersUnavailable
from sandbox.worker_layers import agreed

MOST_LOSSES = 3  # of a node's seats in a row
HELLO_S = 90.0  # for a first seat to get a processor and to import the package
OPEN_S = 360.0  # a node may have to compile the simulator first
LOOK_S = 2.0  # between looks for nodes that came or went
AGAIN = "When it is mended, go on with evolver evolve --resume last."
_log = logging.getLogger("evolver.ray")


@dataclass(slots=True)
class Node:
    """A node of the cluster.

    Attributes:
        refused: why it is not used; a sentence.
        ready: a seat of it was opened, so that further ones find the simulator compiled.
        losses: of its seats, in a row.
    """

    name: str
    cpus: int
    refused: str = ""
    ready: bool = False
    losses: int = 0


@dataclass(slots=True, eq=False)
class Place:
    """A seat, and what it is asked now: "hello", "open" or "score".

    Attributes:
        job: index of the job it is at.
        source: the text of the last job, which it has compiled.
    """

    actor: Any
    node: str
    asked: str = ""
    until_s: float = 0.0
    job: int = -1
    source: str = ""


class Seats:
    """The seats of one pool.

    Args:
        ray: the connected module.
        address: as the user gave it.
        settings: of each seat's `WorkerPool`.
        most: seats at once; None for as many as there are processors.
    """

    def __init__(
        self,
        ray: Any,  # noqa: ANN401 - Ray's types are there only where it is installed
        address: str,
        make: MakeScoring,
        payload: object,
        settings: Mapping[str, object],
        deadline_s: float,
        most: int | None,
    ) -> None:
        self._ray, self._address, self._most = ray, address, most
        self._make, self._payload, self._settings = make, ray.put(payload), dict(settings)
        self._score_s = 2 * deadline_s + OPEN_S  # a seat may start its processes again
        self._nodes: dict[str, Node] = {}
        self._calls: dict[Any, Place] = {}
        self._looked_s = 0.0
        self._isolation: IsolationMissing | None = None
        self.free: list[Place] = []
        self.layers: tuple[Layer, ...] = ()

    @property
    def refusals(self) -> tuple[str, ...]:
        """A sentence about each node that is not used."""
        return tuple(node.refused for node in self._nodes.values() if node.refused)

    def open(self) -> None:
        """Wait until the first seat of each node that answers is at work, or its node refused.

        Raises:
            WorkersUnavailable, IsolationMissing: there is none to use.
        """
        patience_s = time.monotonic() + HELLO_S
        while not (self.free and self._settled(patience_s)):
            self._demand_some(patience_s)
            self.step(LOOK_S)

    def _settled(self, patience_s: float) -> bool:
        """Is nobody opening, and is nobody expected to say hello any more?"""
        ready = {key for key, node in self._nodes.items() if node.ready}
        asked = {place.asked for place in self._calls.values() if place.node not in ready}
        late = time.monotonic() > patience_s
        return "open" not in asked and ("hello" not in asked or late)

    def _demand_some(self, patience_s: float) -> None:
        """Give up when no node is left that could be used.

        Raises:
            WorkersUnavailable, IsolationMissing: with the reason of the first node.
        """
        usable = any(not node.refused for node in self._nodes.values())
        asked = any(p.asked != "hello" for p in self._calls.values())
        if self.free or asked or (usable and time.monotonic() <= patience_s):
            return
        if self._isolation is not None:
            raise self._isolation
        if refusals := self.refusals:
            raise WorkersUnavailable(refusals[0])
        if usable:
            raise WorkersUnavailable(
                f"The Ray cluster at {self._address} gave no processor within {HELLO_S:g} s; wait "
                "until others have finished, or add a node."
            )
        if time.monotonic() > patience_s:
            raise WorkersUnavailable(
                f"The Ray cluster at {self._address} has no node left with a processor. {AGAIN}"
            )

    def wait_for_some(self) -> None:
        """When every seat is lost, wait for others.

        Raises:
            WorkersUnavailable, IsolationMissing: there are none in time.
        """
        if not self.free and all(place.asked == "hello" for place in self._calls.values()):
            self.open()

    def ask(self, place: Place, index: int, job: PlainJob) -> None:
        """Hand a job to a free seat."""
        self.free.remove(place)
        place.job, place.source = index, job[0]
        self._call(place, "score", self._score_s, job)

    def step(self, at_most_s: float) -> list[tuple[Place, list[PlainScore] | None]]:
        """Wait for answers; seats that answered a job, with None for those that were lost.

        Raises:
            WorkersUnavailable: the cluster's head is gone.
        """
        self._look()
        if not self._calls:
            time.sleep(min(at_most_s, 0.2))
            return []
        ready, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=at_most_s)
        if not ready:
            self._demand_head()
        settled = [done for call in ready for done in self._settle(call)]
        now_s = time.monotonic()
        for call in [c for c, place in self._calls.items() if now_s > place.until_s]:
            settled += self._lost(self._calls.pop(call), "it does not answer")
        return settled

    def close(self) -> None:
        """End every seat."""
        if listens(self._head()):
            return  # they ended with it
        for place in [*self.free, *self._calls.values()]:
            self._kill(place)
        self.free.clear()
        self._calls.clear()

    def _kill(self, place: Place) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(place.actor)

    def _head(self) -> str:
        if "://" in self._address:
            return self._address
        return str(self._ray.get_runtime_context().gcs_address)

    def _demand_head(self) -> None:
        if reason := listens(self._head()):
            raise WorkersUnavailable(
                f"The head of the Ray cluster at {self._address} is gone ({reason}). {AGAIN}"
            )

    def _look(self) -> None:
        """See which nodes there are, and hire on them."""
        if time.monotonic() < self._looked_s + LOOK_S and self._nodes:
            return
        self._looked_s = time.monotonic()
        self._demand_head()  # asked without a head, Ray ends this process after a minute
        alive = {}
        for found in self._ray.nodes():
            cpus = int(found["Resources"].get("CPU", 0))
            if found["Alive"] and cpus:
                alive[found["NodeID"]] = Node(found["NodeManagerAddress"], cpus)
        known = {k: self._nodes.get(k, node) for k, node in sorted(alive.items())}
        self._nodes = {**{k: n for k, n in self._nodes.items() if n.refused}, **known}
        for first in (True, False):
            for key in known:
                self._hire(key, 1 if first else known[key].cpus)

    def _hire(self, key: str, wanted: int) -> None:
        """Seats on a node up to a number: one until that one is open."""
        node = self._nodes[key]
        places = [*self.free, *self._calls.values()]
        here = sum(place.node == key for place in places)
        room = wanted if node.ready else min(wanted, 1)
        if self._most is not None:
            room = min(room, here + self._most - len(places))
        for _ in range(here, room if not node.refused else 0):
            actor = self._actor(key)
            self._call(Place(actor, key), "hello", math.inf)  # others may hold the processors

    def _actor(self, key: str) -> Any:  # noqa: ANN401
        strategies = import_module("ray.util.scheduling_strategies")
        here = strategies.NodeAffinitySchedulingStrategy(key, soft=False)
        made = self._ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy=here)(Seat)
        return made.remote()

    def _call(self, place: Place, asked: str, within_s: float, *arguments: object) -> None:
        place.asked, place.until_s = asked, time.monotonic() + within_s
        self._calls[getattr(place.actor, asked).remote(*arguments)] = place

    def _settle(self, call: Any) -> Iterator[tuple[Place, list[PlainScore] | None]]:  # noqa: ANN401
        """Take an answer: the next question, a free seat, the scores of a job, or a loss."""
        place = self._calls.pop(call)
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(call)
        except errors.RayTaskError as failed:
            yield from self._failed(place, failed.cause)
        except errors.RayError as lost:
            yield from self._lost(place, str(lost))
        else:
            yield from self._answered(place, answer)

    def _answered(
        self,
        place: Place,
        answer: Any,  # noqa: ANN401
    ) -> Iterator[tuple[Place, list[PlainScore] | None]]:
        node = self._nodes.get(place.node) or Node("?", 0)
        if place.asked == "hello":
            if other := difference(answer, installation()):
                self._refuse(place, f"has {other}: install the same there")
                return
            self._call(place, "open", OPEN_S, self._make, self._payload, self._settings)
            return
        node.losses = 0
        if place.asked == "open":
            self.layers = agreed([self.layers, [Layer(*layer) for layer in answer]])
            node.ready, self._looked_s = True, 0.0
            self.free.append(place)
            return
        yield place, answer

    def _failed(
        self, place: Place, cause: BaseException
    ) -> Iterator[tuple[Place, list[PlainScore] | None]]:
        """A seat raised: while it opened, its node cannot be used; later, the seat is lost."""
        if place.asked == "score":
            yield from self._lost(place, str(cause))
            return
        if isinstance(cause, IsolationMissing) and self._isolation is None:
            self._isolation = IsolationMissing(f"{self._name(place)}: {cause}", cause.names)
        words = str(cause) if isinstance(cause, SandboxError) else type(cause).__name__
        self._refuse(place, f"cannot score: {words}")

    def _lost(self, place: Place, reason: str) -> Iterator[tuple[Place, list[PlainScore] | None]]:
        """End a seat; its node's idle ones, too: on a dead node they would lose the next jobs."""
        idle = [other for other in self.free if other.node == place.node]
        for seat in [place, *idle]:
            self._kill(seat)
        self.free = [other for other in self.free if other.node != place.node]
        self._looked_s = 0.0
        _log.warning("%s lost a seat: %s", self._name(place), reason.partition("\n")[0])
        node = self._nodes.get(place.node)
        if "failed to import" in reason:
            self._refuse(place, "cannot import evolver: install the same version there")
        elif node is not None:
            node.losses += 1
            if node.losses >= MOST_LOSSES:
                self._refuse(place, "loses its processes; check its memory and its disk")
        if place.asked == "score":
            yield place, None

    def _refuse(self, place: Place, reason: str) -> None:
        """Use a node no more."""
        self._kill(place)
        sentence = f"{self._name(place)} {reason.rstrip('.')}."
        _log.warning("%s", sentence)
        if place.node in self._nodes:
            self._nodes[place.node].refused = sentence

    def _name(self, place: Place) -> str:
        node = self._nodes.get(place.node)
        return f"Node {node.name} of the Ray cluster" if node else "A node of the Ray cluster"
