"""The policy inside a real engine of this process: order, victims, admission, budget, faults."""

from __future__ import annotations

import json
import os
import statistics
import time

import pytest

SHORTEST = '''"""Shortest answer first."""


def priority(request, instance, memory):
    predicted = request.predicted_output_tokens
    return request.age_s if is_missing(predicted) else predicted - request.done_tokens
'''
BY_PROMPT = '''"""Short prompts first, so that long ones are preempted first."""


def priority(request, instance, memory):
    return 1.0 * request.prompt_tokens
'''
TWO_SEATS = '''"""Two in the batch."""


def admit(request, instance, memory):
    return instance.running_requests < 2
'''
SMALL_STEPS = '''"""Small steps."""


def tune(instance, memory):
    set_token_budget(instance, 64)
'''
LATE_FAULT = '''"""Faults on prompts of 13 tokens."""


def priority(request, instance, memory):
    return 1.0 / (request.prompt_tokens - 13)


def admit(request, instance, memory):
    return True
'''
SEATS, BLOCKS, BLOCK_TOKENS = 8, 24, 64


class Engine:
    """An in-process vLLM whose steps the test takes, so that it sees who ends when."""

    def __init__(self, model, scheduler_cls, desk):
        from vllm import LLM

        os.environ.update(desk.environment)
        self.llm = LLM(
            model=str(model), load_format="dummy", dtype="bfloat16", max_model_len=1024,
            max_num_seqs=SEATS, max_num_batched_tokens=512, enforce_eager=True,
            num_gpu_blocks_override=BLOCKS, block_size=BLOCK_TOKENS,
            enable_prefix_caching=False, scheduler_cls=scheduler_cls,
        )  # fmt: skip
        self.desk = desk
        self.core = self.llm.llm_engine.engine_core.engine_core
        self.scheduler = self.core.scheduler
        self.count = 0
        self.widest = self.largest = 0
        self.victims = []
        preempt = self.scheduler._preempt_request

        def watched(request, *args, **options):
            prompts = [one.num_prompt_tokens for one in self.scheduler.running]
            self.victims.append((request.num_prompt_tokens, prompts))
            preempt(request, *args, **options)

        self.scheduler._preempt_request = watched

    def follow(self, sequence):
        """Wait until the engine has the snapshot."""
        deadline = time.monotonic() + 60.0
        while self.scheduler.policy_host.host.live.sequence < sequence:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def serve(self, shapes):
        """Put all in at once and step to the end; (shape, seconds) in the order of ending."""
        from vllm import SamplingParams

        asked, started_s, ended = {}, time.perf_counter(), []
        self.widest = self.largest = 0
        for prompt, output in shapes:
            self.count += 1
            name = f"request-{self.count}"
            asked[name] = prompt, output
            params = SamplingParams(max_tokens=output, ignore_eos=True)
            self.llm.llm_engine.add_request(name, {"prompt_token_ids": [5] * prompt}, params)
        while self.llm.llm_engine.has_unfinished_requests():
            outputs = self.llm.llm_engine.step()
            self.widest = max(self.widest, len(self.scheduler.running))
            self.largest = max(self.largest, self.scheduler.max_num_scheduled_tokens)
            for one in outputs:
                if one.finished:
                    shape = asked.pop(one.request_id)
                    assert len(one.outputs[0].token_ids) == shape[1]
                    ended.append((shape, time.perf_counter() - started_s))
        assert not asked
        return ended


@pytest.fixture(scope="module")
def engine(tiny, new_desk):
    """One engine for all tests here; starting one takes a minute."""
    engine = Engine(tiny, "serving_adapter.vllm_scheduler.PolicyScheduler", new_desk())
    yield engine
    engine.scheduler.shutdown()


@pytest.fixture
def fresh(engine):
    """The engine without a policy."""
    engine.desk.publish_nothing()
    engine.follow(engine.desk.sequence)
    engine.victims.clear()
    return engine


def run(engine, source):
    policy = engine.desk.publish(source)
    engine.follow(engine.desk.sequence)
    return policy


MIX = [(20, 8 if number % 2 else 64) for number in range(64)]


def short_p50_s(ended):
    return statistics.median(second for (_, output), second in ended if output == 8)


def test_shortest_first_brings_short_answers_forward_on_the_real_engine(fresh):
    fresh.serve(MIX)  # from here on the engine knows how long answers are
    first_come = fresh.serve(MIX)
    run(fresh, SHORTEST)
    shortest = fresh.serve(MIX)
    before_s, after_s = short_p50_s(first_come), short_p50_s(shortest)
    print(f"\nshort answers p50: first come {before_s * 1e3:.0f} ms, "
          f"shortest first {after_s * 1e3:.0f} ms")  # fmt: skip
    assert [shape[1] for shape, _ in shortest[:24]] == [8] * 24
    assert after_s < before_s


def test_whom_the_policy_puts_last_is_preempted_first(fresh):
    shapes = [(60 + 40 * number, 150) for number in range(8)]
    run(fresh, BY_PROMPT)
    fresh.serve(shapes[::-1])  # the engine's own victim is who came last, so a short one
    assert fresh.victims
    for prompt, running in fresh.victims:
        assert prompt >= max(running, default=0)


def test_no_more_are_admitted_than_the_policy_lets_in(fresh):
    run(fresh, TWO_SEATS)
    fresh.serve(MIX[:16])
    assert fresh.widest == 2


def test_tune_sets_the_tokens_of_a_step_and_takes_them_back(fresh):
    run(fresh, SMALL_STEPS)
    fresh.serve([(300, 4)])
    assert fresh.largest == 64
    fresh.desk.publish_nothing()
    fresh.follow(fresh.desk.sequence)
    fresh.serve([(300, 4)])
    assert fresh.largest == 512


def test_a_policy_that_faults_live_is_out_before_the_step_is_scheduled(fresh):
    good = run(fresh, SHORTEST)
    faulty = run(fresh, LATE_FAULT)
    assert len(fresh.serve([*MIX[:12], (13, 8)])) == 13
    host = fresh.scheduler.policy_host.host
    assert host.live.active is None
    assert host.live.deciding.digest == good.digest
    assert faulty.digest in {ejection.digest for ejection in host.slot.latched}


def test_law_9_every_decision_of_all_this_names_what_its_sequence_named(engine):
    engine.desk.publish(BY_PROMPT)
    engine.follow(engine.desk.sequence)
    engine.serve(MIX[:4])
    engine.scheduler.policy_host.decisions.flush()
    lines = [json.loads(line) for line in engine.desk.log.read_text().splitlines()]
    assert lines
    assert all(line["digest"] in engine.desk.named[line["sequence"]] for line in lines)
    sequences = [line["sequence"] for line in lines]
    assert sequences == sorted(sequences)


def test_a_step_is_scheduled_even_if_the_hooks_themselves_fail(fresh, monkeypatch):
    monkeypatch.setattr(fresh.scheduler.policy_hooks, "order", lambda *_: 1 / 0)
    assert len(fresh.serve(MIX[:4])) == 4
    assert fresh.scheduler.policy_metrics.faults() > 0
