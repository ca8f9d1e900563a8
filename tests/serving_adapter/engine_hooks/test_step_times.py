"""The speeds that are read off how long steps took."""

import math

import pytest

from serving_adapter.engine_hooks.step_times import StepTimes


def test_before_a_step_nothing_is_known_and_empty_steps_say_nothing():
    times = StepTimes()
    times.add(0.01, 0, 0)
    times.add(0.0, 4, 4)
    assert math.isnan(times.latest_s)
    assert math.isnan(times.prefill_tokens_per_s)


def test_prompts_are_what_a_step_took_longer_than_decoding():
    times = StepTimes()
    for _ in range(3):
        times.add(0.010, 8, 8)
    times.add(0.030, 9, 9 + 400)
    assert times.decode_s == pytest.approx(0.010)
    assert times.prefill_tokens_per_s == pytest.approx(400 / 0.020)
    assert times.latest_s == 0.030
