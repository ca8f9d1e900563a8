"""The first candidates of every run: what people wrote, verified and scored, and veterans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolver.archive import HUMAN, VETERAN, Member
from evolver.chronicle import Chronicle
from evolver.errors import NothingToStartFrom
from evolver.evaluation import Evaluator, Trial, Yardstick
from evolver.journal import first_fault
from evolver.task import Human, Refused, Results, Split, Task

TUNED = ", tuned"  # behind the name of a human with other constants
_NOBODY = (
    "No human policy could be verified and run on the training windows: give at least one that "
    "works, and see the refusals and faults above."
)


@dataclass(frozen=True, slots=True)
class Founders:
    """Who is there before the search.

    Attributes:
        members: the humans, whom a candidate must beat; tuned ones follow the others.
        veterans: winners of earlier runs: candidates, like those to come.
        yardstick: the humans' best objective on each training window.
        active: digest of the active policy, if it was among the humans.
    """

    members: tuple[Member, ...]
    veterans: tuple[Member, ...]
    yardstick: Yardstick
    active: str | None

    @property
    def best(self) -> Member:
        """The best human on the training windows."""
        return min(self.members, key=lambda member: member.rank)

    @property
    def able(self) -> list[Member]:
        """Everyone who runs without a fault."""
        return [m for m in (*self.members, *self.veterans) if first_fault(m.results) is None]

    def with_tuned(self, members: Sequence[Member]) -> Founders:
        """Each human also with the best constants among the members, who come best first.

        Whoever found them: a human's text with other constants is no candidate.
        """
        everyone = list(self.members)
        for human in self.members:
            text, name = human.program.canonical, human.name.removesuffix(TUNED) + TUNED
            best = next((one for one in members if one.program.canonical == text), human)
            if best.digest not in {one.digest for one in everyone}:
                everyone = [one for one in everyone if one.name != name]
                everyone.append(replace(best, name=name, origin=HUMAN, idea=human.idea))
        return replace(self, members=tuple(everyone))


def found(
    task: Task,
    humans: Sequence[Human],
    veterans: Sequence[Human],
    evaluator: Evaluator,
    chronicle: Chronicle,
) -> Founders:
    """Verify and score all of them on the probe and all training windows; a text counts once.

    Raises:
        BudgetTooSmall: the evaluations do not cover them.
        NothingToStartFrom: no human works.
    """
    people = _verified(task, humans, chronicle)
    evaluator.budget.require(len(people), f"{len(people)} human policies")
    known = {trial.digest for _, trial in people}
    former = [pair for pair in _verified(task, veterans, chronicle) if pair[1].digest not in known]
    windows = [w for rung in task.cascade() for w in rung.windows]
    results = evaluator.must([trial for _, trial in people], windows, "baselines")
    if all(first_fault(result) is not None for result in results):
        raise NothingToStartFrom(_NOBODY)
    yardstick = Yardstick.of([_training(task, result) for result in results])
    members = [
        _member(task, yardstick, human, trial, result, HUMAN)
        for (human, trial), result in zip(people, results, strict=True)
    ]
    found = evaluator.score([trial for _, trial in former], windows, "veterans")
    scored = [
        _member(task, yardstick, human, trial, result, VETERAN)
        for (human, trial), result in zip(former, found, strict=False)
    ]
    active = next(
        (m.digest for (human, _), m in zip(people, members, strict=True) if human.active), None
    )
    for member in (*members, *scored):
        chronicle.human(member, member.digest == active)
    return Founders(tuple(members), tuple(scored), yardstick, active)


def _training(task: Task, results: Results) -> Results:
    return {window: results[window] for window in task.windows(Split.TRAINING)}


def _member(
    task: Task, yardstick: Yardstick, human: Human, trial: Trial, results: Results, origin: str
) -> Member:
    """A founder under its own name; its results are those that count, without the probe's."""
    training = _training(task, results)
    return Member(
        digest=trial.digest,
        name=human.name,
        program=trial.program,
        parameters=dict(trial.parameters),
        results=training,
        score=yardstick.score(training),
        niche=task.niche(trial.program, training),
        origin=origin,
        idea=trial.program.claim,
        parents=(),
        generation=0,
    )


def _verified(
    task: Task, humans: Sequence[Human], chronicle: Chronicle
) -> list[tuple[Human, Trial]]:
    """Each legal text once, the active one first."""
    trials: dict[str, tuple[Human, Trial]] = {}
    for human in sorted(humans, key=lambda human: not human.active):
        program = task.verify(human.text, human.name)
        if isinstance(program, Refused):
            chronicle.human_refused(human, program.refusals)
        else:
            trial = Trial(program, program.parameters())
            trials.setdefault(trial.digest, (human, trial))
    return list(trials.values())
