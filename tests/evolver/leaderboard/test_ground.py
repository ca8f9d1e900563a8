"""A scenario becomes a problem: load, deadlines, capacity and the baseline's own cluster."""

import numpy as np
import pytest
from small_scenario import scenario

from evolver.errors import ExperimentRefused

LOSSES = {
    "drawn": {"nodes": 1, "stay_s": 20.0, "away_s": 5.0},
    "node": "A100:1",
    "notice": False,
    "why": "made up for a test",
}


def test_the_load_is_of_what_the_baselines_cluster_serves():
    plain = scenario().problem(0)
    faster = scenario(
        cluster={"pool": [{"gpu": "H100", "count": 4}]},
        baseline={"cluster": {"pool": [{"gpu": "A100", "count": 2}]}},
    ).problem(0)
    assert plain.load.load == 0.7
    assert faster.load.offered_rps == pytest.approx(plain.load.offered_rps)
    assert faster.cluster.pool[0].gpu == "H100"


def test_a_rate_is_laid_on_as_it_is():
    assert scenario(load=None, rate_rps=3.0).problem(0).trace.rate_rps == pytest.approx(3.0)


def test_a_deadline_is_a_class_with_times_of_what_its_workflows_take_alone():
    flow = {"stages": {"median": 4}}
    part = {"tenant": "agents", "deadline_times": 2.0, "drawn.workflow": flow}
    long = scenario(load=None, rate_rps=1.0, traffic={"0": part}).problem(0)
    part = {"tenant": "agents", "deadline_times": 2.0}
    short = scenario(load=None, rate_rps=1.0, traffic={"0": part}).problem(0)
    due = [problem.cluster.classes[0].deadline_s for problem in (long, short)]
    assert due[0] == pytest.approx(4 * due[1], rel=0.2)
    assert long.cluster.classes[0].tenants == ("agents",)


def test_drawn_losses_come_and_go_for_as_long_as_requests_may_last():
    problem = scenario(capacity=LOSSES, load=None, rate_rps=2.0).problem(0)
    course = problem.capacity.trace
    assert course.span_s >= 2.0 * problem.trace.span_s
    assert list(course.up[:2]) == [False, True]
    away = np.diff(course.time_s)[::2]
    assert away.mean() == pytest.approx(5.0, rel=0.6)
    assert problem.capacity.notice is False


def test_losses_without_end_are_refused():
    flicker = {**LOSSES, "drawn": {"nodes": 1, "stay_s": 1e-9, "away_s": 1e-9}}
    with pytest.raises(ExperimentRefused, match="too often"):
        scenario(capacity=flicker, load=None, rate_rps=2.0).problem(0)


def test_a_wrong_cluster_is_refused_with_the_place():
    with pytest.raises(ExperimentRefused, match=r"wrong at engine\.max_num_seq"):
        scenario(cluster={"engine": {"max_num_seq": 4}}).problem(0)
