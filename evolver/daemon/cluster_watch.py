"""What happens to the cluster: every source is heard, into one live state and words to keep."""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path

from evolver.daemon.config import Events
from evolver.daemon.protocols import Event
from sandbox.capacity import Pairing, pair
from sandbox.cluster import ClusterSpec
from sandbox.errors import SandboxError
from telemetry.cluster_events import ClusterEvent, Node, plain_node
from telemetry.cluster_events_file import EventFile
from telemetry.cluster_state import LiveCluster
from telemetry.errors import CapacityError

MOST_WAITING = 10_000
Poll = Callable[[LiveCluster], tuple[ClusterEvent, ...]]


class ClusterWatch:
    """One live cluster; all but `told` belongs to the thread of the turns.

    Args:
        events: which sources there are.
    """

    def __init__(self, events: Events) -> None:
        self.live = LiveCluster()
        self._node = events.node
        self._waiting: queue.Queue[ClusterEvent] = queue.Queue(MOST_WAITING)
        self._sources: list[Poll] = [_file(events.file)] if events.file is not None else []
        self._close: list[Callable[[], None]] = []
        if events.ray is not None:
            from evolver.daemon.sources_ray import RayNodes

            self._sources.append(RayNodes.at(events.ray).poll)
        if events.kubernetes:
            from evolver.daemon.sources_kubernetes import KubernetesNodes

            nodes = KubernetesNodes()
            nodes.start()
            self._close.append(nodes.close)
            self._sources.append(nodes.poll)

        if events.engines:
            from evolver.daemon.sources_fleet import EngineSource

            self._sources.append(EngineSource(events.engines, _engine(events.node)).poll)

    def told(self, events: tuple[ClusterEvent, ...]) -> bool:
        """By the webhook; False when more wait than can be kept."""
        try:
            for event in events:
                self._waiting.put_nowait(event)
        except queue.Full:
            return False
        return True

    def poll(self) -> list[Event]:
        """What is new since the last poll."""
        fresh: list[ClusterEvent] = []
        while not self._waiting.empty():
            fresh.append(self._waiting.get_nowait())
        news = list(self.live.take(fresh))
        for source in self._sources:
            news += source(self.live)
        return [_words(one) for one in news]

    def pairing(
        self, cluster: ClusterSpec, since_unix_s: float, until_unix_s: float
    ) -> tuple[Pairing | None, str]:
        """Capacity over a stretch laid on the cluster; None, and why, where nothing changed."""
        try:
            trace = self.live.trace(since_unix_s, until_unix_s)
            if not len(trace.time_s):
                return None, ""
            return pair(cluster, trace, self._node), ""
        except (CapacityError, SandboxError) as error:
            return None, str(error) if self.live.nodes(until_unix_s) else ""

    def close(self) -> None:
        """Stop what listens in the background."""
        for close in self._close:
            close()


def _file(path: Path) -> Poll:
    source = EventFile(path)
    return lambda live: live.take(source.poll())


def _engine(node: str | None) -> Node:
    """What an engine stands on, where a node is `GPU:COUNT`."""
    gpu, _, count = (node or "").partition(":")
    known = plain_node("engine", int(count) if count.isdecimal() else 1, gpu or "any", "")
    return known or Node("engine")


def _words(event: ClusterEvent) -> Event:
    node = event.node
    gpus = f"{node.gpus} x {node.gpu}" if node.gpus != 1 else node.gpu
    zone = f" in {node.zone}" if node.zone else ""
    what = f"{node.name} ({gpus}{zone}) is {event.change.value}."
    return Event(event.unix_s, event.change.value, what, {"node": node.name, "gpus": node.gpus})
