"""What a new plan keeps, what goes on while it is computed and carried out, and who stands in."""

import numpy as np
import planned
import pytest

from sandbox.capacity import Pairing
from sandbox.contract import DECODE, PREFILL
from sandbox.hardware import build_hardware
from sandbox.kernel.state import ACTIVE, FINISHED, LEAVING, PLAN_READY, PS_PER_S, STARTING
from sandbox.metrics import measure
from sandbox.simulation import Setup, simulate

THREE = {"gpu": "H100", "count": 3, "node_size": 1}
BOTH = [{"pool": 0, "tp": 1, "count": 2}]
QUICK = {"start_s": 2.0, "drain_s": 5.0}


def watched(*text, trace=None, **parts):
    spec = planned.cluster(THREE, replica=parts.pop("replica", BOTH), switch=QUICK, **parts)
    return planned.Watched(spec, planned.planner(*text), trace=trace)


def test_another_length_range_or_share_keeps_every_engine():
    run = watched(
        "for k in range(2):",
        "    add_replica(new_plan, 0, 1, 1, MIXED)",
        "    set_lengths(new_plan, k, k * 1000, (k + 1) * 1000)",
        "    set_share(new_plan, k, 0, 0.25 + 0.5 * k)",
    ).until(2.0)
    engines = run.engines(ACTIVE, STARTING, LEAVING)
    assert engines["id"].tolist() == [0, 1]
    assert engines["length_low"].tolist() == [0, 1000]
    assert engines["share"].tolist() == [0.25, 0.75]
    assert run.end()["reconfigurations"] == 0


def test_an_engine_keeps_the_range_it_has_where_the_new_plan_has_it_too():
    run = watched(
        "for k in range(2):",
        "    add_replica(new_plan, 0, 1, 1, MIXED)",
        "    low = 1000 * (k if window.now_s < 5.0 else 1 - k)",
        "    set_lengths(new_plan, k, low, low + 1000)",
    )
    before = run.until(3.0).engines(ACTIVE)["length_low"].tolist()
    assert run.until(8.0).engines(ACTIVE)["length_low"].tolist() == before
    assert run.engines(ACTIVE)["replica"].tolist() == [1, 0]


THINKS = (
    "total = 0.0",
    "for k in range(100000):",
    "    for l in range(5):",
    "        total += k * l",
)
ONE_MORE = "for k in range(3):", "    add_replica(new_plan, 0, 1, 1, MIXED)"


def test_the_old_plan_serves_on_while_the_planner_burns_its_fuel():
    price = {"fuel_ns": 1000.0, "planner_s": 100.0}
    trace = planned.requests(60, gap_s=0.5)
    run = watched(*THINKS, *ONE_MORE, trace=trace, price=price).until(2.5)
    events = run.sim.events[: run.sim.totals["events"][0]]
    ready = events[events["kind"] == PLAN_READY]["at"].max() / PS_PER_S
    assert run.sim.totals["planning"][0]
    served = int(run.sim.totals["finished"][0])
    run.until(ready - 0.1)
    assert len(run.engines(ACTIVE, STARTING)) == 2
    assert run.sim.totals["finished"][0] > served
    assert len(run.until(ready + 0.1).engines(STARTING)) == 1


FEWER = (
    "add_replica(new_plan, 0, 1, 1, MIXED)",
    "if window.now_s < 10.0:",
    "    add_replica(new_plan, 0, 1, 1, MIXED)",
)


def test_what_runs_on_an_engine_that_goes_may_finish_within_the_drain_and_is_then_computed_again():
    long = planned.requests(12, gap_s=1.0, prompt=1000, output=1200)
    run = watched(*FEWER, trace=long).until(11.5)
    leaving = run.engines(LEAVING)
    assert leaving["running"][0] > 0
    assert leaving["waiting"][0] == 0
    totals = run.end()
    assert totals["drain_ps"] == pytest.approx(5.0 * PS_PER_S, rel=0.01)
    cut_off = int(run.sim.requests["preempted"].sum())
    assert 1000 * cut_off < totals["recomputed"] < 2200 * cut_off
    assert np.all(run.sim.requests["state"] == FINISHED)


def test_the_parts_of_a_switch_are_among_the_metrics():
    spec = planned.cluster(THREE, replica=BOTH, switch=QUICK)
    setup = Setup(planned.requests(30), spec, stop_s=200.0)
    outcome = simulate(setup, planned.planner(*ONE_MORE), planned.Watched(spec).policy)
    numbers = measure(outcome, setup, build_hardware(spec)).numbers
    loads = sum(numbers[f"loading_{name}_gpu_s"] for name in ("peer", "host", "storage"))
    assert numbers["engine_starts"] == 1
    assert numbers["starting_gpu_s"] == pytest.approx(2.0)
    assert loads + 2.0 == pytest.approx(
        numbers["reconfiguration_s"] / numbers["total_s"] * numbers["gpu_hours"] * 3600.0
    )


@pytest.mark.parametrize("mode", ["open", "backlog"])
def test_total_time_is_scheduling_reconfiguration_and_serving_with_every_kind_of_change(mode):
    storage = {"storage_bytes_per_s": 5e9, "start_s": 1.0, "detect_s": 0.5, "grace_s": 0.0}
    spec = planned.cluster(
        {"gpu": "H100", "count": 1},
        {"gpu": "A100", "count": 1, "max_count": 3, "elastic": True, "provision_s": 2.0},
        replica=[{"pool": 0, "tp": 1}], switch=storage, price={"fuel_ns": 3000.0},
    )  # fmt: skip
    planner = planned.planner(
        "total = 0",
        "for k in range(30000):",
        "    total += k",
        "want_gpus(cluster, 1, 1 + int(window.now_s) % 3)",
        "for pool in range(2):",
        "    for k in range(cluster.pools[pool].present):",
        "        add_replica(new_plan, pool, 1, 1, MIXED)",
    )
    lost = planned.capacity([(9.0, 0, False), (20.0, 0, True)])
    setup = Setup(
        planned.requests(60), spec, Pairing(lost, 1, 1, notice=False), mode=mode, stop_s=500.0
    )
    outcome = simulate(setup, planner, planned.Watched(spec).policy)
    numbers = measure(outcome, setup, build_hardware(spec)).numbers
    parts = [numbers[f"{name}_s"] for name in ("scheduling", "reconfiguration", "serving")]
    assert min(parts) > 0.0
    assert sum(parts) == pytest.approx(numbers["total_s"], rel=1e-14)


BREAKS = "total = 1 // (window.classes[0].class_id - window.classes[0].class_id)"


def test_a_planner_that_always_fails_does_not_keep_a_plan_that_is_too_small():
    spec = planned.cluster(
        {"gpu": "H100", "count": 1}, {"gpu": "A100", "count": 1},
        replica=[{"pool": 0, "tp": 1}, {"pool": 1, "tp": 1}], switch=QUICK,
    )  # fmt: skip
    lost = planned.capacity([(5.0, 0, False), (15.0, 0, True)])
    run = planned.Watched(spec, planned.planner(BREAKS), capacity=Pairing(lost, 1, 1, notice=False))
    assert len(run.until(10.0).engines(ACTIVE)) == 1
    assert len(run.until(30.0).engines(ACTIVE)) == 2


def test_a_planner_that_fails_keeps_a_plan_that_is_its_own():
    run = watched(
        "if window.now_s > 5.0:", "    " + BREAKS, "add_replica(new_plan, 0, 1, 1, MIXED)"
    )
    assert len(run.until(30.0).engines(ACTIVE)) == 1
    assert run.sim.totals["faults"][0] > 20


ROLES = (
    "apart = window.now_s > 5.0",
    "add_replica(new_plan, 0, 1, 1, PREFILL if apart else MIXED)",
    "add_replica(new_plan, 0, 1, 1, DECODE if apart else MIXED)",
)


def flipping(flip_s):
    spec = planned.cluster(THREE, replica=BOTH, switch=QUICK | {"flip_s": flip_s})
    long = planned.requests(30, gap_s=0.5, prompt=500, output=300)
    return planned.Watched(spec, planned.planner(*ROLES), trace=long)


def test_a_change_of_role_alone_keeps_engines_and_loads_nothing():
    run = flipping(0.5).until(8.0)
    assert run.engines(ACTIVE)["id"].tolist() == [0, 1]
    assert run.engines(ACTIVE)["role"].tolist() == [PREFILL, DECODE]
    totals = run.end()
    assert (totals["flips"], totals["starts"].sum(), totals["reconfigurations"]) == (2, 0, 1)
    assert totals["recomputed"] == 0
    assert np.all(run.sim.requests["state"] == FINISHED)


def test_work_that_comes_while_a_role_changes_waits_and_what_runs_goes_on():
    run = flipping(3.0)
    run.end()
    entered, first = (run.sim.requests[name] / PS_PER_S for name in ("entered", "first"))
    flip = (entered > 6.0) & (entered < 9.0)
    assert flip.sum() >= 5
    assert first[flip].min() > 9.0
    before = (entered > 4.0) & (entered < 6.0)
    assert (run.sim.requests["finish"][before] / PS_PER_S).max() < 9.0


def test_without_a_flip_time_nothing_waits():
    run = flipping(0.0)
    run.end()
    assert ((run.sim.requests["first"] - run.sim.requests["entered"]) / PS_PER_S).max() < 1.0
