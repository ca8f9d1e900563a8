"""The engines of a fleet as a source of cluster events: those that answer are there.

Two views: the engines that are scraped one by one, or, where only the gateway is known, how many
engines its own metrics say take requests.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from evolver.daemon.sources_engines import TIMEOUT_S, EngineScraper
from telemetry.cluster_events import ClusterEvent, Node, plain_node
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


class EngineSource:
    """Scrapes engines in every poll, and tells a live cluster which of them are there.

    A poll takes as long as the slowest engine, `timeout_s` at most.

    Args:
        urls: base URLs of the engines.
        like: what each of them stands on; its name is replaced by the engine's address.

    Attributes:
        book: of all scrapes, for signals, growth and histograms.
    """

    def __init__(
        self,
        urls: Sequence[str] | Callable[[], Iterable[str]],
        like: Node,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.book = ScrapeBook()
        self._clock = clock
        self._scraper = EngineScraper(
            urls if callable(urls) else lambda: urls, self.book, timeout_s, clock
        )
        self._fleet = EngineFleet(self.book, lambda name: _standing_on(name, like))

    def poll(self, cluster: LiveCluster) -> tuple[ClusterEvent, ...]:
        """Ask every engine once, from a thread without an event loop; what is new."""
        self._scraper.round()
        return self._fleet.poll(cluster, self._clock())


def _standing_on(url: str, like: Node) -> Node | None:
    address = re.sub(r"^https?://", "", url)
    return None if plain_node(address, 1, "any", "") is None else replace(like, name=address)


def gateway_nodes(page: str, like: Node) -> tuple[Node, ...] | None:
    """The engines that a gateway's metrics count, each like `like`; None where it does not say.

    They have no names there: numbers stand for them, and the highest is the one that leaves.
    """
    for sample in samples(page, (_OPEN,), (_OPEN,)):
        if 0 <= sample.value <= MOST_ENGINES:
            names = (f"{like.name}-{number}" for number in range(int(sample.value)))
            return tuple(Node(name, like.gpus, like.gpu, like.zone) for name in names)
    return None
