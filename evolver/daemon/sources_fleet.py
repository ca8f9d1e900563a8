"""The engines of a fleet as a source of cluster events: those that answer are there.

Two views: the engines that are scraped one by one, or, where only the gateway is known, how many
engines its own metrics say take requests.
"""

from __future__ import annotations

from collections.abc import Callable

from telemetry.cluster_events import ClusterEvent, Node
from telemetry.cluster_state import LiveCluster
from telemetry.metrics_page import samples
from telemetry.scrape import ScrapeBook

SOURCE = "engines"
GATEWAY = "gateway"
FAILED_SCRAPES = 2
MOST_ENGINES = 4096
_OPEN = "evolver_engines_open"


class EngineFleet:
    """Tells a live cluster which of the scraped engines are there.

    Args:
        book: of their scrapes.
        node_of: what an engine stands on, by the name it is scraped under; None leaves it out.
    """

    def __init__(self, book: ScrapeBook, node_of: Callable[[str], Node | None]) -> None:
        self._book = book
        self._node_of = node_of

    def poll(self, cluster: LiveCluster, now_unix_s: float) -> tuple[ClusterEvent, ...]:
        """Look at the book once; what is new. An engine that never answered is not there yet."""
        alive = [
            name for name in self._book.names()
            if self._book.failures(name) < FAILED_SCRAPES
            and self._book.age_s(name, now_unix_s) >= 0
        ]  # fmt: skip
        nodes = [node for name in alive if (node := self._node_of(name)) is not None]
        return cluster.see(SOURCE, nodes, now_unix_s)


def gateway_nodes(page: str, like: Node) -> tuple[Node, ...] | None:
    """The engines that a gateway's metrics count, each like `like`; None where it does not say.

    They have no names there: numbers stand for them, and the highest is the one that leaves.
    """
    for sample in samples(page, (_OPEN,), (_OPEN,)):
        if 0 <= sample.value <= MOST_ENGINES:
            names = (f"{like.name}-{number}" for number in range(int(sample.value)))
            return tuple(Node(name, like.gpus, like.gpu, like.zone) for name in names)
    return None
