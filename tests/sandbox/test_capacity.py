import pytest

from sandbox.capacity import Pairing, capacity_rows, pair
from sandbox.cluster import ClusterError, ClusterSpec
from sandbox.hardware import build_hardware
from sandbox.kernel.state import ANNOUNCE, DOWN, PS_PER_S, UP
from telemetry.capacity import CapacityTrace
from telemetry.trace import TraceMeta

CLUSTER = ClusterSpec.model_validate({
    "model": "Llama-3.1-8B",
    "pool": [{"gpu": "H100", "count": 2}, {"gpu": "A100", "count": 5, "spot": True}],
})  # fmt: skip


def trace(time_s, node, up, initial_up=(True, True, True)):
    return CapacityTrace.of(
        TraceMeta(name="spots"), "availability", span_s=100.0, initial_up=list(initial_up),
        time_s=time_s, node=node, up=up,
    )  # fmt: skip


def rows(pairing, stop_s=100.0, grace_s=30.0):
    made = build_hardware(CLUSTER)
    gpus = made.gpus
    found = capacity_rows(pairing, made.pools, gpus, stop_s, grace_s)
    return [(row["at"] / PS_PER_S, int(row["gpu"]), int(row["what"])) for row in found], gpus


def test_a_node_is_laid_on_the_spot_pool_unless_named():
    given = trace([50.0], [0], [False])
    assert pair(CLUSTER, given).pool == 1
    named = pair(CLUSTER, given, "H100:2")
    assert (named.pool, named.gpus_per_node) == (0, 2)


def test_the_pairing_is_told():
    told = pair(CLUSTER, trace([50.0], [0], [False]), "A100:2").describe(CLUSTER)
    assert told == "2 of the 3 nodes of spots are 2 x A100 each; 1 of 5 A100 always stay"


@pytest.mark.parametrize("node", ["B200:1", "A100:6", "A100", "A100:0", "A100:x", ":"])
def test_what_cannot_be_paired_says_how(node):
    with pytest.raises(Exception, match=r"A100|B200") as caught:
        pair(CLUSTER, trace([], [], []), node)
    assert isinstance(caught.value, ClusterError) or "profile" in str(caught.value).lower()


def test_a_loss_is_announced_then_comes_true_on_every_gpu_of_the_node():
    found, _ = rows(Pairing(trace([50.0, 80.0], [1, 1], [False, True]), 1, 2))
    assert found == [
        (20.0, 4, ANNOUNCE), (20.0, 5, ANNOUNCE), (50.0, 4, DOWN), (50.0, 5, DOWN),
        (80.0, 4, UP), (80.0, 5, UP),
    ]  # fmt: skip


def test_a_gpu_that_stays_for_less_than_the_grace_is_announced_when_it_comes():
    found, _ = rows(Pairing(trace([10.0, 20.0, 30.0], [0, 0, 0], [False, True, False]), 1, 1))
    assert found == [
        (0.0, 2, ANNOUNCE), (10.0, 2, DOWN), (20.0, 2, UP), (20.0, 2, ANNOUNCE), (30.0, 2, DOWN),
    ]  # fmt: skip


def test_nodes_that_are_down_at_the_start_are_taken_away():
    _, gpus = rows(Pairing(trace([], [], [], (True, False, True)), 1, 1))
    assert gpus["present"].tolist() == [True, True, True, False, True, True, True]


def test_without_grace_nothing_is_announced_and_nothing_after_the_end_is_kept():
    found, _ = rows(Pairing(trace([50.0, 90.0], [0, 0], [False, True]), 1, 1), 60.0, 0.0)
    assert found == [(50.0, 2, DOWN)]
