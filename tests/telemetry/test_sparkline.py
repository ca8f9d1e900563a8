"""Plots in block characters."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from telemetry.sparkline import bars, sparkline


def test_a_ramp_rises_from_the_lowest_to_the_highest_block():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"


def test_nothing_and_gaps():
    assert sparkline([]) == ""
    assert sparkline([0.0, math.nan, 1.0]) == "▁ █"


@given(st.lists(st.floats(allow_infinity=True, allow_nan=True), max_size=300), st.integers(1, 90))
def test_a_line_is_never_wider_than_asked(values, width):
    assert len(sparkline(values, width)) <= width


def test_bars_are_scaled_to_the_greatest_value():
    long, short = bars([("a", 10.0), ("bb", 5.0)], width=10)
    assert (long.count("█"), short.count("█")) == (10, 5)
    assert short.endswith(" 5")
