"""The way to a score: everything is run once, and paid once."""

from made_up import Table, member

from evolver.budget import Budget, Limits
from evolver.evaluation import Evaluator, Trial
from evolver.journal import Journal

WINDOWS = ("w0", "w1")


def evaluator_of(evaluations):
    task, journal = Table(lambda name, window: 1.0, {}), Journal()
    return Evaluator(task, Budget(Limits(evaluations=evaluations), 2, journal), journal)


def trials(*names):
    return [Trial(member(name).program, {}) for name in names]


def test_what_was_run_is_neither_run_nor_paid_again():
    evaluator = evaluator_of(9)
    for _ in range(2):
        evaluator.score(trials("a", "b"), WINDOWS, "all")
    assert len(evaluator.task.ran) == 4
    assert evaluator.budget.evaluations == 2.0


def test_the_leading_ones_run_when_the_budget_does_not_pay_for_all():
    evaluator = evaluator_of(2)
    assert len(evaluator.score(trials("a", "b", "c"), WINDOWS, "all")) == 2


def test_what_is_forgotten_takes_no_memory_and_would_be_run_again():
    evaluator = evaluator_of(9)
    (trial,) = trials("a")
    evaluator.score([trial], WINDOWS, "all")
    evaluator.forget(trial.digest, WINDOWS)
    assert not evaluator.known
    evaluator.score([trial], WINDOWS, "all")
    assert len(evaluator.task.ran) == 4
