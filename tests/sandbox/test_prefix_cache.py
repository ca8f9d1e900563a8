"""What the prefix cache saves, checked against sums done by hand."""

import numpy as np
import pytest

from sandbox.cluster import ClusterSpec
from sandbox.engine import load_policy
from sandbox.kernel.program import Program
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build
from sandbox.verifier import verify
from telemetry.blocks import Blocks
from telemetry.trace import Trace, TraceMeta

SIZE = 16
CLUSTER = ClusterSpec.model_validate(
    {"model": "Llama-3.1-8B", "pool": [{"gpu": "H100", "count": 1}]}
)


def run(prompts, *, arrivals=None, outputs=1, kv_blocks=400, policy=None, session=None):
    """The rows after a run of prompts given as lists of block ids, one token longer than those."""
    n = len(prompts)
    trace = Trace.of(
        TraceMeta(name="prompts"),
        arrival_s=np.arange(n) * 10.0 if arrivals is None else np.array(arrivals),
        prompt_tokens=np.array([SIZE * len(p) + 1 for p in prompts]),
        output_tokens=np.broadcast_to(outputs, n),
        session=np.full(n, -1) if session is None else np.array(session),
        turn=np.arange(n) if session is not None else np.zeros(n, int),
        blocks=Blocks.of_lists([list(p) for p in prompts], SIZE),
    )
    sim = build(Setup(trace, CLUSTER, debug=True), policy or default_policy(), default_policy())
    shapes = sim.shapes.copy()
    shapes["kv_blocks"], shapes["kv_tokens"] = kv_blocks, kv_blocks * 16
    program = Program(sim._replace(shapes=shapes))
    program.start()
    while program.run(100_000):
        pass
    return program.sim


def cached(sim):
    return int(sim.totals["cached_tokens"][0])


def test_a_repeated_prompt_is_computed_once():
    assert cached(run([range(20), range(20)])) == 20 * SIZE


def test_prompts_share_what_they_begin_with():
    assert cached(run([range(20), [*range(8), *range(50, 60)]])) == 8 * SIZE


def test_requests_that_run_at_once_find_what_is_computed_by_then():
    long = range(200)  # two steps compute it; the second request begins in the second of them
    assert cached(run([long, long], arrivals=[0.0, 0.0001], kv_blocks=800)) == 2048


def test_a_prompt_that_is_there_as_a_whole_costs_one_kv_block():
    trace = Trace.of(
        TraceMeta(name="twice"), arrival_s=[0.0, 10.0], prompt_tokens=[1024, 1024],
        output_tokens=[1, 1], blocks=Blocks.of_lists([[0, 1], [0, 1]], 512),
    )  # fmt: skip
    sim = build(Setup(trace, CLUSTER, debug=True), default_policy(), default_policy())
    program = Program(sim)
    program.start()
    while program.run(1000):
        pass
    assert cached(program.sim) == 1024 - 16


def test_the_least_recently_released_goes_first():
    one, two, three = range(100), range(100, 200), range(200, 300)
    sim = run([one, two, one, three, one, two], kv_blocks=250)
    # the third takes the place of the second, which was released before the first's repetition:
    # of 250 blocks, 101 are the third's and 100 the first's, so 49 of the second's are left
    assert cached(sim) == (100 + 100 + 49) * SIZE


def test_an_entry_goes_block_by_block_from_its_end():
    sim = run([range(100), range(100, 200), range(100)], kv_blocks=150)
    # 101 blocks of the second leave 49 of the first
    assert cached(sim) == 49 * SIZE


def test_an_answer_is_found_by_the_next_turn():
    first, second = range(10), range(30)
    sim = run([first, second], outputs=[8 * SIZE, 1], session=[1, 1])
    # 161 prompt tokens and 128 of the answer, the last of which is not computed on: 18 blocks
    assert cached(sim) == 18 * SIZE


def test_a_policy_chooses_what_goes():
    keeps_first = load_policy(
        verify(
            '"""Keeps short entries."""\n\n\ndef evict(entry, instance, memory):\n'
            "    return -float(entry.tokens)\n",
            "short",
        ),
        engine="interpreted",
    )
    small, large, other = range(20), range(100, 220), range(300, 420)
    order = [small, large, other, small]
    assert cached(run(order, kv_blocks=250)) == 9 * SIZE
    assert cached(run(order, kv_blocks=250, policy=keeps_first)) == 20 * SIZE


@pytest.mark.parametrize("kv_blocks", [130, 160, 400])
def test_nothing_is_in_use_when_all_is_done(kv_blocks):
    sim = run([range(k, k + 40) for k in range(0, 200, 10)], kv_blocks=kv_blocks)
    inst = sim.instances[0]
    assert inst["blocks_used"] == 0
    assert 0 < inst["blocks_cached"] <= kv_blocks
