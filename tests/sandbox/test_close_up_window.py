"""Close-ups agree with the outcomes they are made of, and say nothing but numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from evolver.library import read
from sandbox.close_up import BINS, CloseUp, End, Why
from sandbox.close_up_window import close_up_of
from sandbox.close_up_worker import (
    CloseUpFailed,
    Look,
    Shown,
    _seen,
    look_closely,
    watched_run,
)
from sandbox.cluster import load_cluster
from sandbox.engine import load_policy
from sandbox.hardware import build_hardware
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.metrics import measure
from sandbox.policies import default_text
from sandbox.scenario import Scenario, outcome_of
from sandbox.scores import Candidate
from sandbox.verifier import verify
from telemetry.generator import generate
from telemetry.profile import load_profile

TRACE = generate(load_profile("azure2023_conv"), n=400, seed=4, rate_scale=1.5)
REJECTS = '''"""Sends the longest away."""


def route(request, instances, memory):
    if request.prompt_tokens > 3000:
        return REJECT
    return instances[0].id
'''


def scenario(trace=TRACE, cluster="edge-8b"):
    return Scenario("w00", trace, load_cluster(cluster), None, 10.0, 3, "open", 10.0, trace.span_s)


def run(text, window):
    return _seen(*watched_run(window, load_policy(verify(text), engine="interpreted")))


@pytest.fixture(scope="module")
def seen():
    return run(REJECTS, scenario()), run(read("round_robin"), scenario())


@pytest.fixture(scope="module")
def window(seen):
    return close_up_of(scenario(), Why.WORST, *seen, sealed=True)


def test_looking_changes_nothing(seen):
    plain = outcome_of(scenario(), load_policy(verify(REJECTS), engine="interpreted"))
    for name in ("entered", "first", "finish", "engine", "state"):
        assert np.array_equal(getattr(plain, name), getattr(seen[0].outcome, name))


def test_numbers_agree_with_the_metrics_of_evidence(seen, window):
    place = scenario()
    for side, conduct in zip(seen, (window.candidate, window.active), strict=True):
        metrics = measure(side.outcome, place.setup, build_hardware(place.cluster), place.warmup_s)
        assert conduct.objective_s == pytest.approx(metrics.objective_s, rel=1e-5)
        assert conduct.e2e_s[16] == pytest.approx(metrics.latencies["e2e_s"]["p50"], rel=1e-5)
        assert conduct.finished == metrics.numbers["finished"]
        assert conduct.rejected == metrics.numbers["rejected"]
        assert conduct.fuel_per_decision == pytest.approx(
            metrics.numbers["fuel_per_decision"], rel=1e-5
        )
        assert sum(conduct.instance_share) == pytest.approx(1.0, abs=1e-4)


def test_the_largest_losses_come_first_and_no_row_twice(window):
    lost = [one.lost_s for one in window.losses]
    assert len(lost) == 10
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] > 0.0
    assert all(one.lost_s < 0.0 for one in window.gains)
    rows = [one.row for one in (*window.losses, *window.gains)]
    assert len(set(rows)) == len(rows)
    assert all(TRACE.arrival_s[one.row] >= 10.0 for one in window.losses)


def test_what_was_sent_away_is_told_so(window):
    ends = {one.candidate.end for one in window.losses}
    assert End.REJECTED in ends
    gone = next(one for one in window.losses if one.candidate.end is End.REJECTED)
    assert (gone.candidate.e2e_s, gone.candidate.instance) == (None, -1)
    assert gone.active.end is End.FINISHED
    assert gone.prompt_tokens > 3000


def test_what_each_instance_held_is_what_had_come_and_not_gone(seen, window):
    one, outcome = window.losses[0], seen[1].outcome
    now = outcome.entered[one.row]
    inside = (outcome.entered <= now) & (outcome.finish > now)
    assert sum(one.active.running) + sum(one.active.waiting) == inside.sum() - 1


def test_the_mean_of_the_series_is_littles_law(seen, window):
    outcome, series = seen[1].outcome, window.active.series
    start, stop = 10.0 * PS_PER_S, TRACE.span_s * PS_PER_S
    inside = np.clip(outcome.finish, start, stop) - np.clip(outcome.entered, start, stop)
    held = (np.array(series.running) + np.array(series.waiting)).mean()
    assert held == pytest.approx(inside.sum() / (stop - start), rel=1e-4)
    assert len(series.kv_use) == BINS
    assert max(series.kv_use) > 0.0
    assert set(series.instances) == {4}
    assert set(series.reconfigurations) == {0}
    assert (outcome.state == FINISHED).all()


def test_nothing_but_numbers_of_a_trace(seen):
    tenant = np.arange(len(TRACE), dtype=np.int32) % 20
    names = tuple(f"kanarienvogel{k}" for k in range(20))
    told = close_up_of(
        scenario(replace(TRACE, tenant=tenant, tenants=names)), Why.WORST, *seen, sealed=False
    )
    record = CloseUp("a" * 64, "b" * 64, (told,))
    text = json.dumps(record.document())
    assert "kanarienvogel" not in text
    assert CloseUp.from_document(json.loads(text)) == record
    assert len(told.tenants) == 17
    assert sum(one.share_of_requests for one in told.tenants) == pytest.approx(1.0, abs=1e-4)
    assert sum(one.active_share for one in told.tenants) == pytest.approx(1.0, abs=1e-4)


def test_a_window_on_which_nothing_is_measured_has_a_close_up_too():
    empty = replace(scenario(), warmup_s=TRACE.span_s + 1.0)
    both = [run(default_text(), empty)] * 2
    record = CloseUp("a" * 64, "b" * 64, (close_up_of(empty, Why.BEST, *both, sealed=False),))
    assert record.windows[0].active.objective_s is None
    assert CloseUp.from_document(json.loads(json.dumps(record.document()))) == record


def shown(text, letter):
    return Shown(Candidate(text), letter * 64)


def test_locked_down_workers_see_what_this_process_sees(seen, window):
    looks = [Look(scenario(), Why.WORST, sealed=True)]
    record = look_closely(looks, shown(REJECTS, "a"), shown(read("round_robin"), "b"))
    assert record.windows == (window,)
    with pytest.raises(CloseUpFailed, match="active policy was refused: "):
        look_closely(looks, shown(REJECTS, "a"), shown("import os", "b"))
