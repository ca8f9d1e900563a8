"""Savings are paired, and a pair without a gain is shown as such."""

import math

import pytest

from evolver.online.comparison import BEST, DEPLOYED, savings
from evolver.online.figures import svg_of


def result(pair, seed, evolving, fixed, other=200.0):
    regimes = [{"volatile": True, "scheduling_s": 0.0, "reconfiguration_s": 1.0}]
    totals = {
        "evolving": evolving, "past:a": fixed, "past:b": other, "no evolution": 2 * evolving,
        "whole": evolving, "regimes": evolving,
    }  # fmt: skip
    arms = {name: {"total_s": value, "regimes": regimes} for name, value in totals.items()}
    return {"pair": pair, "mode": "backlog", "seed": seed, "chosen": "past:b", "arms": arms}


RESULTS = [
    *(result("better", seed, 90.0 + seed, 100.0 + 1.1 * seed) for seed in range(3)),
    *(result("same", seed, 100.0, 100.0 + (seed - 1)) for seed in range(3)),
    *(result("worse", seed, 110.0 + seed, 100.0 + seed) for seed in range(3)),
]


def against(found, pair, rival):
    return next(one for one in found[pair] if one.rival == rival)


def test_each_pair_gets_the_verdict_that_its_interval_gives():
    found = savings(RESULTS, "backlog", "total_s")
    verdicts = {pair: against(found, pair, BEST).verdict for pair in ("better", "same", "worse")}
    assert verdicts == {"better": "gain", "same": "no gain shown", "worse": "loss"}
    assert against(found, "all pairs", BEST).verdict == "no gain shown"


def test_rivals_are_the_one_that_was_chosen_and_the_one_that_was_best():
    found = savings(RESULTS[:3], "backlog", "total_s")
    best = 1.0 - math.exp(-sum(math.log((100 + 1.1 * s) / (90 + s)) for s in range(3)) / 3)
    assert against(found, "better", BEST).gain == pytest.approx(best)
    assert against(found, "better", DEPLOYED).gain > 0.5


def test_one_seed_has_no_interval_and_shows_no_gain():
    found = savings(RESULTS[:1], "backlog", "total_s")
    one = against(found, "better", BEST)
    assert math.isnan(one.low)
    assert one.verdict == "no gain shown"


def test_the_figure_holds_every_pair():
    picture = svg_of(savings(RESULTS, "backlog", "total_s"))
    assert picture.startswith("<svg")
    assert all(f">{pair}<" in picture for pair in ("better", "same", "worse", "all pairs"))
