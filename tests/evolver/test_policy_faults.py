"""Policies of the real language that fail in a hook: the worst case on the window, and no more."""

import pytest

from evolver.evolution import Means, serving_task, start_pool
from evolver.problem import Problem
from evolver.task import Job
from sandbox.cluster import load_cluster
from sandbox.replay import LoadReport
from sandbox.scores import WORST_OBJECTIVE_S
from telemetry import generate, load_profile

ROUTE = '"""A route."""\n\n\ndef route(request, instances, memory):\n    {}\n'
GOOD = ROUTE.format("return instances[0].id")
BAD = {
    "a row that is not there": ROUTE.format("return instances[len(instances)].id"),
    "an instance that is not there": ROUTE.format("return 99"),
    "zero": ROUTE.format("return int(1.0 / (request.turn - request.turn))"),
    "too much memory": ROUTE.format(
        "for i in range(9):\n        a = zeros(4096)\n    return instances[0].id"
    ),
}


@pytest.fixture(scope="module")
def scored():
    """Each policy's results on two windows, from one batch."""
    trace = generate(load_profile("azure2023_conv"), n=200, seed=1)
    problem = Problem(trace, load_cluster("edge-8b"), LoadReport(0.8, 10.0, 8.0, 1.0))
    windows = problem.windows()
    with start_pool(windows.scenarios, Means(workers=2)) as pool:
        task = serving_task(problem, windows, pool)
        names = tuple(scenario.name for scenario in windows.training)
        jobs = [Job(task.verify(text, name), {}, names) for name, text in texts().items()]
        return dict(zip(texts(), task.evaluate(jobs), strict=True))


def texts():
    return {"good": GOOD, **BAD}


def test_a_policy_without_a_fault_keeps_its_score(scored):
    assert all(result.fault is None for result in scored["good"])
    assert all(result.objective < WORST_OBJECTIVE_S for result in scored["good"])


@pytest.mark.parametrize("name", BAD)
def test_a_policy_that_fails_in_a_hook_has_a_fault_on_every_window(scored, name):
    assert all(result.fault for result in scored[name])
