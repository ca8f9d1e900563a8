"""The built-in default: fewest requests, equal ones in turn, by machine code as by numpy."""

import random

import pytest

from serving_adapter import outstanding as module
from serving_adapter.facts import RequestFacts
from serving_adapter.instances import InstanceTable
from serving_adapter.outstanding import least
from serving_adapter.row_code import row_code

FACTS = RequestFacts(arrived_s=0.0, prompt_tokens=9)


def offer_of(counts, exclude=frozenset()):
    """Rows of engines with so many requests queued and running; ids from 10 on."""
    table = InstanceTable()
    for _ in range(10):
        table.remove(table.add())
    for queued, running in counts:
        row = table.row(table.add())
        row["queued_requests"], row["running_requests"] = queued, running
    return table.offer(FACTS, 0.0, exclude)


@pytest.fixture(params=["machine code", "numpy"])
def way(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(module, "row_code", lambda: None)
    else:
        pytest.importorskip("llvmlite")
        assert row_code() is not None


def test_equal_ones_take_turns(way):
    offer = offer_of([(1, 0), (0, 3), (0, 1), (-1, 1), (2, 2)])
    assert [least(offer, turn) for turn in range(5)] == [10, 12, 12, 13, 10]


def test_a_missing_figure_counts_nothing(way):
    assert least(offer_of([(0, 1), (-1, -1), (0, 0)]), 0) == 11


def test_what_is_not_offered_is_not_chosen(way):
    offer = offer_of([(0, 0), (5, 0), (4, 0)], frozenset({10}))
    assert [least(offer, turn) for turn in range(2)] == [12, 12]


def test_both_ways_are_one(monkeypatch):
    pytest.importorskip("llvmlite")
    draw = random.Random(5)
    for _ in range(200):
        size = draw.randrange(1, 40)
        offer = offer_of([(draw.randrange(-1, 3), draw.randrange(-1, 3)) for _ in range(size)])
        turn, found = draw.randrange(size), set()
        for code in (row_code(), None):
            monkeypatch.setattr(module, "row_code", lambda code=code: code)
            found.add(least(offer, turn))
        assert len(found) == 1
