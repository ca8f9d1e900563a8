"""Laws 1 to 6 of the simulator, on random small worlds with hostile policies."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_worlds as worlds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolver.library import read
from sandbox.cluster import ClusterSpec
from sandbox.engine import load_policy
from sandbox.kernel import state
from sandbox.kernel.landing import CALLED_OFF, COPYING, GOING
from sandbox.replay import default_policy
from sandbox.verifier import verify

HERE = Path(__file__).parent

POLICIES = {name: worlds.policy(name) for name in worlds.HOSTILE}
seeds = st.integers(0, 10**6)
names = st.sampled_from([*POLICIES, "default"])


def law(examples):
    """A property over worlds; the same examples every time, so that a failure is never luck."""
    return settings(
        max_examples=examples, deadline=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip


def loaded(name):
    return POLICIES.get(name) or default_policy()


@law(40)
@given(seeds, names)
def test_law_1_every_request_ends_once_and_the_counts_agree(seed, name):
    sim = worlds.run(worlds.world(seed), loaded(name))
    if sim is None:
        return
    rows, totals = sim.requests, sim.totals[0]
    ended = {kind: rows["state"] == kind for kind in (state.FINISHED, state.REJECTED)}
    assert totals["finished"] == ended[state.FINISHED].sum()
    assert totals["rejected"] == ended[state.REJECTED].sum()
    assert np.all((rows["finish"] >= 0) == (ended[state.FINISHED] | ended[state.REJECTED]))
    done = rows[ended[state.FINISHED]]
    assert np.all((done["entered"] <= done["first"]) & (done["first"] <= done["finish"]))
    assert np.all(done["done"] >= done["output"])


@law(60)
@given(seeds, names)
def test_law_1_nothing_is_left_over_when_nothing_refuses(seed, name):
    small = worlds.world(seed, capacity=None, mode="open", stop_s=3000.0)
    if name in ("starves", "flips", "curious", "holds", "deep"):
        name = "default"
    sim = worlds.run(replace(small, kv_blocks=400), loaded(name))
    sim = sim._replace(requests=sim.requests[: len(small.setup.trace)])
    assert set(sim.requests["state"]) <= {state.FINISHED, state.REJECTED}
    too_long = sim.requests["prompt"] + sim.requests["output"] > 400 * 16
    dropped = sim.settings[0]["class_drops"].astype(bool)[sim.requests["class_id"]]
    refused = (sim.requests["state"] == state.REJECTED) & ~too_long & ~dropped
    assert name == "rejects" or not np.any(refused)


@law(25)
@given(seeds, names)
def test_law_2_what_comes_later_changes_nothing_before(seed, name):
    small = worlds.world(seed, mode="open", stop_s=60.0)
    told = small.setup.cluster.predictor.workflow_sigma is not None
    trace = small.setup.trace
    cut_s = float(trace.arrival_s[len(trace) // 2])
    first = worlds.run(small, loaded(name))
    if first is None:
        return
    entered = first.requests["entered"][: len(trace)]
    # a prediction of a workflow is the truth with an error: there, only other workflows may change
    entered = entered[first.requests["root"][: len(trace)]] if told else entered
    later = (entered < 0) | (entered > round(cut_s * state.PS_PER_S))
    changed = replace(
        trace,
        prompt_tokens=np.where(later, trace.prompt_tokens + 3, trace.prompt_tokens),
        output_tokens=np.where(later, trace.output_tokens * 2, trace.output_tokens),
        online=np.where(later, ~trace.online, trace.online),
    )
    second = worlds.run(replace(small, setup=replace(small.setup, trace=changed)), loaded(name))
    assert _until(first, cut_s) == _until(second, cut_s)


def _until(sim, cut_s):
    """What had entered, begun and ended by a time."""
    if sim is None:
        return None
    cut = round(cut_s * state.PS_PER_S)
    rows = sim.requests[: sim.settings[0]["rows"]]
    return [
        [int(v) if 0 <= v <= cut else None for v in rows[name]]
        for name in ("entered", "first", "finish")
    ]


@law(15)
@given(seeds)
def test_law_2_capacity_that_changes_later_changes_nothing_before(seed):
    small = worlds.world(seed, mode="open", stop_s=60.0)
    pairing = worlds.random_capacity(np.random.default_rng(seed), small.setup.cluster)
    cut_s = 6.0
    grace_s = small.setup.cluster.switch.grace_s
    early = pairing.trace.time_s <= cut_s + grace_s
    fewer = replace(
        pairing.trace, time_s=pairing.trace.time_s[early], node=pairing.trace.node[early],
        up=pairing.trace.up[early], unannounced=pairing.trace.unannounced[early],
    )  # fmt: skip
    both = [
        worlds.run(
            replace(small, setup=replace(small.setup, capacity=replace(pairing, trace=t))),
            loaded("curious"),
        )
        for t in (pairing.trace, fewer)
    ]
    assert _until(both[0], cut_s) == _until(both[1], cut_s)


def test_law_2_no_record_shows_a_true_output_length():
    small = worlds.world(5, mode="open")
    marked = replace(small.setup.trace, output_tokens=np.full(len(small.setup.trace), 97))
    plain = ClusterSpec.model_validate(small.setup.cluster.model_dump() | {"predictor": {}})
    setup = replace(small.setup, trace=marked, cluster=plain)
    for sim in worlds.stepped(replace(small, setup=setup), loaded("curious")):
        for row in (*sim.request_row, *sim.router_rows[:, 0]):
            assert 97 not in [row[name].item() for name in row.dtype.names if "output" in name]


def test_law_2_without_a_predictor_output_lengths_that_are_not_reached_decide_nothing():
    small = worlds.world(11, mode="open", stop_s=3.0)
    cluster = small.setup.cluster.model_copy(
        update={"predictor": small.setup.cluster.predictor.model_copy(update={"sigma": None})}
    )
    long = [
        replace(small.setup.trace, output_tokens=np.full(len(small.setup.trace), tokens))
        for tokens in (700, 900)
    ]
    small = replace(small, kv_blocks=400)
    first, second = (
        worlds.run(
            replace(small, setup=replace(small.setup, trace=t, cluster=cluster)), loaded("curious")
        )
        for t in long
    )
    assert worlds.fate(first) == worlds.fate(second)


def held_blocks(sim, i):
    """KV blocks that moves have reserved on an instance, and that it keeps for others."""
    rows = sim.requests
    moving = (rows["move_to"] == i) & np.isin(rows["move_phase"], (COPYING, GOING, CALLED_OFF))
    kept = rows["source"] == i
    assert sim.instances["kept"][i] == kept.sum()
    return rows["reserved"][moving].sum()


def broken_invariant(sim):
    """Name of the first of law 3's invariants that does not hold, None when all do."""
    alive = np.flatnonzero(sim.instances["state"] != state.UNUSED)
    used = np.zeros(len(sim.instances), np.int64)
    running = sim.requests[sim.requests["state"] == state.RUNNING]
    np.add.at(used, running["instance"], 1)
    for i in alive:
        inst = sim.instances[i]
        if not 0 <= inst["blocks_used"] <= inst["blocks_total"]:
            return "KV blocks in use lie within the capacity"
        if inst["running"] != used[i] or inst["running"] > inst["max_seqs"]:
            return "the batch has its requests, and no more than max_num_seqs"
        counted = inst["class_running"].sum()
        if counted != (running["online"] & (running["instance"] == i)).sum():
            return "online requests in the batch are counted by class"
        if inst["decoding"] + inst["filling"] + inst["landing"] != inst["running"]:
            return "a running request prefills, decodes or waits for its KV"
        if inst["running"] + inst["incoming"] > inst["max_seqs"]:
            return "seats are not promised twice"
        if inst["blocks_used"] < held_blocks(sim, i):
            return "what requests hold, have reserved or left there is in use"
        if inst["bins"].sum() != inst["decoding"] or inst["blocks_cached"] < 0:
            return "every decoding request is counted once"
        if not 0 <= inst["swap_used"] <= sim.shapes["swap_blocks"][inst["shape"]]:
            return "swap space is not exceeded"
        waiting = sim.requests[
            (sim.requests["state"] == state.QUEUED) & (sim.requests["instance"] == i)
        ]
        if inst["swap_used"] != waiting["swapped"].sum():
            return "swap space holds what waiting requests have there"
        carried = sim.gpus["instance"][inst["gpu"][: inst["gpus"]]]
        if not np.all(carried == i) or (sim.gpus["instance"] == i).sum() != inst["gpus"]:
            return "an instance has exactly its own GPUs"
    carrying = sim.gpus["instance"] >= 0
    if np.any(carrying & ~sim.gpus["present"]):
        return "a GPU that is gone carries nothing"
    for p, pool in enumerate(sim.pools):
        mine = sim.gpus["pool"] == p
        if pool["present"] != (mine & sim.gpus["present"]).sum():
            return "a pool counts the GPUs that are there"
        if pool["free"] != (mine & sim.gpus["present"] & ~carrying).sum():
            return "a pool counts its free GPUs"
        if pool["arriving"] != (mine & sim.gpus["coming"]).sum() or pool["arriving"] < 0:
            return "a pool counts the GPUs that it ordered"
        if pool["present"] + pool["arriving"] > pool["most"]:
            return "a pool holds no more than it may"
    reading = sim.instances["state"] == state.STARTING
    reading &= sim.instances["source"] == state.STORAGE
    reading &= sim.instances["load_end"] != state.NEVER
    if sim.totals["storage_users"][0] != reading.sum():
        return "storage serves exactly the engines that load from it"
    return None


@law(25)
@given(seeds, st.sampled_from(["curious", "flips", "buys", "moves", "default", "twists"]))
def test_law_3_kv_and_gpu_capacity_hold_after_every_event(seed, name):
    for sim in worlds.stepped(worlds.world(seed, stop_s=30.0), loaded(name)):
        assert broken_invariant(sim) is None


@law(15)
@given(seeds)
def test_law_3_an_empty_instance_has_given_every_block_back(seed):
    for sim in worlds.stepped(worlds.world(seed, stop_s=30.0), default_policy()):
        idle = (sim.instances["state"] == state.ACTIVE) & (sim.instances["running"] == 0)
        idle &= (sim.instances["kept"] == 0) & (sim.instances["incoming"] == 0)
        assert not sim.instances["blocks_used"][idle].any()
        assert not sim.instances["context"][idle].any()


ALIKE = """
import small_worlds as w
p = {n: w.policy(n) for n in ("curious", "moves", "deep")}
for s in range(5, 17): print(repr(w.fate(w.run(w.world(s), p[list(p)[s % 3]]))))
"""


def test_law_4_the_same_twice_and_in_another_process():
    def ours():
        few = ("curious", "moves", "deep")
        return [
            repr(worlds.fate(worlds.run(worlds.world(s), loaded(few[s % 3])))) for s in range(5, 17)
        ]

    mine = ours()
    assert mine == ours()
    code = f"import sys; sys.path.insert(0, {str(HERE)!r})" + ALIKE
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == mine


@pytest.mark.parametrize(
    "name", ["least_predicted_completion", "shortest_predicted_first", "threshold_trigger"]
)
def test_law_5_both_engines_lead_the_simulator_the_same_way(name):
    source = verify(read(name), name)
    compiled, interpreted = (load_policy(source, engine=e) for e in ("compiled", "interpreted"))
    for seed in (1, 2, 3):
        small = worlds.world(seed)
        assert worlds.fate(worlds.run(small, compiled)) == worlds.fate(
            worlds.run(small, interpreted)
        )


def one_step_at_a_time(small):
    return replace(small, setup=replace(small.setup, macro=False))


@law(60)
@given(seeds, names)
def test_law_6_macro_steps_equal_the_reference(seed, name):
    small = worlds.world(seed)
    reference = worlds.run(one_step_at_a_time(small), loaded(name))
    assert worlds.fate(worlds.run(small, loaded(name))) == worlds.fate(reference)


@law(20)
@given(seeds)
def test_law_6_for_a_policy_that_looks_at_every_number(seed):
    small = worlds.world(seed)
    curious = worlds.policy("curious", "compiled")
    reference = worlds.run(one_step_at_a_time(small), curious)
    assert worlds.fate(worlds.run(small, curious)) == worlds.fate(reference)
