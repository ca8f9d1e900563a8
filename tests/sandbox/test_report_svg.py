"""Curves as figures and as lines of a terminal: round axes, distinct lines, nothing believed."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolver.cli.curves import drawn
from sandbox.report import Curves, Series
from sandbox.report_svg import HEIGHT, WIDTH, figure_of, ticks

RISE = Series("a", ((0.0, 0.0), (50.0, 0.1), (100.0, 0.3)))
LATER = Series("b", ((0.0, 0.0), (80.0, 0.3)))
NUMBERS = st.floats(-1e6, 1e6)


def curves(*series, level=None, title="gain"):
    return Curves(title, "evaluations", tuple(series), level)


def test_a_figure_is_well_formed_and_stays_within_its_frame():
    figure = figure_of(curves(RISE, LATER, level=("tuned", 0.05))).replace("<br>", "")
    points = [
        (float(x), float(y))
        for path in ElementTree.fromstring(figure).iter("path")
        for x, y in re.findall(r"[H](\d+\.\d)V(\d+\.\d)", path.get("d"))
    ]
    assert points
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)


def test_names_in_a_figure_are_words_and_no_elements():
    hostile = "<script>alert(1)</script>"
    figure = figure_of(curves(Series(hostile, RISE.points), LATER, level=(hostile, 0.1),
                              title=hostile))  # fmt: skip
    assert "<script" not in figure


@pytest.mark.parametrize("points", [(), ((math.nan, 1.0),), ((1.0, math.inf),)])
def test_what_cannot_be_drawn_is_left_out(points):
    assert figure_of(curves(Series("a", points))) == ""
    assert drawn(curves(Series("a", points))) == []


@given(NUMBERS, st.floats(1e-3, 1e6))
def test_ticks_are_few_and_between_the_ends(low, span):
    marks = ticks(low, low + span)
    assert len(marks) <= 7
    assert all(low - 1e-6 * span <= mark <= low + span * (1 + 1e-6) for mark in marks)


@given(st.lists(st.tuples(st.floats(0, 1e6), NUMBERS), min_size=1, max_size=8))
def test_any_points_fit_the_terminal(points):
    lines = drawn(curves(Series("a", tuple(sorted(points))), level=("b", 0.0)), 40, 6)
    assert all(len(line) <= 40 + 30 for line in lines)
    assert sum("┤" in line or "│" in line for line in lines) >= 6


def test_a_terminal_tells_two_series_apart_without_colours():
    text = "\n".join(drawn(curves(RISE, LATER)))
    assert "╭" in text
    assert "┏" in text
    assert "── a" in text
    assert "━━ b" in text


def test_the_other_axis_has_the_unit_that_is_asked_for():
    svg = figure_of(Curves("times", "seconds", (Series("a", ((0.0, 1.0), (5.0, 2.5))),), unit="s"))
    assert ">2.5 s<" in svg
    assert "%" not in svg
    assert 'data-unit="s"' in svg


def test_values_at_the_ends_never_stand_over_one_another():
    lines = [Series(f"{k}", ((0.0, 0.0), (5.0, 0.5 + k / 1000))) for k in range(4)]
    twins = [Series("x", ((0.0, 0.0), (5.0, 1.0))), Series("y", ((0.0, 0.0), (4.9, 1.0)))]
    svg = figure_of(Curves("ends", "n", (*lines, *twins)))
    ends = re.findall(r'y="([0-9.]+)" text-anchor="start" class="value"', svg)
    heights = sorted(map(float, ends))
    assert all(after - before >= 12.9 for before, after in pairwise(heights))
    assert svg.count(">100.0%<") == 1
