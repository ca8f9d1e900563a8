"""Workflows: calls side by side, joins, what a workflow took, and what dropping one costs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.cluster import ClusterSpec
from sandbox.engine import load_policy
from sandbox.hardware import build_hardware
from sandbox.kernel.state import FINISHED, PS_PER_S, REJECTED, WAITING_ARRIVAL
from sandbox.metrics import PENALTY, measure
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build, simulate
from sandbox.verifier import verify
from sandbox.workflows import due_s, graph_of, remaining_s, unloaded_s
from telemetry.blocks import roots
from telemetry.joins import Joins
from telemetry.trace import Trace, TraceMeta

META = TraceMeta(name="few")
CLUSTER = ClusterSpec.model_validate(
    {"model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 1}], "tick": {"monitoring_s": 1.0}}
)
MADE = build_hardware(CLUSTER)
READS = (
    '"""Least work left first."""\n\n\ndef priority(request, instance, memory):\n'
    "    return request.workflow_remaining_s + request.workflow_horizon_s\n"
)


def tree(after, think_s, joins=None, output=20, **columns):
    n = len(after)
    given = {
        "arrival_s": np.arange(n) * 0.01, "prompt_tokens": np.full(n, 100),
        "output_tokens": np.broadcast_to(output, n), "span_s": 60.0,
        "joins": Joins.of_lists(joins) if joins else None,
    }  # fmt: skip
    return Trace.of(META, after=after, think_s=think_s, **(given | columns))


# one call starts two, of which the second is long; a fourth joins on both
DIAMOND = tree(
    [-1, 0, 0, 1], [0.0, 1.0, 2.0, 0.5], [[], [], [], [2]], output=[20, 20, 400, 20]
)  # fmt: skip


def ran(setup, text=None):
    policy = load_policy(verify(text), engine="interpreted") if text else default_policy()
    return simulate(setup, policy, default_policy())


def test_a_join_comes_its_think_time_after_the_last_of_its_parents():
    outcome = ran(Setup(DIAMOND, CLUSTER))
    entered, finish = outcome.entered, outcome.finish
    assert [int(entered[k] - finish[0]) for k in (1, 2)] == [PS_PER_S, 2 * PS_PER_S]
    assert finish[2] > finish[1]
    assert entered[3] == finish[2] + PS_PER_S // 2


def test_what_a_workflow_took_is_from_its_first_entry_to_its_last_finish():
    setup = Setup(DIAMOND, CLUSTER)
    outcome = ran(setup)
    found = measure(outcome, setup, MADE)
    took_s = (outcome.finish.max() - outcome.entered[0]) / PS_PER_S
    assert found.latencies["workflow_s"]["p50"] == pytest.approx(took_s)
    assert (found.numbers["workflows"], found.numbers["workflows_finished"]) == (1.0, 1.0)


def test_a_workflow_with_a_rejected_call_goes_on_and_has_not_finished():
    text = '"""Picky."""\n\n\ndef route(request, instances, memory):\n'
    text += "    return REJECT if request.workflow_done_calls == 1 else instances[0].id\n"
    setup = Setup(DIAMOND, CLUSTER)
    outcome = ran(setup, text)
    assert outcome.state.tolist() == [FINISHED, REJECTED, FINISHED, FINISHED]
    assert measure(outcome, setup, MADE).numbers["workflows_finished"] == 0.0


def test_a_trace_in_which_no_call_waits_has_no_workflows():
    setup = Setup(tree([-1, -1], [0.0, 0.0]), CLUSTER)
    assert measure(ran(setup), setup, MADE).numbers["workflows"] == 0.0
    sim = build(setup, default_policy(), default_policy())
    assert sim.requests["workflow"].tolist() == [-1, -1]


def test_workflows_are_numbered_by_their_first_calls():
    sim = build(Setup(tree([-1, -1, 0, 1], np.zeros(4)), CLUSTER), *[default_policy()] * 2)
    assert sim.requests["workflow"].tolist() == [0, 1, 0, 1]


def test_due_and_left_by_hand():
    service = np.array([1.0, 2.0, 5.0, 4.0])
    assert due_s(DIAMOND, service, DIAMOND.think_s) == pytest.approx([0.0, 2.0, 3.0, 8.5])
    left = remaining_s(DIAMOND, graph_of(DIAMOND), service)
    assert left == pytest.approx([1 + 2 + 5 + 0.5 + 4, 2 + 0.5 + 4, 5 + 0.5 + 4, 4])


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_nothing_comes_before_what_it_waits_for_and_every_call_is_on_one_level(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    after = np.where(rng.random(n) < 0.7, rng.integers(-1, np.arange(n) + 1) - 1, -1)
    after = np.maximum(after, -1)
    root = roots(after)
    joins = [[p for p in range(r) if root[p] == root[r] and rng.random() < 0.2] for r in range(n)]
    graph = graph_of(tree(after, np.zeros(n), joins))
    level = np.full(n, -1)
    for number, rows in enumerate(graph.levels()):
        assert np.all(level[rows] == -1)
        level[rows] = number
    parents, children = graph.below(np.arange(n))
    assert np.all(level >= 0)
    assert np.all(level[parents] < level[children])


def test_predictions_of_workflows_have_the_stated_error_and_are_never_the_truth():
    n = 4000
    after = np.where(np.arange(n) % 2, np.arange(n) - 1, -1)
    trace = tree(after, (after >= 0) * 3.0, span_s=n * 1.0)
    loaded = load_policy(verify(READS), engine="interpreted")
    sim = build(Setup(trace, CLUSTER), loaded, default_policy())
    truth = remaining_s(trace, graph_of(trace), unloaded_s(trace, MADE))
    factor = sim.horizons[:, 0] / truth
    assert np.mean(factor) == pytest.approx(1.0, abs=0.04)
    assert np.std(np.log(factor)) == pytest.approx(0.5, abs=0.03)
    assert not np.any(factor == 1.0)
    assert np.all(sim.horizons[1::2, 1] == sim.horizons[::2, 0])


@pytest.mark.parametrize("change", [{"sigma": None}, {"workflow_sigma": None}, {"mode": "history"}])
def test_without_a_predictor_nothing_is_known_of_a_workflow(change):
    blind = ClusterSpec.model_validate(CLUSTER.model_dump() | {"predictor": change})
    loaded = load_policy(verify(READS), engine="interpreted")
    sim = build(Setup(DIAMOND, blind), loaded, default_policy())
    assert not sim.settings["has_horizons"][0]


def crowd(n=30):
    """Sessions of a small first call and a very large second one, too many for one engine."""
    after = np.concatenate([np.full(n, -1), np.arange(n)])
    size = np.repeat([1, 60], n)
    return tree(
        after, (after >= 0) * 1.0, arrival_s=np.concatenate([np.arange(n) * 0.1, np.full(n, 5.0)]),
        prompt_tokens=100 * size, output_tokens=20 * size, span_s=10.0,
        session=np.tile(np.arange(n), 2), turn=np.repeat([0, 1], n),
    )  # fmt: skip


STARVES = '"""Lets no session begin."""\n\n\ndef admit(request, instance, memory):\n'
STARVES += "    return request.turn > 0\n"
REFUSES = '"""Drops second calls."""\n\n\ndef route(request, instances, memory):\n'
REFUSES += "    return REJECT if request.turn > 0 else instances[0].id\n"


@pytest.mark.parametrize("text", [STARVES, REFUSES])
def test_dropping_sessions_does_not_lower_the_objective(text):
    setup = Setup(crowd(), CLUSTER, stop_s=25.0)
    served, dropped = (measure(ran(setup, t), setup, MADE) for t in (None, text))
    assert dropped.objective_s > served.objective_s
    assert dropped.numbers["slo_attainment"] <= served.numbers["slo_attainment"]


def test_calls_that_were_due_and_never_came_are_charged_since_they_were_due():
    setup = Setup(crowd(), CLUSTER, stop_s=25.0)
    outcome = ran(setup, STARVES)
    assert np.all(outcome.state[30:] == WAITING_ARRIVAL)
    found = measure(outcome, setup, MADE)
    alone = unloaded_s(setup.trace, MADE)
    due = np.arange(30) * 0.1 + alone[:30] + 1.0
    first = PENALTY * alone[:30] + 25.0 - np.arange(30) * 0.1
    never = PENALTY * alone[30:] + 25.0 - due
    assert found.numbers["never_came"] == 30.0
    assert found.objective_s == pytest.approx((first.sum() + never.sum()) / 60)


def test_calls_that_no_policy_could_have_reached_are_not_charged():
    setup = Setup(tree([-1, 0], [0.0, 40.0]), CLUSTER, stop_s=30.0)
    found = measure(ran(setup), setup, MADE)
    assert (found.numbers["never_came"], found.numbers["not_arrived"]) == (0.0, 1.0)


def test_in_backlog_mode_a_period_that_never_comes_is_charged():
    trace = tree([-1] * 4, np.zeros(4), arrival_s=[0.0, 0.5, 3.0, 5.0], span_s=6.0)
    starves = STARVES.replace("request.turn > 0", "False")
    setup = Setup(trace, CLUSTER, mode="backlog")
    assert measure(ran(setup, starves), setup, MADE).numbers["never_came"] == 2.0
