"""Windows of a trace: split by time, the probe and the variants out of training alone."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from evolver.rungs import rungs_of
from sandbox.capacity import Pairing
from sandbox.cluster import load_cluster
from sandbox.probe import probe_of
from sandbox.replay import at_load
from sandbox.simulation import Setup, SimulationError
from sandbox.windows import split_windows
from telemetry.capacity import CapacityTrace
from telemetry.generator import generate
from telemetry.profile import load_profile
from telemetry.trace import TraceMeta

CLUSTER = load_cluster("edge-8b")


@pytest.fixture(scope="module")
def trace():
    drawn = generate(load_profile("azure2023_conv"), n=8000, seed=2)
    return at_load(drawn, CLUSTER, 0.6)[0]


@pytest.fixture(scope="module")
def windows(trace):
    return split_windows(trace, CLUSTER)


def test_at_least_eight_windows_are_sealed_and_all_are_in_order(windows):
    assert len(windows.sealed) >= 8
    assert [w.name for w in windows.all] == sorted(w.name for w in windows.all)
    shares = np.array([len(windows.training), len(windows.validation), len(windows.sealed)])
    assert np.allclose(shares / shares.sum(), [0.4, 0.2, 0.4], atol=0.05)


def test_measured_parts_never_overlap_and_warm_ups_come_just_before(windows):
    for before, after in pairwise(windows.all):
        assert before.stop_s <= after.start_s + 1e-9
    for window in windows.all:
        assert window.trace.span_s == pytest.approx(
            window.stop_s - window.start_s + window.warmup_s
        )


def test_every_request_after_the_first_warm_up_is_measured_once(trace, windows):
    measured = sum(int((w.trace.arrival_s >= w.warmup_s).sum()) for w in windows.all)
    assert measured == int((trace.arrival_s >= windows.all[0].start_s).sum())


def test_capacity_is_cut_with_its_window(trace):
    ups = CapacityTrace.of(
        TraceMeta(name="c"), "availability", span_s=trace.span_s, initial_up=[True] * 3,
        time_s=[trace.span_s / 2], node=[0], up=[False],
    )  # fmt: skip
    cut = split_windows(trace, CLUSTER, Pairing(ups, 1, 1))
    assert cut.all[0].capacity.trace.initial_up.all()
    assert not cut.all[-1].capacity.trace.initial_up[0]


def test_a_trace_that_is_too_short_is_refused(trace):
    with pytest.raises(SimulationError, match="longer trace"):
        split_windows(trace.slice(0.0, 2.0), CLUSTER)


def losing(trace, times):
    """Three nodes, one of which is lost and found again."""
    return Pairing(
        CapacityTrace.of(
            TraceMeta(name="c"), "availability", span_s=trace.span_s, initial_up=[True] * 3,
            time_s=times, node=[0] * len(times), up=[k % 2 == 1 for k in range(len(times))],
        ), 1, 1,
    )  # fmt: skip


def test_too_few_sealed_windows_are_told_before_a_search_is_paid_for(trace, windows):
    assert windows.can_prove
    assert windows.notes == ()
    short = split_windows(trace.slice(0.0, 0.4 * trace.span_s), CLUSTER)
    assert not short.can_prove
    assert "fewer than 8 prove nothing" in short.notes[-1]
    assert "--span-s" in short.notes[-1]


def test_nothing_of_the_probe_or_a_variant_comes_after_training(trace, windows):
    cut = split_windows(trace, CLUSTER, losing(trace, [100.0, 150.0, trace.span_s - 1.0]))
    for found in (windows, cut):
        searched = [found.probe, *found.training, *found.variants]
        upto_s = found.training[-1].stop_s + 1e-6
        assert all(0.0 <= s.start_s < s.stop_s <= upto_s for s in searched)
    ends = [s.start_s - s.warmup_s + s.capacity.trace.span_s for s in (cut.probe, *cut.training)]
    assert max(ends) <= cut.training[-1].stop_s + 1e-6


def test_what_follows_training_changes_no_probe(trace, windows):
    upto_s = windows.training[-1].stop_s
    later = np.where(trace.arrival_s < upto_s, trace.output_tokens, 2 * trace.output_tokens)
    found = probe_of(Setup(replace(trace, output_tokens=later), CLUSTER), upto_s)
    assert found.trace.digest() == windows.probe.trace.digest()


def test_the_probe_is_small_and_lies_about_a_change_of_capacity(trace, windows):
    assert 100 <= len(windows.probe.trace) <= 400
    assert windows.probe.interpreted
    found = split_windows(trace, CLUSTER, losing(trace, [100.0, 150.0])).probe
    assert found.start_s < 150.0
    assert (found.capacity.trace.time_s < found.trace.span_s).any()


def test_the_probe_has_the_longest_prompt_and_the_longest_answer(trace, windows):
    searched = trace.slice(0.0, windows.training[-1].stop_s)
    assert windows.probe.trace.prompt_tokens.max() == searched.prompt_tokens.max()
    assert windows.probe.trace.output_tokens.max() == searched.output_tokens.max()


def test_a_probe_begins_where_a_plan_fits(trace):
    alone = CLUSTER.model_copy(update={"pool": (CLUSTER.pool[0],)})
    course = CapacityTrace.of(
        TraceMeta(name="c"), "availability", span_s=trace.span_s, initial_up=[True],
        time_s=[300.0, 301.0, 600.0], node=[0, 0, 0], up=[False, True, False],
    )  # fmt: skip
    whole = Setup(trace, alone, Pairing(course, 0, 1))
    assert probe_of(whole, 650.0).capacity.trace.initial_up.all()


def test_rungs_cover_training_once_and_begin_with_the_typical_load(windows):
    probe, *rungs = rungs_of(windows)
    assert (probe.windows, probe.counts) == (("probe",), False)
    covered = [name for rung in rungs for name in rung.windows]
    assert sorted(covered) == sorted(window.name for window in windows.training)
    assert [len(rung.windows) for rung in rungs[:2]] == [1, 2]
