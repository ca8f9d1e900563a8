"""Prefill and decode apart: where time goes between them, links, what goes with an engine."""

from dataclasses import replace

import numpy as np
import pytest

from sandbox import contract
from sandbox.cluster import ClusterError, ClusterSpec, load_cluster, parse_cluster
from sandbox.engine import load_policy
from sandbox.hardware import build_hardware
from sandbox.kernel import state
from sandbox.kernel.program import Program
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.metrics import measure
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build, simulate
from sandbox.verifier import verify
from telemetry.trace import Trace, TraceMeta

META = TraceMeta(name="few")
PAIR = [{"pool": 0, "tp": 1, "role": "prefill"}, {"pool": 0, "tp": 1, "role": "decode"}]


def cluster(count=2, node_size=1, replica=PAIR, **parts):
    pool = {"gpu": "H100", "count": count, "node_size": node_size}
    text = {"model": "Llama-3.1-8B", "pool": [pool], "replica": replica}
    return ClusterSpec.model_validate(text | {"tick": {"monitoring_s": 1.0}} | parts)


def trace(n=1, gap_s=0.0, prompt=1000, output=10):
    return Trace.of(
        META, arrival_s=np.arange(n) * gap_s, prompt_tokens=np.full(n, prompt),
        output_tokens=np.full(n, output), span_s=10.0,
    )  # fmt: skip


def ran(requests, spec, text=None):
    policy = load_policy(verify(text), engine="interpreted") if text else default_policy()
    return simulate(Setup(requests, spec, debug=True), policy, default_policy())


def moved_ps(spec, tokens=1000):
    """Latency, and the bytes of the tokens' KV over the network of the receiving GPU."""
    made = build_hardware(spec)
    rate = float(made.pools["network"][0])
    return round(spec.network.latency_s * PS_PER_S) + int(
        float(made.shapes["kv_bytes"][0]) * tokens / rate * PS_PER_S
    )


def decode_ps(spec, first, steps):
    made = build_hardware(spec)
    base = int(made.shapes["step_overhead"][0] + made.step_batch[0, 1])
    return sum(base + int(made.step_context[0, 1]) * (first + k) for k in range(steps))


def test_between_first_and_second_token_stand_dispatch_and_transfer():
    spec = cluster(price={"fuel_ns": 1e-6})
    outcome = ran(trace(), spec)
    made = build_hardware(spec)
    whole = int(outcome.finish[0] - outcome.first[0])
    dispatch = int(made.shapes["request_overhead"][0])
    assert whole == dispatch + moved_ps(spec) + decode_ps(spec, 1001, 9)
    assert outcome.totals["transfer_ps"] == moved_ps(spec)
    assert outcome.totals["kv_moved"] == 1000 * made.shapes["kv_bytes"][0]


def test_the_first_token_is_out_where_the_prompt_was_computed():
    mixed = [{"pool": 0, "tp": 1, "count": 2}]
    free = {"fuel_ns": 1e-6}
    apart, together = (ran(trace(), cluster(replica=r, price=free)) for r in (PAIR, mixed))
    assert apart.first[0] == together.first[0]
    assert apart.finish[0] > together.finish[0]


def test_a_one_token_answer_is_never_handed_over():
    outcome = ran(trace(output=1), cluster())
    assert outcome.state[0] == FINISHED
    assert outcome.totals["transfers"] == 0


def test_within_a_node_kv_takes_the_link_of_the_gpus():
    near, far = (ran(trace(), cluster(node_size=size)) for size in (2, 1))
    made = build_hardware(cluster())
    saved = 1000 * float(made.shapes["kv_bytes"][0]) * (
        1 / float(made.pools["network"][0]) - 1 / float(made.pools["link"][0])
    )  # fmt: skip
    assert far.finish[0] - near.finish[0] == pytest.approx(saved * PS_PER_S, abs=2)


def test_a_stated_rate_and_latency_make_a_transfer():
    outcome = ran(trace(), cluster(network={"bytes_per_s": 1e8, "latency_s": 0.25}))
    moved_s = 1000 * float(build_hardware(cluster()).shapes["kv_bytes"][0]) / 1e8
    assert outcome.totals["transfer_ps"] / PS_PER_S == pytest.approx(0.25 + moved_s)


def test_between_zones_the_slower_rate_and_its_latency_count():
    pools = [{"gpu": "H100", "count": 1, "zone": zone} for zone in (0, 1)]
    apart = [PAIR[0], {**PAIR[1], "pool": 1}]
    network = {"zone_bytes_per_s": 2e8, "zone_latency_s": 0.1}
    outcome = ran(trace(), cluster(replica=apart, pool=pools, network=network))
    moved_s = 1000 * float(build_hardware(cluster()).shapes["kv_bytes"][0]) / 2e8
    assert outcome.totals["transfer_ps"] / PS_PER_S == pytest.approx(0.1 + moved_s)


def test_two_transfers_to_one_engine_wait_for_each_other():
    slow = {"bytes_per_s": 1e8, "latency_s": 0.0}
    spec = cluster(count=3, replica=[{**PAIR[0], "count": 2}, PAIR[1]], network=slow)
    alone = moved_ps(spec)
    both = ran(trace(2), spec).totals["transfer_ps"]
    assert both == pytest.approx(3 * alone, rel=0.02)


def test_kv_stays_at_the_source_until_it_has_landed_and_not_longer():
    spec = cluster(network={"bytes_per_s": 1e7})
    program = Program(build(Setup(trace(), spec), default_policy(), default_policy()))
    assert program.start()
    seen = set()
    while program.run(1):
        rows = program.sim.instances
        source = rows[rows["role"] == contract.PREFILL][0]
        target = rows[rows["role"] == contract.DECODE][0]
        if source["running"] == 0:
            seen.add((int(source["kept"]), int(source["blocks_used"]), int(target["landing"])))
    assert seen == {(0, 0, 0), (1, 63, 0), (1, 63, 1)}


HOLDS = '''"""Never says where to decode."""


def route_decode(request, instances, memory):
    return HOLD
'''


def test_held_hand_overs_go_to_the_default_after_their_limit():
    outcome = ran(trace(), cluster(), HOLDS)
    assert outcome.state[0] == FINISHED
    assert (outcome.finish[0] - outcome.first[0]) / PS_PER_S > 5.0
    assert outcome.held[0] > 90


def test_kv_that_nobody_fetches_is_dropped_and_computed_again():
    patient = {"monitoring_s": 1.0, "max_hold_s": 3.0}
    outcome = ran(trace(), cluster(tick=patient, network={"keep_s": 1.5}), HOLDS)
    assert outcome.preempted[0] >= 1
    assert outcome.totals["recomputed"] >= 1000
    assert outcome.state[0] == FINISHED


def test_an_answer_out_of_range_is_a_fault_and_the_default_decides():
    wrong = HOLDS.replace("return HOLD", "return 12345")
    outcome = ran(trace(3), cluster(), wrong)
    assert outcome.totals["faults"] == 3
    assert np.all(outcome.state == FINISHED)


def test_route_decode_sees_transfer_times_and_route_sees_handoffs():
    looks = '''"""Looks."""


def route(request, instances, memory):
    return instances[0].id if instances[0].handoff_s > 0.0 else REJECT


def route_decode(request, instances, memory):
    for inst in instances:
        if inst.role == PREFILL or inst.transfer_s <= 0.0 or request.done_tokens != 1:
            return 777
    return instances[0].id
'''
    outcome = ran(trace(4, 0.1), cluster(), looks)
    assert outcome.totals["faults"] == 0
    assert np.all(outcome.state == FINISHED)


def test_what_waits_for_its_kv_is_no_prompt_work():
    spec = cluster(engine={"max_num_seqs": 1})
    program = Program(build(Setup(trace(4), spec), default_policy(), default_policy()))
    assert program.start()
    most = 0
    while program.run(1):
        rows = program.sim.instances
        target = rows[rows["role"] == contract.DECODE]
        most = max(most, int(target["waiting"].max(initial=0)))
        assert not target["waiting_prompt"].any()
    assert most >= 2


def test_plans_need_roles_that_serve():
    for role in ("prefill", "decode"):
        with pytest.raises(ClusterError, match=role):
            parse_cluster(
                'model = "Llama-3.1-8B"\n[[pool]]\ngpu = "H100"\ncount = 1\n'
                f'[[replica]]\npool = 0\ntp = 1\nrole = "{role}"\n'
            )


def test_the_shipped_disaggregated_cluster_serves():
    spec = load_cluster("h100-8b-pd")
    setup = Setup(trace(50, 0.05), spec)
    outcome = simulate(setup, default_policy(), default_policy())
    numbers = measure(outcome, setup, build_hardware(spec)).numbers
    assert numbers["finished"] == 50
    assert numbers["kv_moved_bytes"] > 0
    assert 0 < numbers["transfer_s"] < 0.1


def test_engines_that_decode_are_lost_but_not_the_prompt():
    """The source keeps the KV while it is under way, so nothing is computed again."""
    spec = cluster(
        count=3, replica=[PAIR[0], {**PAIR[1], "count": 2}], network={"bytes_per_s": 1e8}
    )
    program = Program(build(Setup(trace(), spec), default_policy(), default_policy()))
    assert program.start()
    while not program.sim.requests["landing"].any():
        program.run(1)
    first = int(program.sim.requests["instance"][0])
    gone = program.sim.instances[first]["gpu"][0]
    events = np.zeros(1, state.CAPACITY_EVENT)
    events[0] = (int(program.sim.totals["now"][0]) + 1000, gone, state.DOWN, 0)
    again = Program(
        build(Setup(trace(), spec), default_policy(), default_policy())._replace(capacity=events)
    )
    assert again.start()
    while again.run(1000):
        pass
    row = again.sim.requests[0]
    assert row["state"] == FINISHED
    assert row["instance"] != first
    assert row["preempted"] == 0
    assert again.sim.totals["transfers"][0] == 1


def test_a_lost_source_means_computing_again():
    spec = cluster(
        count=3, replica=[{**PAIR[0], "count": 2}, PAIR[1]], network={"bytes_per_s": 1e8}
    )
    sim = build(Setup(trace(), spec), default_policy(), default_policy())
    program = Program(sim)
    assert program.start()
    while not program.sim.requests["landing"].any():
        program.run(1)
    source = int(program.sim.requests["source"][0])
    events = np.zeros(1, state.CAPACITY_EVENT)
    events[0] = (
        int(program.sim.totals["now"][0]) + 1000, program.sim.instances[source]["gpu"][0],
        state.DOWN, 0,
    )  # fmt: skip
    again = Program(
        build(Setup(trace(), spec), default_policy(), default_policy())._replace(capacity=events)
    )
    assert again.start()
    while again.run(1000):
        pass
    row = again.sim.requests[0]
    assert row["state"] == FINISHED
    assert row["preempted"] == 1
    assert again.sim.totals["recomputed"][0] == 1000


def test_macro_steps_change_nothing():
    setup = Setup(trace(40, 0.01, prompt=700, output=120), cluster(4, replica=[
        {**PAIR[0], "count": 2}, {**PAIR[1], "count": 2},
    ]))  # fmt: skip
    both = [
        simulate(replace(setup, macro=macro), default_policy(), default_policy()).finish.tolist()
        for macro in (True, False)
    ]
    assert both[0] == both[1]
