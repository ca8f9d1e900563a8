"""A slot with policies in it, and readings of a small cluster."""

from collections.abc import Callable

import pytest

from sandbox.cluster import ClusterSpec, parse_cluster
from serving_adapter.exposition import Registry
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.live import Live
from serving_adapter.live_slot import LiveSlot
from serving_adapter.planning.planner import Planner, Reading
from serving_adapter.planning.prepare import prepare_planned
from serving_adapter.planning.wanted import ReplicaReading
from serving_adapter.planning.window import Tally

CLUSTER = """
name = "three"
model = "Llama-3.1-8B"

[[pool]]
gpu = "H100"
count = 3
"""


@pytest.fixture(scope="session")
def three() -> ClusterSpec:
    """A cluster of three GPUs."""
    return parse_cluster(CLUSTER)


@pytest.fixture(scope="session")
def prepared(three) -> Callable:
    """Policies that are ready to plan, interpreted, so that nothing is compiled."""
    return prepare_planned(three, "interpreted")


class Stand:
    """A planner over a slot, and a clock that the test moves."""

    def __init__(self, three: ClusterSpec, prepare: Callable) -> None:
        self.slot = LiveSlot(HostMetrics(Registry()), lambda _: None, None)
        self.planner = Planner(self.slot, three, engine="interpreted")
        self.prepare = prepare
        self.tally, self.now_s, self.sequence = Tally(), 100.0, 0

    def go_live(
        self, active: str | None, last_good: str | None = None, canary: str | None = None,
        weight: float = 0.5,
    ) -> None:
        self.sequence += 1
        ready = [self.prepare(text) if text else None for text in (active, last_good, canary)]
        self.slot.assign(Live(
            self.sequence, active=ready[0], last_good=ready[1], canary=ready[2], weight=weight,
        ))  # fmt: skip

    def point(self, requests: int = 0, replicas: int = 1, **fields: object):
        """Ten seconds with so many requests, then a monitoring point."""
        for k in range(requests):
            self.tally.arrived(self.now_s + 10.0 * k / requests, 100)
        self.now_s += 10.0
        spec = self.planner.cluster.spec_of(0, 1, 1)
        there = tuple(ReplicaReading(spec=spec, instance=k) for k in range(replicas))
        fields = {"replicas": there, "queued_requests": 0, **fields}
        return self.planner.step(Reading(now_s=self.now_s, sums=self.tally.sums, **fields))


@pytest.fixture
def stand(three, prepared) -> Stand:
    return Stand(three, prepared)
