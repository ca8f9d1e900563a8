"""Proposers that are waited for: who is asked from where, by when, and what it cost."""

import threading

import pytest

from evolver.budget import Limits
from evolver.loop import Search, SearchSettings
from evolver.proposer import Cost, Proposal


class Thinking:
    """Is waited for; each call takes ten seconds of a clock, and costs a hundred tokens."""

    name, waits = "thinking", True

    def __init__(self, says=True):
        self.says, self.now, self.left = says, 0.0, []

    def clock(self):
        return self.now

    def propose(self, request):
        self.left.append(request.seconds_left)
        self.now += 10.0
        text = f"ALPHA = {request.rng_seed % 89}"
        cost = Cost(tokens_in=100)
        if self.says or request.rng_seed % 2:  # half of the places go to somebody else
            return Proposal(text if self.says else "?", self.name, "", (), cost=cost)
        return None


def search(task, proposers, humans, limits, clock=None, **settings):
    settings = SearchSettings(tuned_humans=0, barren=1, **settings)
    more = {"clock": clock} if clock else {}
    return Search(task, proposers, humans, limits, settings, **more)


def test_who_is_not_waited_for_is_asked_in_order_from_the_runs_own_thread(bowls, lines, humans):
    threads = []

    class Watched(type(lines)):
        def propose(self, request):
            threads.append(threading.current_thread())
            return super().propose(request)

    search(
        bowls(), [Thinking(says=False), Watched()], humans, Limits(evaluations=30), tuner=False
    ).run()
    assert set(threads) == {threading.main_thread()}


def test_a_call_that_waited_for_its_turn_has_less_time_left(bowls, humans):
    model = Thinking()
    run = search(bowls(), [model], humans, Limits(seconds=300.0), model.clock, batch=4, threads=1,
                 tuner=False, tries=1)  # fmt: skip
    run.run()
    assert model.left[:4] == [300.0, 290.0, 280.0, 270.0]


@pytest.mark.parametrize("seed", range(3))
def test_what_was_asked_ahead_is_paid_for_when_others_use_up_the_budget(bowls, lines, humans, seed):
    model = Thinking()
    run = search(bowls(), [model, lines], humans, Limits(evaluations=8), tuner=False, seed=seed)
    result = run.run()
    assert result.tokens == 100 * len(model.left) > 0
