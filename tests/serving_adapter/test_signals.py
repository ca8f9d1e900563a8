"""Engine metrics into signals: present and former names, and missing stays missing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_adapter.signals import parse_signals


@pytest.mark.parametrize("name", ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"])
def test_both_names_of_kv_usage_are_read(name):
    assert parse_signals(f'{name}{{engine="0"}} 0.25\n').kv_usage == 0.25


def test_missing_is_missing_not_zero():
    signals = parse_signals("# HELP nothing\nother:metric 3\n")
    assert (signals.running, signals.waiting, signals.kv_capacity_tokens) == (-1, -1, -1)
    assert math.isnan(signals.kv_usage)


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
    assert parse_signals(page).kv_capacity_tokens == 160
