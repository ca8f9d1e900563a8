"""Migration of running requests: what it takes, what it refuses, and drains that move instead."""

from dataclasses import replace

import numpy as np
import pytest

from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from sandbox.engine import load_policy
from sandbox.hardware import build_hardware
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.metrics import measure
from sandbox.replay import default_policy
from sandbox.simulation import Setup, simulate
from sandbox.verifier import verify
from telemetry.capacity import CapacityTrace
from telemetry.trace import Trace, TraceMeta

META = TraceMeta(name="few")
ONCE = '''"""Moves everything that has not moved yet to another engine."""


def migrate(running, instances, moves, memory):
    for row in running:
        for inst in instances:
            if inst.id != row.instance and row.moved_count == 0:
                add_move(moves, row, inst.id)
'''


def cluster(count=2, **parts):
    pool = {"gpu": "H100", "count": count, "node_size": 1}
    tick = {"monitoring_s": 1.0, "migration_s": 0.25}
    return ClusterSpec.model_validate(
        {"model": "Llama-3.1-8B", "pool": [pool], "tick": tick} | parts
    )


def trace(n=1, gap_s=0.0, prompt=1000, output=400):
    return Trace.of(
        META, arrival_s=np.arange(n) * gap_s, prompt_tokens=np.full(n, prompt),
        output_tokens=np.full(n, output), span_s=10.0,
    )  # fmt: skip


def ran(requests, spec, text=ONCE, **more):
    policy = load_policy(verify(text), engine="interpreted") if text else default_policy()
    return simulate(Setup(requests, spec, debug=True, **more), policy, default_policy())


def test_a_move_costs_its_stall_and_not_its_copy():
    """Stalled for the latency and for what was generated while the copy went on."""
    network = {"bytes_per_s": 1e9, "latency_s": 0.02}
    stays, moves = (ran(trace(), cluster(network=network), text) for text in (None, ONCE))
    assert moves.totals["migrations"] == 1
    assert moves.moved[0] == 1
    per_token_s = float(build_hardware(cluster()).shapes["kv_bytes"][0]) / 1e9
    stall_s = float(moves.totals["transfer_ps"]) / PS_PER_S
    copied = round((float(moves.totals["kv_moved"]) / 1e9) / per_token_s)
    late = round((stall_s - 0.02) / per_token_s)
    assert 10 <= late <= 60
    assert copied > 1000 + late
    cost_s = (moves.finish[0] - stays.finish[0]) / PS_PER_S
    assert stall_s <= cost_s + 1e-6 <= stall_s + 0.03


def test_what_ends_while_it_is_copied_frees_what_was_reserved():
    network = {"bytes_per_s": 5e7, "latency_s": 0.0}
    outcome = ran(trace(output=60), cluster(network=network))
    assert outcome.state[0] == FINISHED
    assert outcome.totals["migrations"] == 0
    assert outcome.totals["kv_moved"] > 0


def test_moves_that_cannot_be_done_are_counted_and_do_nothing():
    nowhere = ONCE.replace("inst.id != row.instance and row.moved_count == 0", "True")
    outcome = ran(trace(), cluster(1), nowhere)
    assert outcome.totals["moves_refused"] >= 5
    assert outcome.totals["faults"] == 0
    assert outcome.totals["migrations"] == 0


def test_moves_to_nobody_are_faults():
    outcome = ran(trace(), cluster(), ONCE.replace("row, inst.id)", "row, 1000 + inst.id)"))
    assert outcome.totals["faults"] >= 5
    assert outcome.totals["migrations"] == 0


def test_nothing_moves_where_there_is_no_seat():
    outcome = ran(trace(2, 0.1), cluster(engine={"max_num_seqs": 1}), stop_s=1.5)
    assert outcome.totals["moves_refused"] > 0
    assert outcome.totals["migrations"] == 0


def test_all_candidates_get_their_turn():
    """Each tick shows as many as there is room for; 600 running requests all move within a few."""
    engine = {"max_num_seqs": 700, "max_num_batched_tokens": 8192}
    requests = trace(600, prompt=20, output=600)
    outcome = ran(requests, cluster(2, engine=engine, switch={"move_running": False}), WHO)
    assert outcome.totals["faults"] == 0
    assert np.count_nonzero(outcome.moved) > 256


WHO = ONCE.replace("row.moved_count == 0", "row.moved_count == 0 and len(running) > 250")
LOSS = CapacityTrace.of(
    META, "availability", span_s=60.0, initial_up=np.array([True, True]),
    time_s=np.array([2.0]), node=np.array([0]), up=np.array([False]),
)  # fmt: skip


@pytest.mark.parametrize("moving", [False, True])
def test_a_gpu_that_goes_costs_a_stall_or_a_prefill(moving):
    switch = {"move_running": moving, "grace_s": 1.0}
    setup = {"capacity": Pairing(LOSS, 0, 1)}
    requests = trace(4, output=600)
    outcome = ran(requests, cluster(switch=switch), None, **setup)
    assert np.all(outcome.state == FINISHED)
    assert (outcome.totals["recomputed"] == 0) == moving
    assert (outcome.totals["migrations"] > 0) == moving
    assert (outcome.preempted.sum() == 0) == moving


def test_moving_beats_computing_again():
    requests, capacity = trace(8, output=600, prompt=6000), Pairing(LOSS, 0, 1)
    means = []
    for moving in (True, False):
        spec = cluster(switch={"move_running": moving, "grace_s": 1.0})
        setup = Setup(requests, spec, capacity)
        outcome = simulate(setup, default_policy(), default_policy())
        numbers = measure(outcome, setup, build_hardware(spec))
        means.append(numbers.latencies["e2e_s"]["mean"])
    assert means[0] < means[1]


def test_macro_steps_change_nothing():
    setup = Setup(trace(30, 0.02), cluster(3))
    policy = load_policy(verify(ONCE), engine="interpreted")
    both = [
        simulate(replace(setup, macro=macro), policy, default_policy()).finish.tolist()
        for macro in (True, False)
    ]
    assert both[0] == both[1]
