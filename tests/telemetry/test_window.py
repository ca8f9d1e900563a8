"""Statistics of windows on traces whose numbers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.blocks import Blocks
from telemetry.capacity import of_counts
from telemetry.trace import Trace, TraceMeta
from telemetry.window import autocorrelation, summarise


def steady(seconds: int = 1200, **columns) -> Trace:
    rows = {"prompt_tokens": np.full(seconds, 100), "output_tokens": np.full(seconds, 10)} | columns
    return Trace.of(TraceMeta(name="steady"), arrival_s=np.arange(seconds) + 0.5,
                    span_s=float(seconds), **rows)


def test_a_steady_stream_has_no_burst_and_no_drift():
    window = summarise(steady())
    assert (window.whole.cv_iat, window.dynamics.peak_to_mean) == (0.0, 1.0)
    assert window.dynamics.rate_drift == pytest.approx(1.0)
    assert window.whole.in_out_ratio == 10.0


def test_drift_is_greatest_over_smallest_sixth():
    window = summarise(steady(prompt_tokens=np.repeat([100, 300], 600)))
    assert window.dynamics.prompt_drift == pytest.approx(3.0)


def test_tenants_and_classes_get_rows_of_their_own():
    tenant = np.where(np.arange(1200) % 4 == 0, 1, 0)
    window = summarise(steady(tenant=tenant, online=tenant == 0))
    assert [row.label for row in window.rows] == ["all", "online", "offline", "t0", "t1"]
    assert [row.requests for row in window.rows] == [1200, 900, 300, 900, 300]
    assert window.structure.top_tenant_share == 0.75


def test_reuse_is_the_share_of_blocks_seen_before():
    trace = Trace.of(TraceMeta(), arrival_s=[0, 1], prompt_tokens=[64, 64], output_tokens=[1, 1],
                     blocks=Blocks.of_lists([[1, 2], [1, 3]], 32))
    assert summarise(trace).structure.reuse_share == 0.25


def test_sessions_turns_and_think_times():
    trace = Trace.of(TraceMeta(), arrival_s=[0, 1, 2], prompt_tokens=[1, 1, 1],
                     output_tokens=[1, 1, 1], session=[0, 1, 0], after=[-1, -1, 0],
                     think_s=[0, 0, 4])
    structure = summarise(trace).structure
    assert (structure.sessions, structure.turns.mean, structure.think_s.p50) == (2, 1.5, 4.0)


def test_capacity_is_weighted_by_time():
    capacity = of_counts(TraceMeta(), "availability", [np.array([0.0, 75.0])], [np.array([4, 0])],
                         span_s=100, gap_s=0)
    row = summarise(steady(), capacity).capacity
    assert (row.min, row.mean, row.max) == (0, 3.0, 4)
    assert row.losses_per_day == pytest.approx(864.0)


@given(st.lists(st.integers(0, 50), min_size=12, max_size=60), st.sampled_from([1, 5]))
def test_autocorrelation_of_a_repeating_series_is_its_period(values, lag):
    counts = np.array(values * 2)
    if counts.std() > 0:
        assert autocorrelation(counts, len(values)) == pytest.approx(1.0)
        assert autocorrelation(counts, lag) is not None


def test_a_short_window_says_what_it_does_not_know():
    moves = summarise(steady(seconds=30)).dynamics
    assert (moves.per_minute_mean, moves.peak_to_mean, moves.acf_1) == (None, None, None)


def test_an_empty_window_is_described_without_a_fault():
    empty = steady().slice(0, 5).slice(4.6, 4.9)
    window = summarise(empty)
    assert window.whole.requests == 0
    assert window.describe()


def test_a_window_is_plain_json_and_lines_for_people():
    window = summarise(steady(tenant=np.arange(1200) % 3))
    assert json.loads(json.dumps(window.to_json(), allow_nan=False))["rows"][0]["requests"] == 1200
    assert any("tenants" in line for line in window.describe())
