"""Parallel samples: shared prompts, early stop, pruning, and what each is worth."""

import numpy as np
import pytest

from sandbox.cluster import ClusterError, ClusterSpec, parse_cluster
from sandbox.engine import load_policy
from sandbox.hardware import build_hardware
from sandbox.kernel import state
from sandbox.kernel.program import Program
from sandbox.kernel.state import ENOUGH, FINISHED, HAS_FINISHED, PRUNED
from sandbox.metrics import measure
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build, simulate
from sandbox.verifier import verify
from telemetry.trace import Trace, TraceMeta

BASE = {"model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 1}]}
START = '"""Takes a few."""\n\n\ndef branches(request, branches, memory):\n'


def cluster(**samples):
    return ClusterSpec.model_validate(BASE | {"samples": samples})


def trace(n=1, prompt=100, output=200, **columns):
    return Trace.of(
        TraceMeta(name="s"), arrival_s=np.arange(n) * 0.01, prompt_tokens=np.full(n, prompt),
        output_tokens=np.full(n, output), span_s=60.0, **columns,
    )  # fmt: skip


def steps(load, spec, text=None, blocks=None, macro=True):
    """The rows after every event."""
    policy = load_policy(verify(text), engine="interpreted") if text else default_policy()
    sim = build(Setup(load, spec, macro=macro), policy, default_policy())
    if blocks is not None:
        shapes = sim.shapes.copy()
        shapes["kv_blocks"], shapes["kv_tokens"] = blocks, blocks * 16
        sim = sim._replace(shapes=shapes)
    program = Program(sim)
    assert program.start()
    while program.run(1):
        yield program.sim
    yield program.sim


def last(*arguments, **options):
    *_, sim = steps(*arguments, **options)
    return sim


def test_without_samples_nothing_changes():
    one, none = (simulate(Setup(trace(5), ClusterSpec.model_validate(BASE | more)),
                          default_policy(), default_policy())
                 for more in ({"samples": {"count": 1, "needed": 1}}, {}))  # fmt: skip
    assert one.finish.tolist() == none.finish.tolist()
    assert one.samples == {}


def test_samples_share_the_prompts_whole_blocks_and_give_every_block_back():
    most = 0
    spec = cluster(count=4, needed=4, length_sigma=0.0)
    for sim in steps(trace(output=32), spec, macro=False):
        most = max(most, int(sim.instances["blocks_used"].max()))
    # 100 + 31 tokens of KV: six whole prompt blocks once, three more for each of four
    assert most == 6 + 4 * 3
    assert not sim.instances["blocks_used"].any()


def test_the_request_ends_with_the_needed_sample_and_the_rest_is_stopped():
    sim = last(trace(), cluster(count=4, needed=2, length_sigma=1.0))
    lengths = np.sort(np.append(sim.samples["length"][1:], 200))
    fates = sim.samples["fate"]
    assert sorted(fates) == [HAS_FINISHED, HAS_FINISHED, ENOUGH, ENOUGH]
    assert sim.requests["output"][0] == lengths[1]
    assert sim.requests["state"][0] == FINISHED
    assert sim.totals["sample_tokens"][0] == lengths[0] + 3 * lengths[1]


def test_more_samples_reach_the_first_answer_sooner():
    both = [default_policy()] * 2
    one, six = (simulate(Setup(trace(20), cluster(count=n, needed=1)), *both) for n in (1, 6))
    assert six.finish.mean() < one.finish.mean()


def test_the_policy_says_how_many_to_run():
    sim = last(trace(), cluster(count=6, needed=1), START + "    return 3\n")
    assert sim.totals["samples_started"][0] == 3


def test_no_more_samples_start_than_there_are_seats():
    spec = cluster(count=6, needed=1)
    spec = spec.model_copy(update={"engine": spec.engine.model_copy(update={"max_num_seqs": 2})})
    assert last(trace(), spec).totals["samples_started"][0] == 2


PRUNES = START + (
    "    for branch in branches:\n        if branch.index > 0:\n            prune(branch)\n"
    "    return request.branch_count\n"
)


def test_pruned_samples_stop_at_the_look_and_free_their_blocks():
    sim = last(trace(), cluster(count=4, needed=1, check_every_tokens=50, length_sigma=0.0), PRUNES)
    assert sim.samples["fate"].tolist() == [HAS_FINISHED, PRUNED, PRUNED, PRUNED]
    assert sim.totals["samples_pruned"][0] == 3
    assert sim.totals["sample_tokens"][0] == 200 + 3 * 50
    assert sim.totals["faults"][0] == 0


def test_the_last_sample_cannot_be_pruned():
    sim = last(trace(), cluster(count=3, needed=1, check_every_tokens=50),
               PRUNES.replace("branch.index > 0", "True"))  # fmt: skip
    assert sim.requests["state"][0] == FINISHED
    assert sim.totals["faults"][0] > 0


def test_samples_that_lose_their_room_compute_again_and_all_ends_well():
    spec = cluster(count=4, needed=4, length_sigma=0.0)
    sim = last(trace(3, prompt=120, output=300), spec, blocks=60)
    assert sim.totals["preemptions"][0] > 0
    assert np.all(sim.requests["state"][:3] == FINISHED)
    assert np.all(sim.samples["fate"] == HAS_FINISHED)
    assert not sim.instances["blocks_used"].any()


SURE = cluster(count=4, needed=1, check_every_tokens=1, length_sigma=0.0)


def test_scores_are_quality_with_the_stated_noise():
    text = START + "    for branch in branches:\n        memory[branch.index] = branch.score\n"
    text += "    return request.branch_count\n"
    seen = []
    for sim in steps(trace(), SURE, text):
        seen.append(sim.engine_memory[0, :4].copy())
    scores = np.array(seen)
    scores = scores[scores[:, 0] != 0.0]
    spread = (scores - sim.samples["quality"]).std()
    assert len(scores) > 100
    assert spread == pytest.approx(0.2, rel=0.15)
    assert np.all(np.abs((scores - sim.samples["quality"]).mean(axis=0)) < 0.06)


def test_better_pruning_shows_in_the_quality_of_answers():
    spec = cluster(count=8, needed=2, check_every_tokens=40, score_noise=0.05)
    worst = START + "    for branch in branches:\n        if branch.score CUT:\n"
    worst += "            prune(branch)\n    return request.branch_count\n"
    found = {}
    for cut in ("< 0.6", "> 0.4"):
        policy = load_policy(verify(worst.replace("CUT", cut)), engine="interpreted")
        setup = Setup(trace(30), spec)
        outcome = simulate(setup, policy, default_policy())
        found[cut] = measure(outcome, setup, build_hardware(spec)).numbers["answer_quality"]
    assert found["< 0.6"] > found["> 0.4"] + 0.2


def test_a_lost_engine_starts_a_request_over():
    spec = cluster(count=4, needed=2)
    sim = build(Setup(trace(), spec), default_policy(), default_policy())
    lost = [(5 * 10**11, 0, state.DOWN, 0), (10**12, 0, state.UP, 0)]
    program = Program(sim._replace(capacity=np.array(lost, state.CAPACITY_EVENT)))
    assert program.start()
    while program.run(1000):
        pass
    assert program.sim.requests["state"][0] == FINISHED
    assert program.sim.totals["samples_started"][0] == 8


@pytest.mark.parametrize(("samples", "said"), [
    ("count = 2\nneeded = 3\n", "lower needed"),
    ('classes = ["gold"]\n', "not declared"),
])  # fmt: skip
def test_samples_that_cannot_be_are_refused(samples, said):
    text = 'model = "Llama-3.1-8B"\n[[pool]]\ngpu = "H100"\ncount = 1\n[samples]\n'
    with pytest.raises(ClusterError, match=said):
        parse_cluster(text + samples)
