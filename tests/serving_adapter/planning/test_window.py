import math

import numpy as np
import pytest

from sandbox import contract
from sandbox.records import new_rows
from sandbox.request_spec import SloSpec
from serving_adapter.planning.window import MergedSums, Tally, WindowRows
from serving_adapter.request_log import RequestOutcome, RequestRecord


def record(outcome=RequestOutcome.OK, **fields):
    usual = {
        "arrived_unix_s": 0.0, "endpoint": "chat", "outcome": outcome, "status": 200,
        "stream": True, "prompt_tokens": 100, "output_tokens": 11, "usage": True, "tenant": 0,
        "session": -1, "attempts": 1, "instance_id": 0, "sequence": 1, "digest": "",
        "waited_s": 0.1, "ttft_s": 0.5, "e2e_s": 1.5,
    }  # fmt: skip
    return RequestRecord(**{**usual, **fields})


def first_row(rows, sums, span_s):
    window = new_rows(contract.Window, 1)
    rows.fill(window, sums, span_s)
    return window[0]["classes"][0]


def test_a_window_has_what_came_in_and_what_ended_since_the_one_before():
    tally, rows = Tally([SloSpec(ttft_s=1.0, tpot_s=0.2, e2e_s=5.0)]), WindowRows()
    first_row(rows, tally.sums, 0.0)
    for k in range(20):
        tally.arrived(0.5 * k, 128)
        tally.ended(record(ttft_s=0.5 if k else 2.0, e2e_s=1.5 if k else 3.0))
    tally.ended(record(RequestOutcome.REJECTED))
    tally.ended(record(RequestOutcome.BROKEN))
    row = first_row(rows, tally.sums, 10.0)
    shown = {name: row[name].item() for name in row.dtype.names}
    expected = {
        "requests": 20, "rate_rps": 2.0, "prompt_mean_tokens": 128.0, "output_mean_tokens": 11.0,
        "burstiness": 0.0, "queue_mean_s": 0.1, "ttft_mean_s": 0.575, "tpot_mean_s": 0.1,
        "e2e_mean_s": 1.575, "slo_attainment": 0.95, "rejected": 1, "forecast_rps": 2.0,
    }  # fmt: skip
    assert {name: shown[name] for name in expected} == pytest.approx(expected)
    assert 128.0 < shown["prompt_p95_tokens"] <= 128.0 * 2 ** (1 / 8)
    quiet = first_row(rows, tally.sums, 10.0)
    assert quiet["requests"] == 0
    assert quiet["forecast_rps"] == pytest.approx(0.7 * 2.0)
    assert math.isnan(quiet["e2e_mean_s"])
    assert rows.smooth[0].tolist() == [128.0, 11.0]


def test_sums_of_replicas_that_come_go_and_start_again_are_added_up():
    merged = MergedSums()
    merged.take({"a": {"arrived": 5.0, "e2e_s": 1.0}, "b": {"arrived": 2.0}})
    merged.take({"a": {"arrived": 7.0, "e2e_s": 1.5}, "c": {"arrived": 1.0}})
    merged.take({"a": {"arrived": 3.0, "e2e_s": 0.5}})
    tally = Tally()
    tally.sums[0, :] = merged.sums[0]
    counters = tally.counters()
    assert counters["arrived"] == 5 + 2 + 2 + 1 + 3
    assert counters["e2e_s"] == pytest.approx(2.0)


def test_what_a_replica_reports_is_not_believed_to_be_numbers():
    merged = MergedSums()
    merged.take({"a": {"arrived": math.nan, "rejected": -1.0, "finished": math.inf, "x": 1.0,
                       "gap_s": 4.0}})  # fmt: skip
    assert not np.any(merged.sums)
