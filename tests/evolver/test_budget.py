"""Budgets: what is counted, what ends a run, what is set aside."""

import math

import pytest

from evolver.budget import Budget, Limits
from evolver.errors import BudgetTooSmall
from evolver.proposer import Cost


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    "bad",
    [{}, {"seconds": -1.0}, {"evaluations": 0}, {"seconds": math.nan}, {"seconds": 9, "tokens": 0}],
)
def test_a_limit_must_be_given_and_positive(bad):
    with pytest.raises(BudgetTooSmall, match="positive limit"):
        Limits(**bad)


def test_a_screen_counts_as_its_share_of_an_evaluation():
    budget = Budget(Limits(evaluations=2), runs_per_evaluation=4)
    budget.spend_runs(1, 0.1)
    assert budget.evaluations == 0.25
    assert budget.runs_left() == 7


def test_a_share_of_the_budget_can_be_asked_for():
    budget = Budget(Limits(evaluations=10), runs_per_evaluation=2)
    budget.spend_runs(4, 0.1)
    assert budget.runs_left(until=0.5) == 6
    assert budget.runs_left(until=0.2) == 0


@pytest.mark.parametrize(
    ("limits", "cost"),
    [(Limits(tokens=100), Cost(60, 50)), (Limits(price_usd=0.01), Cost(price_usd=0.02))],
)
def test_tokens_and_dollars_end_the_search(limits, cost):
    budget = Budget(limits, runs_per_evaluation=1)
    assert budget.runs_left() > 0
    budget.spend(cost)
    assert budget.runs_left() == 0


def test_seconds_leave_time_for_the_proof():
    clock = Clock()
    budget = Budget(Limits(seconds=60), 1, proof_runs=20, clock=clock)
    budget.spend_runs(10, 10.0)
    clock.now = 39.0
    assert budget.runs_left() > 0
    clock.now = 40.0
    assert budget.runs_left() == 0
