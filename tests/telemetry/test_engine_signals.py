"""Engine metrics into signals: whatever an engine calls them, and missing stays missing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.engine_signals import parse_signals


@pytest.mark.parametrize("name", ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"])
def test_both_names_of_kv_usage_are_read(name):
    assert parse_signals(f'{name}{{engine="0"}} 0.25\n').kv_usage == 0.25


def test_missing_is_missing_not_zero():
    signals = parse_signals("# HELP nothing\nother:metric 3\n")
    assert (signals.running, signals.waiting, signals.kv_capacity_tokens) == (-1, -1, -1)
    assert math.isnan(signals.kv_usage)


SGLANG = '''sglang:num_running_reqs{tp_rank="0",priority=""} 5.0
sglang:num_running_reqs{tp_rank="0",priority="1"} 3.0
sglang:num_running_reqs{tp_rank="1",priority=""} 5.0
sglang:num_queue_reqs 2.0
sglang:token_usage{tp_rank="0"} 0.28
sglang:max_total_num_tokens 471258.0
sglang:prompt_tokens_total{model_name="m"} 8000.0
sglang:cached_tokens_total{cache_source="device"} 100.0
sglang:cached_tokens_total{cache_source="host"} 20.0
sglang:num_retracted_requests_total 4.0
sglang:num_requests_total 9.0
'''


def test_sglangs_names_are_read_and_its_ranks_are_not_counted_twice():
    signals = parse_signals(SGLANG)
    assert (signals.running, signals.waiting, signals.kv_usage) == (5, 2, 0.28)
    assert (signals.kv_capacity_tokens, signals.preemptions, signals.finished) == (471258, 4, 9)
    assert (signals.prefix_queried_tokens, signals.prefix_hit_tokens) == (8000, 120)
    assert signals.generation_tokens == -1


def test_a_brace_or_quote_in_a_label_ends_nothing():
    page = 'vllm:num_requests_running{model_name="a} 9 \\" # b",engine="0"} 3.0 # {x="y"} 1 2\n'
    assert parse_signals(page).running == 3


def test_data_parallel_engines_are_summed_and_their_usage_averaged():
    page = """vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:kv_cache_usage_perc{engine="0"} 0.2
vllm:kv_cache_usage_perc{engine="1"} 0.4
"""
    signals = parse_signals(page)
    assert signals.running == 7
    assert math.isclose(signals.kv_usage, 0.3)


@pytest.mark.parametrize("value", ["NaN", "-1", "1e300", "abc", "+Inf"])
def test_impossible_numbers_are_skipped(value):
    assert parse_signals(f"vllm:num_requests_running {value}\n").running == -1


@given(st.text(max_size=300))
def test_any_page_is_survived(text):
    parse_signals("vllm:" + text)


def test_a_sum_of_many_large_numbers_still_fits_a_row():
    page = "vllm:num_requests_running 9007199254740991\n" * 3000
    assert parse_signals(page).running == 2**53


def test_a_label_with_a_long_name_takes_linear_time():
    page = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="10",' + "a" * 2**21 + "} 1\n"
    assert parse_signals(page).kv_capacity_tokens == -1
    assert parse_signals(page.replace("a" * 2**21, "b" * 7000)).kv_capacity_tokens == 160
