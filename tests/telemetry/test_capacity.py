"""Laws of capacity traces: kinds never mix by themselves, cuts and conversions keep every node."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.capacity import CapacityTrace, as_availability, of_counts
from telemetry.errors import CapacityError
from telemetry.trace import TraceMeta


@st.composite
def capacities(draw, kind="availability") -> CapacityTrace:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    nodes, events = draw(st.integers(1, 6)), draw(st.integers(0, 25))
    return CapacityTrace.of(
        TraceMeta(name="c"), kind, span_s=100.0, initial_up=rng.random(nodes) < 0.5,
        time_s=rng.integers(0, 101, events).astype(float), node=rng.integers(0, nodes, events),
        up=rng.random(events) < 0.5, gpus=rng.integers(1, 9, nodes))


@given(capacities())
def test_every_event_is_a_change(trace):
    state = trace.initial_up.copy()
    for node, up in zip(trace.node, trace.up, strict=True):
        assert state[node] != up
        state[node] = up


@given(capacities(), st.floats(1, 99))
def test_a_slice_sees_the_same_counts(trace, cut):
    late = trace.slice(cut, trace.span_s)
    assert (late.initial_up == trace.state_at(cut)).all()
    assert (late.state_at(late.span_s) == trace.state_at(trace.span_s)).all()


@given(capacities(), st.floats(1, 4))
def test_speeding_up_keeps_the_order_of_counts_and_says_so(trace, factor):
    faster = trace.speed_up(factor)
    assert (faster.counts()[1] == trace.counts()[1]).all()
    assert faster.span_s == pytest.approx(trace.span_s / factor)
    assert factor == 1 or "times as fast" in faster.meta.notes[-1]


@pytest.mark.parametrize("factor", [0.5, 4.01, float("nan")])
def test_capacity_never_runs_slower_or_more_than_four_times_as_fast(factor):
    trace = of_counts(TraceMeta(), "availability", [np.array([0.0])], [np.array([1])], span_s=1,
                      gap_s=0)
    with pytest.raises(CapacityError, match=r"within 1\.\.4"):
        trace.speed_up(factor)


@given(capacities(kind="demand"))
def test_headroom_and_demand_add_up_to_the_total(trace):
    spare = as_availability(trace, total=4)
    demand = np.minimum(trace.sampled(1.0), 4)
    assert (spare.sampled(1.0) + demand == 4).all()
    assert "Demand read as availability" in spare.meta.notes[-1]


@given(capacities(kind="demand"))
def test_headroom_without_a_total_is_under_the_highest_demand(trace):
    spare = as_availability(trace)
    assert (spare.sampled(1.0) + trace.sampled(1.0) == trace.nodes).all()


@given(capacities(kind="faults"))
def test_healthy_nodes_beyond_the_log_never_fail(trace):
    healthy = as_availability(trace, total=trace.nodes + 3)
    assert (healthy.sampled(1.0) == trace.sampled(1.0) + 3).all()
    assert "Fault log read as availability" in healthy.meta.notes[-1]


@given(capacities())
def test_availability_takes_no_total(trace):
    assert as_availability(trace) is trace
    with pytest.raises(CapacityError, match="leave the total out"):
        as_availability(trace, total=9)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=20).filter(any))
def test_counts_come_back_from_the_nodes_they_made(counts):
    ticks = np.arange(len(counts)) * 10.0
    trace = of_counts(TraceMeta(), "availability", [ticks], [np.array(counts)],
                      span_s=10.0 * len(counts), gap_s=10)
    assert trace.sampled(10.0).tolist() == counts


def test_a_digest_tells_kind_and_events_apart():
    series = [np.array([0.0, 5.0])], [np.array([2, 1])]
    one, other = (of_counts(TraceMeta(), kind, *series, span_s=9, gap_s=0)
                  for kind in ("availability", "demand"))
    assert one.digest() != other.digest()
    assert one.digest() != one.slice(0, 4).digest()


@pytest.mark.parametrize(("change", "message"), [
    ({"time_s": [200.0], "node": [0], "up": [False]}, "outside the window"),
    ({"time_s": [5.0], "node": [0], "up": [False], "gpus": 0}, "without a GPU"),
    ({"time_s": [], "node": [], "up": [], "span_s": 0.0}, "longer than 0"),
    ({"time_s": [], "node": [], "up": [], "kind": "hope"}, "kind 'hope' is unknown"),
])
def test_a_trace_that_breaks_a_law_is_refused(change, message):
    arguments = {"kind": "availability", "span_s": 100.0, "initial_up": [True]} | change
    with pytest.raises(CapacityError, match=message):
        CapacityTrace.of(TraceMeta(), **arguments)


def test_one_gpu_model_can_be_taken_alone():
    trace = of_counts(TraceMeta(), "demand", [np.array([0.0, 1.0])] * 2,
                      [np.array([1, 2]), np.array([3, 0])], span_s=9, gap_s=0,
                      models=["A", "B"], model=[0, 1])
    assert trace.only("A").sampled(1.0)[:2].tolist() == [1, 2]
    with pytest.raises(CapacityError, match="this trace has A, B"):
        trace.only("C")
    with pytest.raises(CapacityError, match="choose one first"):
        as_availability(trace, total=9)
