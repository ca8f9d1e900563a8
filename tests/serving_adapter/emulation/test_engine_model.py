"""The emulated scheduler: nothing is lost, KV is never exceeded, order is first come."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving_adapter.emulation.engine_model import EngineModel, EngineSettings, Generation


class FlatTimes:
    """1 ms a step."""

    def step_ps(self, chunks, batch, context_tokens):
        return 1_000_000_000


def run_out(model: EngineModel, limit: int = 10_000) -> float:
    now_s = 0.0
    for _ in range(limit):
        if model.idle:
            return now_s
        step = model.begin(now_s)
        now_s += step.duration_s
        model.commit(step, now_s)
    raise AssertionError("the engine does not come to an end")


def model_of(**limits: int) -> EngineModel:
    return EngineModel(EngineSettings(**limits), FlatTimes())


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), min_size=1, max_size=12),
    blocks=st.integers(7, 20),
    seats=st.integers(1, 6),
    budget=st.integers(8, 64),
)
def test_law_1_and_3_every_generation_ends_within_the_kv_blocks(sizes, blocks, seats, budget):
    model = model_of(kv_blocks=blocks, max_num_seqs=seats, max_num_batched_tokens=budget)
    generations = [Generation(prompt, output, 0.0) for prompt, output in sizes]
    for generation in generations:
        model.submit(generation)
    for _ in range(20_000):
        if model.idle:
            break
        step = model.begin(0.0)
        assert sum(g.blocks for g in generations) == model.used_blocks <= blocks
        assert sum(tokens for _, tokens in step.work) <= budget
        assert len(model.running) <= seats
        model.commit(step, 1.0)
    assert [g.done_tokens for g in generations] == [output for _, output in sizes]
    assert model.used_blocks == 0


def test_a_long_prompt_is_computed_in_chunks():
    model = model_of(max_num_batched_tokens=100)
    model.submit(Generation(250, 1, 0.0))
    chunks = []
    while not model.idle:
        step = model.begin(0.0)
        chunks.append(step.work[0][1])
        model.commit(step, 0.0)
    assert chunks == [100, 100, 50]


def test_without_room_the_youngest_is_preempted():
    model = model_of(kv_blocks=4, block_size=4, max_model_len=16)
    old, young = Generation(7, 8, 0.0), Generation(7, 8, 0.0)
    model.submit(old)
    model.submit(young)
    run_out(model)
    assert (old.preempted_count, young.preempted_count > 0) == (0, True)
    assert old.last_token_s < young.last_token_s


def test_a_generation_longer_than_the_engine_is_refused():
    with pytest.raises(ValueError, match="shorten"):
        model_of(kv_blocks=2).submit(Generation(30, 10, 0.0))


def test_an_aborted_generation_frees_its_blocks():
    model = model_of()
    generation = Generation(100, 10, 0.0)
    model.submit(generation)
    step = model.begin(0.0)
    model.abort(generation)
    assert model.commit(step, 1.0) == []
    assert (model.used_blocks, model.idle) == (0, True)
