import math

import numpy as np
import pytest

from sandbox.request_spec import SloSpec
from sandbox.summary import ARRIVED, E2E_US
from serving_adapter.planning.window import MergedSums, Tally, WindowRows
from serving_adapter.request_log import RequestOutcome


def test_a_window_has_what_came_in_and_what_ended_since_the_one_before():
    tally, rows = Tally([SloSpec(ttft_s=1.0, tpot_s=0.2, e2e_s=5.0)]), WindowRows()
    rows.close(tally.sums, 0.0)
    for k in range(20):
        tally.arrived(0.5 * k, 128)
        tally.ended(RequestOutcome.OK, output_tokens=11, queue_s=0.1,
                    ttft_s=0.5 if k else 2.0, e2e_s=1.5 if k else 3.0)  # fmt: skip
    tally.ended(RequestOutcome.REJECTED)
    tally.ended(RequestOutcome.BROKEN)
    rows.close(tally.sums, 10.0)
    row = rows.window[0]["classes"][0]
    shown = {name: row[name].item() for name in row.dtype.names}
    expected = {
        "requests": 20, "rate_rps": 2.0, "prompt_mean_tokens": 128.0, "output_mean_tokens": 11.0,
        "burstiness": 0.0, "queue_mean_s": 0.1, "ttft_mean_s": 0.575, "tpot_mean_s": 0.1,
        "e2e_mean_s": 1.575, "slo_attainment": 0.95, "rejected": 1, "forecast_rps": 2.0,
        "preemptions": -1, "queued_requests": -1,
    }  # fmt: skip
    assert {name: shown[name] for name in expected} == pytest.approx(expected)
    assert math.isnan(shown["reuse"])
    assert 128.0 < shown["prompt_p95_tokens"] <= 128.0 * 2 ** (1 / 8)
    rows.close(tally.sums, 20.0)
    assert row["requests"] == 0
    assert row["forecast_rps"] == pytest.approx(0.7 * 2.0)
    assert math.isnan(row["e2e_mean_s"])
    assert rows.smooth[0] == (128.0, 11.0)


def test_engines_that_tell_nothing_of_their_kv_do_not_count_as_empty():
    rows, sums = WindowRows(), Tally().sums
    rows.close(sums, 0.0, kv_used=[math.nan, 0.5, 0.25])
    assert rows.window[0][["kv_pressure", "kv_pressure_max"]].item() == (0.375, 0.5)
    rows.close(sums, 1.0, kv_used=[math.nan])
    assert np.isnan([rows.window[0]["kv_pressure"], rows.window[0]["kv_pressure_max"]]).all()


def test_sums_of_replicas_that_come_go_and_start_again_are_added_up():
    merged = MergedSums()
    merged.take({"a": {"arrived": 5.0, "e2e_us": 1.0}, "b": {"arrived": 2.0}})
    merged.take({"a": {"arrived": 7.0, "e2e_us": 1.5}, "c": {"arrived": 1.0}})
    merged.take({"a": {"arrived": 3.0, "e2e_us": 9.0}})
    assert merged.sums[0, ARRIVED] == 5 + 2 + 2 + 1 + 3
    assert merged.sums[0, E2E_US] == 1 + 9


def test_what_replicas_report_is_shown_as_if_one_had_served_all():
    alone, replicas = Tally(), [Tally(), Tally()]
    for k in range(50):
        for tally in (alone, replicas[k % 2]):
            tally.arrived(0.1 * k, 10 * k)
            tally.ended(RequestOutcome.OK, output_tokens=k, ttft_s=0.01 * k, e2e_s=0.1 * k)
    merged, shown = MergedSums(), []
    merged.take({str(k): one.counters() for k, one in enumerate(replicas)})
    for sums in (alone.sums[:1], merged.sums):
        rows = WindowRows()
        rows.close(np.zeros_like(sums), 0.0)
        rows.close(sums, 10.0)
        shown.append(rows.window[0]["classes"][0])
    names = [name for name in shown[0].dtype.names if name != "burstiness"]
    first, second = ([row[name].tobytes() for name in names] for row in shown)
    assert first == second
    assert shown[0]["prompt_p95_tokens"] > 400
    assert math.isnan(shown[1]["burstiness"])


def test_what_a_replica_reports_is_not_believed_to_be_numbers():
    merged = MergedSums()
    merged.take({"a": {"arrived": math.nan, "rejected": -1.0, "finished": math.inf, "x": 1.0,
                       "gap_us": 4.0}})  # fmt: skip
    assert not np.any(merged.sums)
