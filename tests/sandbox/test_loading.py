"""Weights come from the nearest copy, at the rates that the cluster file and the GPUs give."""

import planned
import pytest

from sandbox.capacity import Pairing
from sandbox.kernel.state import (
    ACTIVE,
    BOOT,
    HOST,
    PEER,
    PS_PER_S,
    STARTING,
    STORAGE,
)

BYTES = 16_060_522_496  # of Llama-3.1-8B in bf16
ONE = {"gpu": "H100", "count": 1}
SLOW = {"storage_bytes_per_s": 2e9, "start_s": 5.0}


def three_at_once(**pool):
    """From one replica to three at the first monitoring point; two start on A100s."""
    spec = planned.cluster(
        ONE, {"gpu": "A100", "count": 2, **pool}, replica=[{"pool": 0, "tp": 1}], switch=SLOW
    )
    text = "add_replica(new_plan, 0, 1, 1, MIXED)", "add_replica(new_plan, 1, 1, 1, MIXED)"
    return planned.Watched(spec, planned.planner(*text, text[1]))


def seconds(ps):
    return float(ps) / PS_PER_S


def test_two_that_load_from_storage_at_once_share_it():
    run = three_at_once(node_size=1).until(30.0)
    last = run.engines(ACTIVE)[1:]
    start = [seconds(row["ready_at"]) - 1.0 for row in last]
    assert last["source"].tolist() == [STORAGE, STORAGE]
    assert start == pytest.approx([2 * BYTES / 2e9 + 5.0] * 2, abs=0.01)


def test_storage_that_one_leaves_is_all_for_the_other():
    leaves = planned.planner(
        "add_replica(new_plan, 0, 1, 1, MIXED)", "add_replica(new_plan, 1, 1, 1, MIXED)",
        "if window.now_s < 4.5:", "    add_replica(new_plan, 1, 1, 1, MIXED)",
    )  # fmt: skip
    pools = ONE, {"gpu": "A100", "count": 2, "node_size": 1}
    spec = planned.cluster(*pools, replica=[{"pool": 0, "tp": 1}], switch=SLOW)
    run = planned.Watched(spec, leaves).until(30.0)
    # shared from second 1 to 5, alone from then on
    wanted = 5.0 + (BYTES - 4.0 * 1e9) / 2e9 + 5.0
    assert seconds(run.engines(ACTIVE)["ready_at"][1]) == pytest.approx(wanted, abs=0.01)


def test_no_load_is_faster_than_the_host_link():
    quick = SLOW | {"storage_bytes_per_s": 9e12, "load_share": 0.25}
    spec = planned.cluster(
        ONE, {"gpu": "A100", "count": 1}, replica=[{"pool": 0, "tp": 1}], switch=quick
    )
    both = "add_replica(new_plan, 0, 1, 1, MIXED)", "add_replica(new_plan, 1, 1, 1, MIXED)"
    run = planned.Watched(spec, planned.planner(*both)).until(30.0)
    link = float(run.sim.pools["load"][1])
    start_s = seconds(run.engines(ACTIVE)["ready_at"][1]) - 1.0
    assert start_s == pytest.approx(BYTES / link + 5.0, abs=0.01)


SHRINK_AND_GROW = (
    "add_replica(new_plan, 0, 1, 1, MIXED)",
    "if window.now_s < 30.0 or window.now_s > 40.0:",
    "    add_replica(new_plan, 1, 1, 1, MIXED)",
    "if window.now_s > 70.0:",
    "    add_replica(new_plan, 1, 1, 1, MIXED)",
)


def grown_again(events=(), **changed):
    spec = planned.cluster(
        ONE, {"gpu": "A100", "count": 2, "node_size": 2}, replica=[{"pool": 0, "tp": 1}],
        switch=SLOW | changed,
    )  # fmt: skip
    pairing = Pairing(planned.capacity(events), 1, 2) if events else None
    return planned.Watched(spec, planned.planner(*SHRINK_AND_GROW), capacity=pairing)


def test_a_node_that_stayed_loads_from_its_host_memory_then_from_its_neighbour():
    run = grown_again().until(60.0)
    again = run.engines(ACTIVE)[1]
    load_s = seconds(again["ready_at"] - again["loaded_at"])
    assert again["source"] == HOST
    assert load_s == pytest.approx(5.0)
    second = run.until(90.0).engines(ACTIVE)[2]
    assert second["source"] == PEER
    link = float(run.sim.pools["link"][1])
    assert run.sim.shapes["load"][1, PEER] == pytest.approx(BYTES / link * PS_PER_S, rel=1e-6)


def test_a_node_that_went_has_forgotten_the_weights():
    run = grown_again([(32.0, 0, False), (36.0, 0, True)]).until(60.0)
    assert run.engines(ACTIVE)[1]["source"] == STORAGE


def test_without_a_storage_rate_every_load_is_from_host_memory():
    run = grown_again(storage_bytes_per_s=None).until(90.0)
    assert run.sim.totals["starts"][0].tolist() == [0, 3, 0]


def test_the_phases_of_all_starts_are_the_gpu_time_that_loads():
    run = grown_again([(50.0, 0, False), (65.0, 0, True)])
    totals = run.end()
    assert totals["phase_ps"].sum() == pytest.approx(totals["loading_ps"], rel=1e-12)
    assert totals["phase_ps"][STORAGE] > 0
    assert totals["phase_ps"][BOOT] > 0


def test_policies_see_the_start_from_the_copy_that_the_pool_has():
    run = three_at_once(node_size=1).until(2.0)
    shape = run.sim.cluster["shapes"][0, 1]
    assert shape["start_s"] == pytest.approx(BYTES / 2e9 + 5.0, abs=0.01)
    assert len(run.engines(STARTING)) == 2
    run.until(60.0)
    assert run.sim.cluster["shapes"][0, 1]["start_s"] < 7.0
