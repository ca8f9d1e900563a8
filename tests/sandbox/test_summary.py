"""The summariser: bins, what adds up, what is told, and one answer from both of its engines."""

import ctypes
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import contract, summary, summary_forecast, summary_window
from sandbox.cluster import load_cluster
from sandbox.kernel.jit import ENTRIES
from sandbox.kernel.program import Program
from sandbox.kernel.state import PS_PER_S
from sandbox.records import new_rows
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build
from sandbox.summary import BINS, FIRST_LENGTHS, LOWER_EDGES, WIDTH
from telemetry.trace import Trace, TraceMeta

SLO = (0.5, 0.05, 9.0)
LENGTHS = st.integers(1, 2**20 - 1)
TIMES = st.one_of(st.just(math.nan), st.floats(0.0, 100.0))
ENDS = st.tuples(
    st.integers(1, 2), st.integers(-1, 9000), st.integers(-1, 9000), st.integers(-1, 3000),
    TIMES, TIMES, st.floats(0.0, 200.0),
)  # fmt: skip


def new_sums(classes=3):
    return [[0] * WIDTH for _ in range(classes)]


def closed(sums, before=None, span_s=10.0):
    """Class 0 of the window between two readings."""
    window = new_rows(contract.Window, 1)[0]
    before = before or [0] * WIDTH
    outlook = summary_forecast.new_row()
    summary_window.fill_class(window["classes"][0], sums[0], before, outlook, span_s, span_s)
    return window["classes"][0]


@given(LENGTHS)
def test_a_length_is_between_the_edges_of_its_bin(tokens):
    k = summary.length_bin(tokens)
    assert 2**k <= tokens**8 < 2 ** (k + 1)
    assert LOWER_EDGES[k] <= tokens < LOWER_EDGES[k + 1]


@pytest.mark.parametrize(("tokens", "place"), [(-1, 0), (0, 0), (1, 0), (2, 8), (2**40, BINS - 1)])
def test_lengths_beyond_the_bins_are_in_the_outermost(tokens, place):
    assert summary.length_bin(tokens) == place
    assert len(FIRST_LENGTHS) == len(LOWER_EDGES) == BINS + 1


@given(st.lists(LENGTHS, min_size=1, max_size=200))
def test_p95_is_less_than_one_bin_above_the_true_quantile(lengths):
    sums, latest_s = new_sums(), [math.nan] * 3
    for k, tokens in enumerate(lengths):
        summary.count_arrival(sums, latest_s, 1, float(k), tokens)
    true = float(np.percentile(lengths, 95, method="inverted_cdf"))
    assert true < closed(sums)["prompt_p95_tokens"] <= true * 2 ** (1 / 8) * (1 + 1e-12)


@given(st.lists(st.tuples(st.integers(0, 2), ENDS), max_size=60))
def test_what_several_processes_counted_adds_up_to_what_one_would_have(ends):
    alone, parts = new_sums(), [new_sums() for _ in range(3)]
    for process, end in ends:
        summary.count_finished(alone, *end, *SLO)
        summary.count_finished(parts[process], *end, *SLO)
        summary.count_arrival(alone, [math.nan] * 3, end[0], 1.0, end[1])
        summary.count_arrival(parts[process], [math.nan] * 3, end[0], 1.0, end[1])
    together = np.array(parts[2]) + np.array(parts[0]) + np.array(parts[1])
    assert together.tolist() == alone


@given(st.lists(ENDS, min_size=1, max_size=60))
def test_means_are_over_what_is_known_and_to_the_microsecond(ends):
    sums = new_sums()
    for end in ends:
        summary.count_finished(sums, *end, *SLO)
    row = closed(sums)
    ttft_s = [end[5] for end in ends if end[5] == end[5]]
    assert row["ttft_mean_s"] == pytest.approx(np.mean(ttft_s) if ttft_s else math.nan,
                                               abs=1e-6, nan_ok=True)  # fmt: skip
    known = [(p, min(c, p)) for _, p, c, *_ in ends if p > 0 and c >= 0]
    reuse = sum(c for _, c in known) / sum(p for p, _ in known) if known else math.nan
    assert row["reuse"] == pytest.approx(reuse, nan_ok=True)


@given(st.lists(st.floats(0.0, 5000.0), min_size=3, max_size=50))
def test_burstiness_is_that_of_the_gaps(at_s):
    at_s = sorted(at_s)
    sums, latest_s = new_sums(), [math.nan] * 3
    for one in at_s:
        summary.count_arrival(sums, latest_s, 1, one, 10)
    gaps = np.minimum(np.round(np.diff(at_s) * 1e6), 2**31 - 1)
    expected = gaps.std() / gaps.mean() if gaps.mean() > 0 else math.nan
    assert closed(sums)["burstiness"] == pytest.approx(expected, rel=1e-6, abs=1e-4, nan_ok=True)


def test_a_window_is_the_difference_of_two_readings_whatever_came_before():
    sums, latest_s = new_sums(), [0.0] * 3
    for k in range(1, 40):
        summary.count_arrival(sums, latest_s, 1, float(k), 10 * k)
        if k == 29:
            before = sums[0][:]
    row = closed(sums, before)
    assert (row["requests"], row["rate_rps"], row["burstiness"]) == (10, 1.0, 0.0)
    assert row["prompt_mean_tokens"] == 345.0


def told(rates, span_s=10.0):
    """What was forecast after each window, with its error."""
    row = summary_forecast.new_row()
    return [
        summary_forecast.look_ahead(row, (k + 1) * span_s, span_s, rate * span_s)
        for k, rate in enumerate(rates)
    ], row


def test_smoothing_is_told_until_a_season_has_done_better():
    hour = [8 if 120 <= k < 180 else 1 for k in range(360)]
    forecasts, row = told(hour * 3)
    first, last = forecasts[360 + 118], forecasts[720 + 119]
    assert first[0] == pytest.approx(1.0, abs=0.1)
    assert last == (8.0, 0.0)  # the season knows what comes next
    assert len(row) == summary_forecast.WIDTH


def test_a_day_is_remembered_where_hours_differ():
    day = [1 + (k // 60) for k in range(1440)]
    forecasts, _ = told(day * 2, span_s=60.0)
    wrong = [forecasts[k][0] != (day * 2)[k + 1] for k in range(1440, 2879)]
    assert sum(wrong) < 1440 // 5


def test_errors_are_relative_to_the_mean_rate_and_missing_where_nothing_can_be_said():
    forecasts, _ = told([4])
    assert forecasts[0][0] == 4.0
    assert math.isnan(forecasts[0][1])
    forecasts, _ = told([4, 2])
    assert forecasts[1] == (pytest.approx(3.4), pytest.approx(1.0))
    row = summary_forecast.new_row()
    assert all(map(math.isnan, summary_forecast.look_ahead(row, 0.0, 0.0, 5)))
    noisy = np.random.default_rng(0).poisson(100, 2000) / 10
    forecasts, _ = told(noisy.tolist())
    assert np.mean([error for _, error in forecasts[50:]]) == pytest.approx(0.088, rel=0.1)


def test_compiled_and_called_as_they_stand_windows_have_the_same_bits():
    """Whatever the sums: the kernel's own window is closed over random ones, time and again."""
    rng = np.random.default_rng(0)
    load = Trace.of(TraceMeta(name="one"), arrival_s=[0.0], prompt_tokens=[1], output_tokens=[1],
                    span_s=1.0)  # fmt: skip
    program = Program(build(Setup(load, load_cluster("edge-8b")), *[default_policy()] * 2))
    sim, now_s = program.sim, 0
    native = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)
    close = native(int(sim.links[ENTRIES.index("fill_window")]))
    outlooks = [summary_forecast.new_row() for _ in sim.sums]
    for _ in range(150):
        before = sim.sums.tolist()
        seen = rng.random(sim.sums.shape) < rng.choice([0.05, 0.5, 1.0])
        sim.sums[:] += seen * rng.integers(0, 2 ** rng.integers(1, 40), sim.sums.shape)
        span_s = int(rng.integers(0, 300))
        now_s += span_s
        program._call(close, now_s * PS_PER_S)
        for c, outlook in enumerate(outlooks):
            row = new_rows(contract.ClassRow, 1)
            row["class_id"] = c
            now = sim.sums[c].tolist()
            summary_window.fill_class(row[0], now, before[c], outlook, float(now_s), float(span_s))
            assert sim.window[0]["classes"][c].tobytes() == row.tobytes()
    assert np.array_equal(sim.outlook, np.array(outlooks), equal_nan=True)
