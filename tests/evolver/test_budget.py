"""Budgets: what is counted, what ends a run, what is set aside."""

import math

import pytest

from evolver.budget import CHUNKS_LEFT, Budget, Limits
from evolver.errors import BudgetTooSmall
from evolver.journal import EventKind, Journal
from evolver.proposer import Cost


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def budget_of(limits, evaluation_cost, clock=None, **more):
    return Budget(limits, evaluation_cost, Journal(clock=clock or Clock()), **more)


@pytest.mark.parametrize(
    "bad",
    [{}, {"seconds": -1.0}, {"evaluations": 0}, {"seconds": math.nan}, {"seconds": 9, "tokens": 0}],
)
def test_a_limit_must_be_given_and_positive(bad):
    with pytest.raises(BudgetTooSmall, match="positive limit"):
        Limits(**bad)


def test_a_screen_counts_as_its_share_of_an_evaluation():
    budget = budget_of(Limits(evaluations=2), 4)
    budget.spend_runs(1, 0.1)
    assert budget.evaluations == 0.25
    assert budget.left() == 7


def test_a_share_of_the_budget_can_be_asked_for():
    budget = budget_of(Limits(evaluations=10), 2)
    budget.spend_runs(4, 0.1)
    assert budget.left(until=0.5) == 6
    assert budget.left(until=0.2) == 0


@pytest.mark.parametrize(
    ("limits", "cost"),
    [(Limits(tokens=100), Cost(60, 50)), (Limits(price_usd=0.01), Cost(5, price_usd=0.02))],
)
def test_tokens_and_dollars_end_the_search(limits, cost):
    budget = budget_of(limits, 1)
    assert budget.answers_left() == 1
    budget.spend(cost)
    assert budget.left() == budget.answers_left() == 0


def test_answers_are_rationed_by_the_dearest_so_far():
    budget = budget_of(Limits(tokens=1000), 1)
    budget.spend(Cost(100, 100))
    budget.spend(Cost(60, 40))
    assert (budget.answers_left(), budget.tokens_left(3)) == (3, 233)


def test_answers_asked_side_by_side_share_what_is_left():
    budget = budget_of(Limits(tokens=1000, price_usd=1.0), 1)
    budget.spend(Cost(60, 40, 0.25))
    assert (budget.tokens_left(3), budget.price_left_usd(3)) == (300, 0.25)
    assert budget_of(Limits(seconds=1), 1).tokens_left(3) is None


def test_seconds_leave_time_for_the_proof():
    clock = Clock()
    budget = budget_of(Limits(seconds=60), 1, clock, proof_cost=20)
    budget.spend_runs(10, 10.0)
    for now, left in ((39.0, True), (40.0, False)):
        clock.now = now
        budget.journal.write(EventKind.EVALUATED)
        assert bool(budget.left()) is left


def test_time_moves_with_events_only():
    clock = Clock()
    budget = budget_of(Limits(seconds=60), 1, clock)
    clock.now = 59.0
    assert budget.share() == 0.0
    assert budget.seconds_left == 1.0


def test_the_proof_is_beside_the_evaluations():
    budget = budget_of(Limits(evaluations=2), 1)
    budget.spend_runs(5, 1.0, proof=True)
    assert (budget.evaluations, budget.left()) == (0.0, 2)


def test_a_budget_below_the_humans_says_what_would_do():
    with pytest.raises(BudgetTooSmall, match="allow at least 4"):
        budget_of(Limits(evaluations=2), 4).require(3, "3 human policies")


def test_chunks_shrink_towards_the_end_of_the_search_not_of_the_proof():
    clock = Clock()
    budget = budget_of(Limits(seconds=60), 1, clock, proof_cost=20)
    clock.now = 20.0
    budget.journal.write(EventKind.EVALUATED)
    budget.spend_runs(20, 20.0)
    assert budget.chunk() == 20 // CHUNKS_LEFT
    assert budget.chunk(until=0.5) == 0
