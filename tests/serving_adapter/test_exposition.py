"""Metrics as Prometheus text."""

import math

import pytest

from serving_adapter.exposition import Registry


def test_a_counter_shows_one_line_per_label_value():
    registry = Registry()
    counter = registry.counter("c_total", "Counts.", ("kind",))
    counter.inc("a")
    counter.inc("b", by=2)
    assert 'c_total{kind="a"} 1.0\nc_total{kind="b"} 2.0' in registry.render()


def test_histogram_buckets_are_cumulative_and_include_their_bound():
    registry = Registry()
    histogram = registry.histogram("h", "Seconds.", (0.1, 1.0))
    for value in (0.1, 0.5, 5.0):
        histogram.observe(value)
    page = registry.render()
    assert 'h_bucket{le="0.1"} 1' in page
    assert 'h_bucket{le="1.0"} 2' in page
    assert 'h_bucket{le="+Inf"} 3\nh_sum 5.6\nh_count 3' in page


def test_label_values_are_escaped():
    registry = Registry()
    registry.gauge("g", "A gauge.", ("name",)).set(math.nan, 'a"b\\c\nd')
    assert 'g{name="a\\"b\\\\c\\nd"} NaN' in registry.render()


def test_a_name_can_be_used_once():
    registry = Registry()
    registry.counter("c_total", "Counts.")
    with pytest.raises(ValueError, match="use another registry"):
        registry.gauge("c_total", "Again.")
