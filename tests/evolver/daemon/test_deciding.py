"""Whether a search is worth its price: the first "no" is the reason, and budgets hold."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from evolver.daemon.config import DaemonConfig
from evolver.daemon.deciding import Seen, affordable, decide, expected_gain, price_usd
from evolver.daemon.protocols import Change
from policy_store.daemon_book import Episode

WATCH = {"request_log": "r", "cluster": "c"}
CONFIG = DaemonConfig.model_validate({"watch": WATCH})
NOW = 1e9
SEEN = Seen(
    now_unix_s=NOW, requests=5000, span_s=3600.0, needed_s=1200.0, began_unix_s=NOW - 3600,
    until_unix_s=NOW, change=Change(2.0, True, "Traffic changed."), evidence_age_s=None, stale="",
    holder="", usd_per_hour=10.0, regime={"gpus": 4.0}, today=(), past=(),
)  # fmt: skip


def episode(number=1, outcome="promoted", ago_s=20_000.0, gain=0.1, regime=4.0, **facts):
    at = datetime.fromtimestamp(NOW - ago_s, UTC)
    window = {"until_unix_s": NOW - ago_s}
    known = {"regime": {"gpus": regime}, "gain": gain, "window": window, "spent": {}, **facts}
    return Episode("default", number, at, None if outcome is None else at, outcome, facts=known)


STEADY = replace(SEEN, change=Change(0.1, False, "It is as it was."), past=(episode(),))


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (SEEN, "worth"),
        (replace(SEEN, requests=10), "gathering"),
        (replace(SEEN, needed_s=5000.0), "gathering"),
        (replace(SEEN, holder="a" * 64), "trial"),
        (replace(SEEN, past=(episode(ago_s=60.0),)), "cool-down"),
        (replace(SEEN, past=(episode(ago_s=2000.0),)), "fresh windows"),
        (replace(SEEN, past=(episode(ago_s=-9000.0),)), "clock"),
        (replace(SEEN, past=(episode(ago_s=-9000.0, window={}),)), "worth"),
        (replace(SEEN, today=(episode(spent={"seconds": 14_300.0}),)), "budget"),
        (replace(SEEN, today=(episode(limits={"seconds": 14_300.0}),)), "budget"),
        (replace(SEEN, usd_per_hour=1e-6), "price"),
        (STEADY, "steady"),
        (replace(STEADY, stale="Most of the gain is gone."), "worth"),
        (replace(STEADY, evidence_age_s=1e7), "worth"),
        (replace(STEADY, past=(episode(outcome="rolled_back"),)), "worth"),
    ],
)
def test_the_first_no_is_the_reason(seen, code):
    choice = decide(CONFIG, seen)
    assert (choice.code, choice.evolve) == (code, code == "worth")
    assert choice.reason.endswith(".")
    assert (choice.limits is not None) == choice.evolve


def test_what_nearby_searches_found_counts_most():
    def gain(*past):
        return expected_gain(CONFIG, replace(SEEN, past=past))

    nothing = episode(outcome="no_change", gain=None)
    assert gain() == pytest.approx(0.03)
    assert gain(nothing) == pytest.approx(0.015)
    assert gain(nothing, nothing) == pytest.approx(0.01)
    assert gain(episode(regime=4e6, outcome="no_change")) == pytest.approx(0.03, rel=0.01)
    assert gain(episode(gain=0.2)) == pytest.approx(0.115)
    assert gain(episode(gain=0.2, outcome="rolled_back")) == pytest.approx(0.015)


def test_a_search_gets_what_the_day_has_left_and_an_open_one_counts_whole():
    config = DaemonConfig.model_validate(
        {"watch": WATCH, "run": {"seconds": 100, "tokens": 1000}, "day": {"seconds": 300, "usd": 4}}
    )
    limits = affordable(config, ())
    assert (limits.seconds, limits.tokens, limits.usd) == (100.0, 1000, 4.0)
    open_one = episode(outcome=None)
    open_one.facts.pop("spent")
    open_one.facts["limits"] = {"seconds": 240.0, "usd": 3.5}
    left = affordable(config, (open_one,))
    assert (left.seconds, left.usd) == (60.0, 0.5)
    assert affordable(config, (open_one, episode(spent={"seconds": 20.0}))) is None
    assert price_usd(config, limits) == pytest.approx(0.05 * 100 / 3600)  # no model is named
