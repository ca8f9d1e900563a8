"""What one simulation does, on cases small enough to reason about."""

from dataclasses import replace

import numpy as np
import pytest

from sandbox.cluster import ClusterSpec
from sandbox.engine import load_policy
from sandbox.hardware import build_hardware
from sandbox.kernel.program import Program
from sandbox.kernel.state import FINISHED, PS_PER_S, REJECTED, WAITING_ARRIVAL
from sandbox.metrics import measure
from sandbox.replay import default_policy
from sandbox.simulation import Setup, SimulationError, build, simulate
from sandbox.verifier import verify
from telemetry.blocks import Blocks
from telemetry.trace import Trace, TraceMeta

CLUSTER = ClusterSpec.model_validate(
    {"model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 2}], "tick": {"monitoring_s": 1.0}}
)
META = TraceMeta(name="few")


def trace(n=6, gap_s=0.1, prompt=100, output=10, **columns):
    given = {
        "arrival_s": np.arange(n) * gap_s, "prompt_tokens": np.full(n, prompt),
        "output_tokens": np.full(n, output), "span_s": max(n * gap_s, 1.0),
    }  # fmt: skip
    return Trace.of(META, **(given | columns))


def ran(setup, text=None):
    policy = load_policy(verify(text), engine="interpreted") if text else default_policy()
    return simulate(setup, policy, default_policy())


def test_one_request_takes_its_prefill_and_its_decode_steps():
    outcome = ran(Setup(trace(1), CLUSTER))
    made = build_hardware(CLUSTER)
    shape = made.shapes[0]
    rest = int(outcome.finish[0] - outcome.first[0])
    steps = [
        int(shape["step_overhead"] + made.step_batch[0, 1] + made.step_context[0, 1] * (101 + k))
        for k in range(9)
    ]
    assert rest == sum(steps)


def test_a_prompt_is_computed_in_chunks_of_the_budget():
    engine = CLUSTER.engine.model_copy(update={"max_num_batched_tokens": 64})
    small = CLUSTER.model_copy(update={"engine": engine})
    one, many = (ran(Setup(trace(1, prompt=640), c)).totals["steps"] for c in (CLUSTER, small))
    assert many - one == 9


def test_a_cached_prefix_is_not_computed_again():
    blocks = Blocks(np.array([0, 6, 12]), np.tile(np.arange(6), 2), 16)
    shared = trace(2, gap_s=5.0, blocks=blocks)
    single = CLUSTER.model_copy(update={"pool": (CLUSTER.pool[0].model_copy(update={"count": 1}),)})
    outcome = ran(Setup(shared, single))
    assert outcome.totals["cached_tokens"] == 96
    assert outcome.first[1] - outcome.entered[1] < outcome.first[0] - outcome.entered[0]


def test_a_prompt_no_engine_can_hold_is_rejected():
    assert ran(Setup(trace(1, prompt=200_000), CLUSTER)).state[0] == REJECTED


def test_a_child_comes_its_think_time_after_its_parent():
    chain = trace(2, after=[-1, 0], think_s=[0.0, 3.0], session=[0, 0], turn=[0, 1])
    outcome = ran(Setup(chain, CLUSTER, stop_s=60.0))
    assert outcome.entered[1] - outcome.finish[0] == 3 * PS_PER_S


def test_a_child_of_what_never_ends_does_not_arrive():
    chain = trace(2, after=[-1, 0])
    outcome = ran(Setup(chain, CLUSTER, stop_s=0.01))
    assert outcome.state[1] == WAITING_ARRIVAL
    assert (
        measure(outcome, Setup(chain, CLUSTER), build_hardware(CLUSTER)).numbers["not_arrived"] == 1
    )


def test_backlog_releases_an_interval_when_the_one_before_is_done():
    outcome = ran(Setup(trace(40, output=400), CLUSTER, mode="backlog"))
    period = np.arange(40) // 10
    for k in range(1, 4):
        assert outcome.entered[period == k].min() >= outcome.finish[period == k - 1].max()
        assert np.ptp(outcome.entered[period == k]) == 0


@pytest.mark.parametrize("mode", ["open", "backlog"])
def test_the_time_split_sums_to_the_makespan(mode):
    setup = Setup(trace(40), CLUSTER, mode=mode)
    outcome = ran(setup)
    numbers = measure(outcome, setup, build_hardware(CLUSTER)).numbers
    parts = numbers["scheduling_s"] + numbers["reconfiguration_s"] + numbers["serving_s"]
    assert parts == pytest.approx(numbers["total_s"], rel=1e-15)
    assert numbers["total_s"] == outcome.finish.max() / PS_PER_S


def test_fuel_is_time():
    busy = '"""Thinks."""\n\n\ndef route(request, instances, memory):\n    total = 0\n'
    busy += "    for k in range(1000):\n        total += k\n    return instances[total % 2].id\n"
    slow = CLUSTER.model_copy(update={"price": CLUSTER.price.model_copy(update={"fuel_ns": 1e4})})
    quick, late = (ran(Setup(trace(), c), busy) for c in (CLUSTER, slow))
    assert late.totals["fuel"] == quick.totals["fuel"] > 0
    assert np.all(late.first > quick.first)


def test_held_requests_go_to_the_default_after_their_limit():
    holds = '"""Holds."""\n\n\ndef route(request, instances, memory):\n    return HOLD\n'
    outcome = ran(Setup(trace(3), CLUSTER, stop_s=60.0), holds)
    waited_s = (outcome.first - outcome.entered) / PS_PER_S
    limit_s = CLUSTER.tick.max_hold_s
    assert np.all((waited_s >= limit_s) & (waited_s < limit_s + 0.2))
    assert np.all(outcome.held >= 90)


def test_a_faulty_decision_is_counted_and_the_default_decides():
    wrong = '"""Nobody there."""\n\n\ndef route(request, instances, memory):\n    return 12345\n'
    outcome = ran(Setup(trace(), CLUSTER), wrong)
    assert outcome.totals["faults"] == 6
    assert np.all(outcome.state == FINISHED)


def test_predictions_and_seeds_of_a_request_do_not_hang_on_later_ones():
    rows = [
        build(Setup(t, CLUSTER, seed=7), default_policy(), default_policy()).requests
        for t in (trace(6), trace(3))
    ]
    for name in ("predicted", "seed"):
        assert rows[0][name][:3].tolist() == rows[1][name].tolist()


def test_without_a_predictor_nothing_is_predicted():
    blind = CLUSTER.model_copy(
        update={"predictor": CLUSTER.predictor.model_copy(update={"sigma": None})}
    )
    sim = build(Setup(trace(), blind), default_policy(), default_policy())
    assert np.all(np.isnan(sim.requests["predicted"]))


def test_what_cannot_start_says_what_to_do():
    with pytest.raises(SimulationError, match="--until"):
        ran(Setup(trace(), CLUSTER, stop_s=1e9))
    tight = [{"pool": 0, "tp": 2, "count": 2}]
    with pytest.raises(SimulationError, match="more GPUs"):
        ran(Setup(trace(), ClusterSpec.model_validate(CLUSTER.model_dump() | {"replica": tight})))


def test_macro_steps_leave_nothing_to_the_reference():
    setup = Setup(trace(40, gap_s=0.01, output=300), CLUSTER)
    quick, slow = ran(setup), ran(replace(setup, macro=False))
    assert quick.finish.tolist() == slow.finish.tolist()


def test_a_router_counts_what_it_sent_and_has_not_arrived_yet():
    cluster = ClusterSpec.model_validate(
        {
            "model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 3}],
            "router": {"count": 1, "signal_age_s": 0.0},
        }
    )  # fmt: skip
    trace = Trace.of(
        TraceMeta(name="burst"), arrival_s=np.arange(3) * 0.001, prompt_tokens=[400] * 3,
        output_tokens=[50] * 3,
    )  # fmt: skip
    outcome = simulate(Setup(trace, cluster), default_policy(), default_policy())
    assert np.bincount(outcome.engine).tolist() == [1, 1, 1]


@pytest.mark.parametrize(("reserve", "preempted"), [(True, 0), (False, 1)])
def test_long_prompts_do_not_throw_each_other_out_when_all_of_one_must_fit(reserve, preempted):
    cluster = ClusterSpec.model_validate(
        {
            "model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 1}],
            "engine": {"scheduler_reserve_full_isl": reserve},
        }
    )  # fmt: skip
    trace = Trace.of(
        TraceMeta(name="two"), arrival_s=[0.0, 0.001], prompt_tokens=[10_000, 10_000],
        output_tokens=[10, 10],
    )  # fmt: skip
    sim = build(Setup(trace, cluster), default_policy(), default_policy())
    shapes = sim.shapes.copy()
    shapes["kv_tokens"], shapes["kv_blocks"] = 16_000, 1000
    program = Program(sim._replace(shapes=shapes))
    program.start()
    while program.run(10_000):
        pass
    assert min(int(program.sim.totals["preemptions"][0]), 1) == preempted
    assert (program.sim.requests["state"] == FINISHED).all()


def test_what_a_hook_of_the_engine_spends_lengthens_its_next_step():
    cluster = ClusterSpec.model_validate(
        {
            "model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 1}],
            "price": {"fuel_ns": 1000.0},
        }
    )  # fmt: skip
    trace = Trace.of(
        TraceMeta(name="one"), arrival_s=[0.0], prompt_tokens=[100], output_tokens=[2]
    )
    ordered = load_policy(
        verify(
            '"""Oldest first."""\n\n\ndef priority(request, instance, memory):\n'
            "    return -request.age_s\n",
            "oldest",
        ),
        engine="interpreted",
    )
    plain, busy = (simulate(Setup(trace, cluster), p, default_policy()) for p in (
        default_policy(), ordered
    ))  # fmt: skip
    fuel = int(busy.totals["fuel"]) - int(plain.totals["fuel"])
    assert fuel > 0
    assert busy.first[0] - plain.first[0] == fuel * 1000 * 1000
    assert busy.finish[0] - busy.first[0] == plain.finish[0] - plain.first[0]
