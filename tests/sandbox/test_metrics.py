"""Metrics by hand on three requests, and cases in which gaming must not pay."""

from dataclasses import replace

import numpy as np
import pytest

from sandbox.cluster import ClusterSpec
from sandbox.hardware import build_hardware
from sandbox.kernel import state
from sandbox.metrics import PENALTY, measure, unloaded_s
from sandbox.simulation import Outcome, Setup
from telemetry.trace import Trace, TraceMeta

PS = state.PS_PER_S
CLUSTER = ClusterSpec.model_validate({
    "model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 1}],
    "slo": {"ttft_s": 1.0, "tpot_s": 0.5, "e2e_s": 10.0},
})  # fmt: skip
TRACE = Trace.of(
    TraceMeta(name="three"), arrival_s=[0.0, 1.0, 2.0], prompt_tokens=[10, 20, 30],
    output_tokens=[3, 5, 4], span_s=10.0,
)  # fmt: skip
SETUP = Setup(TRACE, CLUSTER)


def outcome(first_s, finish_s, ended=state.FINISHED, until_s=8.0, behind_s=-1.0, **totals):
    n = len(first_s)
    row = np.zeros(1, state.TOTALS)
    row["integrated"], row["gpu_ps"] = until_s * PS, until_s * PS
    for name, value in totals.items():
        row[name] = value
    states = np.broadcast_to(np.asarray(ended, np.int32), n)
    finish = np.where(states == state.FINISHED, np.asarray(finish_s) * PS, -1).astype(np.int64)
    return Outcome(
        entered=(TRACE.arrival_s * PS).astype(np.int64),
        first=(np.asarray(first_s) * PS).astype(np.int64), finish=finish, state=states,
        behind=np.broadcast_to(np.asarray(behind_s) * PS, n).astype(np.int64),
        preempted=np.zeros(n, np.int32), held=np.zeros(n, np.int32), engine=np.zeros(n, np.int32),
        moved=np.zeros(n, np.int32),
        totals=row[0],
    )  # fmt: skip


def measured(what, setup=SETUP, **options):
    return measure(what, setup, build_hardware(CLUSTER), **options)


# TTFT 0.5, 1.0, 2.0; decode 1.0 over 2, 2.0 over 4, 3.0 over 3 steps; E2E 1.5, 3.0, 5.0
GOOD = outcome([0.5, 2.0, 4.0], [1.5, 4.0, 7.0])


def test_latencies_by_hand():
    found = measured(GOOD)
    assert found.latencies["ttft_s"]["mean"] == pytest.approx(3.5 / 3)
    assert found.latencies["tpot_s"]["mean"] == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    assert found.latencies["e2e_s"]["p50"] == 3.0
    assert found.objective_s == pytest.approx(9.5 / 3)


def test_goodput_by_hand():
    numbers = measured(GOOD).numbers
    assert numbers["slo_attainment"] == pytest.approx(2 / 3)
    assert numbers["goodput_rps"] == pytest.approx(2 / 10.0)
    # the third request keeps its reader waiting max(2, 5 - 3 x 0.5) - 1 = 2.5 s, 5 tokens' worth
    assert numbers["smooth_goodput"] == pytest.approx((3 + 5 + 0) / 10.0)
    assert numbers["throughput_tokens_per_s"] == pytest.approx(12 / 7.0)


def test_what_readers_wait_and_lose_by_hand():
    # as above, but that the second request stalled: its reader should have begun 2 s after entry
    stalled = outcome([0.5, 2.0, 4.0], [1.5, 4.0, 7.0], behind_s=[0.5, 2.0, 3.5])
    numbers = measured(stalled).numbers
    assert numbers["smooth_goodput"] == pytest.approx((3 + 3 + 0) / 10.0)
    assert numbers["reader_idle_mean_s"] == pytest.approx((0 + 1 + 2.5) / 3)
    assert numbers["token_deadline_attainment"] == pytest.approx(1 / 3)
    assert numbers["reader_loss_s"] == pytest.approx(3.5)
    gone = outcome([0.5, 2.0, -1], [1.5, 4.0, -1], [5, 5, state.REJECTED], behind_s=[0.5, 2.0, -1])
    # the run may last for a minute: 60 - 2 - 1 s of waiting, and four tokens at half a second
    assert measured(gone).numbers["reader_loss_s"] == pytest.approx(1.0 + 57.0 + 2.0)


def test_requests_of_the_warm_up_are_not_measured():
    found = measured(GOOD, warmup_s=1.5)
    assert found.numbers["requests"] == 1.0
    assert found.objective_s == 5.0


def test_a_lost_request_is_charged_ten_unloaded_times_and_its_age():
    lost = outcome([0.5, 2.0, -1.0], [1.5, 4.0, -1.0], [5, 5, state.REJECTED])
    alone = unloaded_s(TRACE, build_hardware(CLUSTER))[2]
    found = measured(lost)
    assert found.objective_s == pytest.approx((1.5 + 3.0 + PENALTY * alone + 6.0) / 3)
    assert (found.numbers["rejected"], found.numbers["unfinished"]) == (1.0, 0.0)


def test_what_did_not_end_is_unfinished():
    cut = outcome([0.5, 2.0, 4.0], [1.5, 4.0, -1.0], [5, 5, state.RUNNING])
    assert measured(cut).numbers["unfinished"] == 1.0


def test_dropping_a_request_never_raises_smooth_goodput():
    numbers = measured(GOOD).numbers
    for k in range(3):
        states = [state.REJECTED if j == k else state.FINISHED for j in range(3)]
        dropped = measured(outcome([0.5, 2.0, 4.0], [1.5, 4.0, 7.0], states)).numbers
        assert dropped["smooth_goodput"] <= numbers["smooth_goodput"]
        assert dropped["goodput_rps"] <= numbers["goodput_rps"]


def test_holding_tokens_back_does_not_raise_smooth_goodput():
    numbers = measured(GOOD).numbers
    late_first = outcome([1.4, 3.9, 6.9], [1.5, 4.0, 7.0])
    late_last = outcome([0.5, 2.0, 4.0], [4.5, 7.0, 10.0])
    for gamed in (late_first, late_last):
        assert measured(gamed).numbers["smooth_goodput"] <= numbers["smooth_goodput"]


def test_the_time_split_sums_to_the_total():
    numbers = measured(replace(GOOD, totals=_totals(loading_ps=3 * PS, blocked_ps=PS))).numbers
    parts = numbers["scheduling_s"] + numbers["reconfiguration_s"] + numbers["serving_s"]
    assert parts == pytest.approx(numbers["total_s"], rel=1e-15)
    assert (numbers["reconfiguration_s"], numbers["scheduling_s"]) == (3.0, 1.0)


def _totals(**values):
    return outcome([0.5, 2.0, 4.0], [1.5, 4.0, 7.0], **values).totals


def test_json_has_no_nan():
    nothing = outcome([-1.0] * 3, [-1.0] * 3, state.REJECTED)
    assert measured(nothing).to_json()["ttft_s"] == dict.fromkeys(("mean", "p50", "p95", "p99"))


def test_requests_of_the_warm_up_are_a_group_of_their_own():
    found = measured(outcome([0.5, 2.0, 4.0], [1.5, 4.0, 7.0]), warmup_s=1.5)
    assert found.watched["requests_warmup"] == 2.0
    assert found.watched["charged_warmup_s"] == pytest.approx(1.5 + 3.0)
    assert found.objective_s == pytest.approx(5.0)
    states = [state.REJECTED, state.FINISHED, state.FINISHED]
    assert measured(outcome([-1, 2, 4], [-1, 4, 7], states), warmup_s=1.5).flat()["lost_early"] == 1
