"""Regimes: what is near, what is far, and what numbers from a store may be."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolver.exercised import exercised_hooks
from evolver.regimes import AXES, UNKNOWN, distance, regime_in, regime_of
from evolver.veterans import FAR
from sandbox.cluster import load_cluster
from telemetry import generate, load_profile, summarise

CLUSTER = load_cluster("edge-8b")
REGIMES = st.dictionaries(
    st.sampled_from(sorted(AXES)), st.floats(0.0, 1e6, allow_nan=False), max_size=6
)

BUSY = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def regime(profile="azure2023_conv", seed=0, cluster=CLUSTER, rate=1.0, **more):
    trace = generate(load_profile(profile), span_s=300.0, seed=seed)
    most = trace.rate_rps / 0.8
    trace = trace.scale_rate(rate)
    hooks = exercised_hooks(trace, cluster, replans=False)
    return regime_of(trace, summarise(trace), cluster, hooks, capacity_rps=most, **more)


def test_the_same_traffic_is_nearer_than_half_of_it_and_that_nearer_than_another():
    here = regime()
    again, half, other = regime(seed=1), regime(rate=0.5), regime("azure2023_code")
    assert distance(here, again) < 1.0 < distance(here, half) < FAR < distance(here, other)


def test_every_number_has_an_axis_and_the_whole_is_read_back():
    here = regime()
    assert set(here) <= set(AXES)
    assert regime_in(dict(here)) == here


def test_a_load_that_nobody_measured_is_missing_and_counts_as_a_unit():
    there = {name: value for name, value in regime().items() if name != "load"}
    assert distance(regime(), there) == UNKNOWN
    assert distance(there, there) == 0.0


def test_a_larger_fleet_and_a_makespan_are_other_regimes():
    assert distance(regime(), regime(cluster=load_cluster("h100-8b"))) > 1.0
    assert distance(regime(), regime(backlog=True)) == pytest.approx(2.0)


@BUSY
@given(REGIMES, REGIMES)
def test_distance_is_symmetric_and_finite(one, other):
    assert distance(one, one) == 0.0
    assert distance(one, other) == distance(other, one) < float("inf")


@BUSY
@given(st.recursive(st.sampled_from([None, True, 10**400]) | st.text() | st.floats(), st.lists))
def test_a_store_may_hold_anything_in_place_of_a_regime(value):
    assert regime_in(value) is None
    assert regime_in({"load": 0.5, "gpus": value, "strange": 1.0})["load"] == 0.5
