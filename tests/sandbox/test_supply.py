"""GPUs that fail without notice, zones that go as one, and pools that grow and shrink."""

import numpy as np
import planned
import pytest

from sandbox.capacity import Pairing, pair
from sandbox.cluster import ClusterError, ClusterSpec
from sandbox.kernel.state import ACTIVE, FINISHED, PS_PER_S, QUEUED, UNUSED
from telemetry.capacity import as_availability

TWO = {"gpu": "H100", "count": 1}, {"gpu": "A100", "count": 1, "zone": 1, "spot": True}
QUICK = {"start_s": 1.0, "grace_s": 5.0}


def failing(detect_s=4.0, back_s=60.0, **pairing):
    """Engine 1 fails at second 10; requests come every tenth of a second."""
    spec = planned.cluster(*TWO, switch=QUICK | {"detect_s": detect_s})
    faults = planned.capacity([(10.05, 0, False), (back_s, 0, True)], kind="faults")
    trace = planned.requests(300, gap_s=0.1, output=40)
    return planned.Watched(
        spec,
        planned.newest(),
        trace=trace,
        capacity=Pairing(as_availability(faults), 1, 1, **pairing),
    )


def test_a_fault_log_says_that_its_losses_come_without_notice():
    faults = planned.capacity([(10.0, 0, False), (20.0, 0, True)], kind="faults")
    assert not faults.unannounced.any()
    assert as_availability(faults).unannounced.tolist() == [True, False]
    assert as_availability(faults).slice(5.0, 15.0).unannounced.tolist() == [True]
    assert as_availability(faults).digest() != as_availability(faults, total=2).digest()


def test_until_a_failure_is_detected_routers_send_to_an_engine_that_does_nothing():
    run = failing().until(13.9)
    engine = run.sim.instances[1]
    stuck = run.sim.requests[run.sim.requests["instance"] == 1]
    waits = stuck[(stuck["state"] == QUEUED)]
    assert engine["state"] == ACTIVE
    assert len(waits) > 3
    assert waits["queued_at"].max() > 10.2 * PS_PER_S
    assert run.sim.pools["present"][1] == 1


def test_a_detected_failure_frees_its_requests_and_they_are_computed_again():
    run = failing().until(14.2)
    assert run.sim.instances["state"][1] == UNUSED
    assert run.sim.pools["present"][1] == 0
    totals = run.end()
    assert totals["failures"] == 1
    assert totals["recomputed"] > 100
    assert np.all(run.sim.requests["state"] == FINISHED)


def test_what_was_stuck_waited_for_the_detection():
    late = failing(detect_s=8.0)
    late.end()
    soon = failing(detect_s=0.0)
    soon.end()
    worst = [
        float((run.sim.requests["finish"] - run.sim.requests["entered"]).max()) / PS_PER_S
        for run in (late, soon)
    ]
    assert worst[0] > 8.0 > worst[1]


def test_a_gpu_that_is_back_before_its_failure_was_detected_has_lost_its_engine():
    run = failing(detect_s=30.0, back_s=12.0).until(12.5)
    # the engine starts anew on it: another id, loading
    assert run.sim.pools["present"][1] == 1
    assert run.sim.instances["id"].max() == 2
    assert run.end()["failures"] == 1


def test_policies_are_not_asked_at_the_failure_itself():
    run = failing()
    for time_s, known in ((10.5, False), (14.2, True)):
        assert bool(run.until(time_s).sim.pools["changed"][1]) == known


@pytest.mark.parametrize(("notice", "failures"), [(None, 1), (True, 0), (False, 1)])
def test_a_pairing_may_say_whether_losses_are_announced(notice, failures):
    assert failing(notice=notice).end()["failures"] == failures


ZONES = {"gpu": "H100", "count": 2}, {"gpu": "A100", "count": 2, "zone": 1}, {
    "gpu": "L40S", "count": 2, "zone": 1}  # fmt: skip


@pytest.mark.parametrize("notice", [True, False])
def test_a_zone_goes_with_all_its_engines_at_one_instant_and_the_others_carry_on(notice):
    each = [{"pool": k, "tp": 1, "count": 2} for k in range(3)]
    switch = QUICK | {"detect_s": 0.5, "grace_s": 0.0}
    spec = planned.cluster(*ZONES, replica=each, switch=switch)
    lost = planned.capacity([(20.0, k, False) for k in range(4)], nodes=4, zone=[1] * 4)
    pairing = Pairing(lost, None, 1, notice=notice)
    run = planned.Watched(spec, trace=planned.requests(400, gap_s=0.1), capacity=pairing)
    before = run.until(19.9).engines(ACTIVE)
    after = run.until(20.6).engines(ACTIVE)
    assert len(before) == 6
    assert after["zone"].tolist() == [0, 0]
    assert after["id"].tolist() == before["id"][before["zone"] == 0].tolist()
    run.end()
    assert np.all(run.sim.requests["state"] == FINISHED)
    assert run.sim.plan["n_replicas"][0] == 2


def test_a_node_may_be_laid_on_its_zone():
    spec = planned.cluster(*ZONES)
    given = pair(spec, planned.capacity([(1.0, 0, False)], nodes=3, zone=[1, 0, 1]), "zone:2")
    assert given.pool is None
    assert given.describe(spec) == (
        "3 of the 3 nodes of planned are 2 x GPUs of their zone each; 0 of 6 GPUs always stay"
    )
    with pytest.raises(ClusterError, match="zone:COUNT"):
        pair(spec, planned.capacity([]), "zone:99")


ELASTIC = {
    "gpu": "A100", "count": 0, "max_count": 3, "elastic": True, "provision_s": 10.0,
    "price_usd_per_hour": 2.0,
}  # fmt: skip
BUYS = (
    "add_replica(new_plan, 0, 1, 1, MIXED)",
    "if window.now_s < 40.0:",
    "    want_gpus(cluster, 1, 2)",
    "    for k in range(cluster.pools[1].present):",
    "        add_replica(new_plan, 1, 1, 1, MIXED)",
    "else:",
    "    want_gpus(cluster, 1, 0)",
)


def growing(*text, trace=None, capacity=None, **switch):
    spec = planned.cluster(
        {"gpu": "H100", "count": 1, "price_usd_per_hour": 1.0}, ELASTIC,
        replica=[{"pool": 0, "tp": 1}], switch=QUICK | switch,
    )  # fmt: skip
    return planned.Watched(spec, planned.planner(*(text or BUYS)), trace=trace, capacity=capacity)


def pool_of(run, *names):
    return tuple(run.sim.pools[name][1].item() for name in names)


def test_gpus_that_are_asked_for_arrive_after_the_provision_time():
    run = growing()
    assert pool_of(run.until(10.9), "present", "arriving", "wanted") == (0, 2, 2)
    assert run.sim.cluster["pools"][0, 1]["arriving"] == 2
    assert pool_of(run.until(11.5), "present", "arriving") == (2, 0)
    assert len(run.until(20.0).engines(ACTIVE)) == 3


def test_gpus_go_back_when_less_is_wanted_and_the_bill_follows():
    run = growing()
    assert pool_of(run.until(42.5), "present", "wanted") == (0, 0)
    totals = run.end()
    held_s = 41.0 - 11.0  # second 1 is the first monitoring point, second 41 the last of them
    price = (run.sim.totals["integrated"][0] / PS_PER_S + 2 * 2.0 * held_s) / 3600.0
    assert totals["price_usd"] == pytest.approx(price, rel=0.04)
    hours = totals["gpu_ps"] / PS_PER_S / 3600.0
    assert hours == pytest.approx(
        (run.sim.totals["integrated"][0] / PS_PER_S + 60.0) / 3600.0, 0.02
    )


def test_what_the_plan_gave_up_drains_before_its_gpus_go():
    long = planned.requests(60, gap_s=1.0, prompt=2000, output=900)
    run = growing(trace=long, drain_s=15.0).until(43.0)
    assert pool_of(run, "present", "wanted") == (1, 0)
    assert pool_of(run.until(60.0), "present", "wanted") == (0, 0)
    assert run.end()["drain_ps"] > 0


def test_no_more_than_a_pool_may_hold_and_never_what_the_plan_uses():
    greedy = (
        "add_replica(new_plan, 0, 1, 1, MIXED)",
        "want_gpus(cluster, 1, 1000 if window.now_s < 20.0 else 0)",
        "if cluster.pools[1].present > 0:",
        "    add_replica(new_plan, 1, 1, 1, MIXED)",
    )
    run = growing(*greedy)
    assert pool_of(run.until(15.0), "present", "wanted") == (3, 3)
    assert pool_of(run.until(30.0), "present", "wanted") == (1, 0)


def test_a_faulty_planner_asks_for_nothing():
    wrong = "want_gpus(cluster, 1, 2)", "add_replica(new_plan, 0, 7, 1, MIXED)"
    run = growing(*wrong).until(15.0)
    assert pool_of(run, "present", "wanted") == (0, -1)


def test_wants_alone_are_no_fault_and_arrive_when_nothing_else_is_there():
    only = ("want_gpus(cluster, 1, 2)", "for k in range(cluster.pools[1].present):",
            "    add_replica(new_plan, 1, 1, 1, MIXED)")  # fmt: skip
    run = growing(*only)
    assert len(run.until(20.0).engines(ACTIVE)) == 2
    assert run.sim.totals["faults"][0] == 0


def test_what_the_provider_takes_back_is_ordered_anew_while_another_is_offered():
    spot = planned.capacity([(20.0, 0, False), (100.0, 0, True)], nodes=3)
    run = growing("want_gpus(cluster, 1, 2)", "add_replica(new_plan, 0, 1, 1, MIXED)",
                  capacity=Pairing(spot, 1, 1))  # fmt: skip
    assert pool_of(run.until(16.0), "present", "leaving") == (2, 1)
    assert pool_of(run.until(20.5), "present", "arriving") == (1, 1)
    gone = run.until(31.0).sim.gpus["present"].tolist()
    assert gone == [True, False, True, True]


def test_the_outlook_knows_what_was_announced_and_is_unknown_before():
    spot = planned.capacity([(700.0, 0, False)], nodes=1)
    spec = planned.cluster(*TWO, switch=QUICK | {"grace_s": 30.0})
    run = planned.Watched(
        spec, trace=planned.requests(720), capacity=Pairing(spot, 1, 1), stop_s=800.0
    )
    assert np.isnan(run.until(600.0).sim.cluster["pools"][0, 1]["outlook"])
    assert -1.0 < run.until(672.0).sim.cluster["pools"][0, 1]["outlook"] < -0.5


@pytest.mark.parametrize(
    "pool", [{"count": 0}, {"max_count": 3}, {"elastic": True}, {"elastic": True, "max_count": 1}]
)
def test_pools_whose_numbers_disagree_are_refused(pool):
    with pytest.raises(ValueError, match="elastic"):
        ClusterSpec.model_validate(
            {"model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 2} | pool]}
        )
