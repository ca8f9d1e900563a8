"""The first candidates of every run: what people wrote, verified, scored and fairly tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolver.archive import Member
from evolver.budget import Budget
from evolver.candidates import seed_for
from evolver.errors import NothingToStartFrom
from evolver.evaluation import Evaluator, Trial, Yardstick
from evolver.journal import EventKind, Journal, first_fault, refusals_as_data, scored_as_data
from evolver.refinement import Bench
from evolver.task import Human, Refused, Split, Task

_NOBODY = (
    "No human policy could be verified and run on the training windows: give at least one that "
    "works, and see the refusals and faults above."
)


@dataclass(frozen=True, slots=True)
class Founders:
    """The humans a candidate must beat; those with tuned constants follow the others."""

    members: tuple[Member, ...]
    bench: Bench
    active: str | None  # digest of the active policy, if it was among them

    @property
    def best(self) -> Member:
        """The best of them on the training windows."""
        return min(self.members, key=lambda member: member.rank)


def score_humans(
    task: Task, humans: Sequence[Human], evaluator: Evaluator, budget: Budget, journal: Journal
) -> Founders:
    """Verify and score every human on all training windows; the same text counts once.

    Raises:
        BudgetTooSmall: the evaluations do not cover them.
        NothingToStartFrom: none of them works.
    """
    trials = _verified(task, humans, journal)
    budget.require(len(trials), f"{len(trials)} human policies")
    training = task.windows(Split.TRAINING)
    results = evaluator.evaluate([trial for _, trial in trials], training) if trials else []
    if all(first_fault(result) is not None for result in results):
        raise NothingToStartFrom(_NOBODY)
    bench = Bench(task, evaluator, journal, Yardstick.of(results), training)
    members, active = [], None
    for (human, trial), result in zip(trials, results, strict=True):
        member = bench.member(trial, result, "human", trial.program.claim, ())
        members.append(replace(member, name=human.name))
        active = member.digest if human.active else active
        data = {**scored_as_data(members[-1]), "active": human.active}
        journal.write(EventKind.HUMAN_SCORED, member.digest, **data)
    return Founders(tuple(members), bench, active)


def _verified(task: Task, humans: Sequence[Human], journal: Journal) -> list[tuple[Human, Trial]]:
    trials: dict[str, tuple[Human, Trial]] = {}
    for human in sorted(humans, key=lambda human: not human.active):
        program = task.verify(human.text, human.name)
        if isinstance(program, Refused):
            refusals = refusals_as_data(program.refusals)
            journal.write(
                EventKind.CANDIDATE_REFUSED,
                proposer="human",
                idea=human.name,
                attempt=0,
                text=human.text,
                refusals=refusals,
            )
        else:
            trial = Trial(program, program.parameters())
            trials.setdefault(trial.digest, (human, trial))
    return list(trials.values())


def tune_humans(
    founders: Founders, budget: Budget, *, count: int, share: float, tries: int, seed: int
) -> Founders:
    """Give the best `count` humans with constants equal parts of `share` of the budget."""
    fit = [m for m in founders.members if m.program.tunables and first_fault(m.results) is None]
    chosen = sorted(fit, key=lambda member: member.rank)[:count]
    start = budget.share()
    tuned = []
    for index, member in enumerate(chosen):
        until = min(start + share * (index + 1) / len(chosen), 1.0)
        better = founders.bench.refine(
            member, seed=seed_for(seed, 0, index), tries=tries, until=until
        )
        if better is not None:
            tuned.append(replace(better, name=f"{member.name}, tuned", origin="human"))
    return replace(founders, members=(*founders.members, *tuned))
