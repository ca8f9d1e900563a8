"""Variants: requests are conserved, arrivals stay sorted, lengths stay within what came."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.capacity import Pairing
from sandbox.cluster import load_cluster
from sandbox.scenario import Scenario
from sandbox.variants import (
    deeper,
    doubts_of,
    longer,
    moved,
    second_seeds,
    shifted,
    variants_of,
)
from telemetry.capacity import CapacityTrace
from telemetry.generator import generate
from telemetry.profile import load_profile
from telemetry.trace import Trace, TraceMeta

CLUSTER = load_cluster("edge-8b")
COURSE = CapacityTrace.of(
    TraceMeta(name="c"), "availability", span_s=60.0, initial_up=[True] * 3,
    time_s=[20.0, 30.0, 45.0], node=[0, 0, 1], up=[False, True, False],
)  # fmt: skip


def window(name, trace, capacity=None):
    return Scenario(name, trace, CLUSTER, capacity, 5.0, 7, "open", 5.0, trace.span_s)


@pytest.fixture(scope="module")
def windows():
    trace = generate(load_profile("azure2023_conv"), span_s=60.0, seed=1, rate_scale=0.3)
    return [window(f"w{k:02d}", trace) for k in range(6)]


def requests(trace):
    columns = (trace.prompt_tokens, trace.output_tokens, trace.tenant, trace.session, trace.turn)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def test_every_window_has_two_variants_and_every_kind_comes_up(windows):
    found = variants_of(windows)
    assert [variant.unit for variant in found] == [w.name for w in windows for _ in range(2)]
    assert len({variant.name.partition("+")[2] for variant in found}) == 7
    assert {variant.seed for variant in found} == {7}


def test_variants_keep_every_request_or_every_arrival(windows):
    for variant in variants_of(windows):
        trace, original = variant.trace, windows[0].trace
        assert np.all(np.diff(trace.arrival_s) >= 0.0)
        assert trace.arrival_s[-1] <= trace.span_s
        if requests(trace) != requests(original):
            assert np.array_equal(trace.arrival_s, original.arrival_s)
            assert requests(trace) > requests(original)


def test_the_same_windows_have_the_same_variants(windows):
    digests = [[v.trace.digest() for v in variants_of(windows)] for _ in range(2)]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 7


@st.composite
def traces(draw):
    n = draw(st.integers(2, 30))
    gaps = draw(st.lists(st.floats(0.0, 5.0), min_size=n, max_size=n))
    tokens = st.lists(st.integers(1, 5000), min_size=n, max_size=n)
    after = [draw(st.integers(-1, row - 1)) if row % 3 == 0 else -1 for row in range(n)]
    return Trace.of(
        TraceMeta(), arrival_s=np.cumsum(gaps), prompt_tokens=draw(tokens),
        output_tokens=draw(tokens), after=after, tenant=[row % 3 for row in range(n)],
    )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(traces(), st.sampled_from(("prompt_tokens", "output_tokens")))
def test_law_no_request_grows_beyond_the_longest_that_came(trace, column):
    grown, before = longer(trace, column), getattr(trace, column)
    other = trace.prompt_tokens + trace.output_tokens - before
    assert np.all(grown >= before)
    assert grown.max() == before.max()
    assert (grown + other).max() == (before + other).max()


@settings(max_examples=50, deadline=None)
@given(traces(), st.floats(0.1, 3.0))
def test_law_another_clock_moves_requests_and_loses_none(trace, power):
    span_s = max(trace.span_s, 1e-3)
    bent = moved(trace, lambda time_s: span_s * (np.minimum(time_s / span_s, 1.0)) ** power)
    assert len(bent) == len(trace)
    assert sorted(bent.prompt_tokens.tolist()) == sorted(trace.prompt_tokens.tolist())
    assert np.all(np.diff(bent.arrival_s) >= 0.0)
    assert (bent.after >= 0).sum() == (trace.after >= 0).sum()


@pytest.mark.parametrize("by_s", [-100.0, -6.0, 6.0, 100.0])
def test_shifted_capacity_keeps_its_events(by_s):
    course = shifted(COURSE, by_s)
    assert sorted(zip(course.node, course.up, strict=True)) == sorted(
        zip(COURSE.node, COURSE.up, strict=True)
    )
    assert np.array_equal(course.state_at(60.0), COURSE.state_at(60.0))


def test_deeper_losses_take_another_node_and_leave_the_last():
    course = deeper(COURSE, 0.0)
    assert [course.state_at(t).sum() for t in (0.0, 25.0, 35.0, 50.0)] == [3, 1, 3, 1]


def test_capacity_is_varied_where_it_changes(windows):
    paired = [replace(w, capacity=Pairing(COURSE, 1, 1)) for w in windows]
    kinds = {variant.name.partition("+")[2] for variant in variants_of(paired)}
    assert {"earlier", "later", "deeper"} <= kinds
    calm = replace(COURSE, time_s=[], node=[], up=[], unannounced=[])
    calm = [replace(w, capacity=Pairing(calm, 1, 1)) for w in windows]
    assert all(v.capacity.trace is calm[0].capacity.trace for v in variants_of(calm))


def test_a_second_seed_is_drawn_where_chance_has_a_part(windows):
    (again,) = second_seeds(windows[:1])
    assert (again.unit, again.trace) == (windows[0].name, windows[0].trace)
    assert again.seed != windows[0].seed
    exact = CLUSTER.model_copy(
        update={"predictor": CLUSTER.predictor.model_copy(update={"mode": "none"})}
    )
    assert second_seeds([replace(windows[0], cluster=exact)]) == ()


def test_a_few_windows_are_also_tried_with_worse_lengths_and_without(windows):
    doubts = doubts_of(windows)
    kinds = {one.name.partition("+")[2]: one.cluster.predictor for one in doubts}
    assert [one.unit for one in doubts] == ["w00", "w00", "w02", "w02", "w04", "w04"]
    assert kinds["lengths twice as wrong"].error_factor == 2.0
    assert kinds["no lengths"].mode == "none"
    none = CLUSTER.predictor.model_copy(update={"mode": "none"})
    blind = CLUSTER.model_copy(update={"predictor": none})
    assert doubts_of([replace(window, cluster=blind) for window in windows]) == ()
