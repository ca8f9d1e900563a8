"""The engine's models, each against numbers worked out by hand from its tables."""

import numpy as np
import pytest

from sandbox.cluster import ClusterError, ClusterSpec, parse_cluster
from sandbox.engine import load_policy
from sandbox.hardware import build_hardware, kv_capacity_tokens
from sandbox.kernel.program import Program
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.profiles import load_profile
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build, simulate
from sandbox.step_tables import tokens_per_step
from sandbox.verifier import verify
from telemetry.trace import Trace, TraceMeta

META = TraceMeta(name="few")


def cluster(gpus=1, **parts):
    pool = [{"gpu": "H100", "count": gpus}]
    tick = {"monitoring_s": 100.0, "control_s": 0.05}
    return ClusterSpec.model_validate(
        {"model": "Llama-3.1-8B", "pool": pool, "tick": tick, "router": {"count": 1}} | parts
    )


def trace(prompts, outputs, at=0.0, online=True):
    n = len(prompts)
    return Trace.of(
        META, arrival_s=np.full(n, at), prompt_tokens=np.array(prompts),
        output_tokens=np.array(outputs), online=np.full(n, online), span_s=30.0,
    )  # fmt: skip


def ran(given, spec, text=None):
    policy = load_policy(verify(text), engine="interpreted") if text else default_policy()
    return simulate(Setup(given, spec), policy, default_policy())


def decode_ps(outcome, r=0):
    return int(outcome.finish[r] - outcome.first[r])


def squeezed(given, spec, blocks, text=None):
    """The rows after a run with a KV cache of that many blocks."""
    policy = load_policy(verify(text), engine="interpreted") if text else default_policy()
    sim = build(Setup(given, spec), policy, default_policy())
    shapes = sim.shapes.copy()
    shapes["kv_blocks"], shapes["kv_tokens"] = blocks, blocks * 16
    program = Program(sim._replace(shapes=shapes))
    program.start()
    while program.run(1000):
        pass
    return program.sim


def test_the_newest_goes_first_when_blocks_run_out():
    sim = squeezed(trace([320, 320], [200, 200]), cluster(), 50)
    assert sim.requests["preempted"].tolist() == [0, 1]
    assert set(sim.requests["state"]) == {FINISHED}


def test_with_priorities_the_highest_value_goes_first():
    text = '"""Short answers last."""\n\n\ndef priority(request, instance, memory):\n'
    text += "    return 1.0 if request.prompt_tokens == 321 else 0.0\n"
    sim = squeezed(trace([321, 320], [200, 200]), cluster(), 50, text)
    assert sim.requests["preempted"].tolist() == [1, 0]


def test_who_comes_later_stays_when_its_priority_is_better():
    text = '"""Long prompts first."""\n\n\ndef priority(request, instance, memory):\n'
    text += "    return 0.0 - request.prompt_tokens\n"
    engine = {"max_num_batched_tokens": 512}
    given = trace([320, 1760], [300, 200])
    given = Trace.of(META, arrival_s=np.array([0.0, 0.3]), prompt_tokens=given.prompt_tokens,
                     output_tokens=given.output_tokens, span_s=30.0)  # fmt: skip
    sim = squeezed(given, cluster(engine=engine), 140, text)
    assert sim.requests["preempted"].tolist() == [1, 0]
    assert squeezed(given, cluster(engine=engine), 140).requests["preempted"].tolist() == [0, 1]


def test_swapped_kv_comes_back_and_costs_its_copies():
    slow, fast = (
        squeezed(trace([320, 320], [200, 200]), cluster(engine=engine), 50)
        for engine in ({}, {"preemption": "swap"})
    )
    assert (slow.totals["swaps"][0], fast.totals["swaps"][0]) == (0, 1)
    assert slow.totals["prompt_tokens"][0] > fast.totals["prompt_tokens"][0] == 640
    block_ps = int(16 * 131072 / 64e9 * PS_PER_S)
    assert fast.shapes["swap_block"][0] == block_ps


def test_without_swap_space_the_victim_is_recomputed():
    engine = {"preemption": "swap", "swap_space_bytes": 1e6}
    sim = squeezed(trace([320, 320], [200, 200]), cluster(engine=engine), 50)
    assert (sim.totals["swaps"][0], sim.totals["preemptions"][0]) == (0, 1)


def test_a_pipeline_decodes_its_share_of_the_batch_at_a_time():
    spec = cluster(2, replica=[{"pool": 0, "tp": 1, "pp": 2}])
    made = build_hardware(spec)
    row = int(np.flatnonzero(made.shapes["pp"] == 2)[0])
    one = int(np.flatnonzero((made.shapes["pp"] == 1) & (made.shapes["tp"] == 1))[0])
    assert made.step_batch[row, 7] == made.step_batch[one, 4] + 2 * 50_000_000
    assert made.step_context[row, 7] == made.step_context[one, 4] // 2
    assert made.step_context[row, 1] == made.step_context[one, 1]


def test_stages_share_the_weights_and_leave_more_room_for_kv():
    profile = load_profile("H100", "Llama-3.1-8B", 1)
    freed = profile.weight_bytes // profile.kv_bytes_per_token
    assert kv_capacity_tokens(profile, 1) == profile.kv_capacity_tokens
    gained = kv_capacity_tokens(profile, 2) - 2 * profile.kv_capacity_tokens
    assert abs(gained - freed) <= 1


def test_a_pipeline_computes_chunks_at_the_same_time():
    engine = {"max_num_batched_tokens": 512, "pipeline_hop_s": 0.0}
    given = trace([4096], [2])
    plain = ran(given, cluster(engine=engine))
    piped = ran(given, cluster(2, engine=engine, replica=[{"pool": 0, "tp": 1, "pp": 2}]))
    assert (plain.totals["steps"], piped.totals["steps"]) == (8 + 1, 4 + 1)


def test_speculation_shares_one_verification_among_the_tokens_it_yields():
    part = {"depth": 3, "max_depth": 3, "acceptance": 0.8, "draft_share": 0.0}
    spec = cluster(speculation=part)
    made = build_hardware(spec)
    tau = 1 + 0.8 + 0.64 + 0.512
    assert tokens_per_step(3, 0.8) == pytest.approx(tau)
    verify_ps = made.shapes["step_overhead"][0] + made.step_tokens[0, 4] + made.step_mixed[0, 1]
    assert made.spec_batch[2, 1] == int(verify_ps / tau)
    steps = [made.spec_batch[2, 1] + made.spec_context[2, 1] * (101 + k) for k in range(9)]
    assert decode_ps(ran(trace([100], [10]), spec)) == sum(map(int, steps))


def test_offloaded_experts_are_brought_in_and_drafts_hide_what_they_foresee():
    drafts = {"depth": 2, "max_depth": 2, "acceptance": 0.8, "draft_share": 0.0}
    lacking = cluster(speculation=drafts, offload={"fetch_s": 0.1, "new_share": 0.5, "hit": 0.75})
    whole, made = build_hardware(cluster(speculation=drafts)), build_hardware(lacking)
    assert made.step_batch[0, 1] - whole.step_batch[0, 1] == 0.1 * PS_PER_S
    assert made.step_mixed[0, 1] - whole.step_mixed[0, 1] == 0.1 * PS_PER_S
    # 0.1 (1 + 2 * 0.5) s to bring in, three quarters of it while the verification goes on
    assert made.spec_batch[1, 1] == pytest.approx(0.2 * PS_PER_S / tokens_per_step(2, 0.8))


def test_fine_tuning_stretches_steps_and_counts_its_share():
    spec = cluster(finetune={"share": 0.2, "kv_share": 0.0})
    plain, shared = ran(trace([100], [50]), cluster()), ran(trace([100], [50]), spec)
    assert decode_ps(shared) == pytest.approx(1.25 * decode_ps(plain), rel=1e-3)
    busy = float(shared.finish[0]) / PS_PER_S
    got = float(shared.totals["finetune_ps"]) / PS_PER_S
    assert 0.2 * busy < got < busy


def test_uneven_lengths_cost_what_the_longest_has_above_the_mean():
    given = trace([1000, 100], [40, 40])
    even, uneven = (
        ran(given, cluster(engine={"length_spread": share})) for share in (0.0, 1.0)
    )
    slope = int(build_hardware(cluster()).step_context[0, 2])
    extra = decode_ps(uneven) - decode_ps(even)
    # the second joins a step later: of 39 steps 38 have both, 901 tokens apart
    assert extra == 38 * slope * 901


TUNE = '"""Turns knobs."""\n\n\ndef tune(instance, memory):\n    '


def test_tune_changes_speculation_and_is_held_to_what_the_cluster_allows():
    part = {"max_depth": 2, "acceptance": 0.8}
    given, spec = trace([100], [600]), cluster(speculation=part)
    slow, fast = ran(given, spec), ran(given, spec, TUNE + "set_speculation(instance, 16)\n")
    assert decode_ps(fast) < decode_ps(slow)
    base = build_hardware(spec).spec_batch[1, 1]
    assert decode_ps(fast) > 500 * int(base)


def one_at_a_time(outcome):
    return bool(np.all(np.sort(outcome.first)[1:] >= np.sort(outcome.finish)[:-1]))


def test_offline_requests_hold_no_more_than_their_share_of_the_batch():
    spec = cluster(engine={"max_num_seqs": 4})
    given = trace([50] * 8, [100] * 8, at=0.2, online=False)
    free = ran(given, spec)
    held = ran(given, spec, TUNE + "set_offline_share(instance, 0.25)\n")
    assert not one_at_a_time(free)
    assert one_at_a_time(held)


def test_a_smaller_token_budget_means_more_steps():
    given = Trace.of(META, arrival_s=np.array([0.2]), prompt_tokens=np.array([2048]),
                     output_tokens=np.array([1]), span_s=9.0)  # fmt: skip
    small = ran(given, cluster(), TUNE + "set_token_budget(instance, 256)\n")
    assert (ran(given, cluster()).totals["steps"], small.totals["steps"]) == (1, 8)


def test_a_depth_above_the_deepest_is_refused():
    with pytest.raises(ClusterError, match="raise max_depth"):
        parse_cluster('model = "Llama-3.1-8B"\n[[pool]]\ngpu = "H100"\ncount = 1\n'
                      "[speculation]\ndepth = 4\n")  # fmt: skip
