"""Tunes the constants of members on the training windows, within a share of the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolver.archive import Member
from evolver.evaluation import Evaluator, Trial, Yardstick
from evolver.journal import EventKind, Journal, first_fault, scored_as_data
from evolver.task import Results, Task
from evolver.tuner import Parameters, tune


@dataclass(frozen=True, slots=True)
class Bench:
    """Where members are scored and refined: the training windows and what they are held against."""

    task: Task
    evaluator: Evaluator
    journal: Journal
    yardstick: Yardstick
    training: tuple[str, ...]

    def member(
        self, trial: Trial, results: Results, origin: str, idea: str, parents: tuple[str, ...]
    ) -> Member:
        """A member from its results on the training windows."""
        digest = trial.digest
        return Member(
            digest=digest,
            name=f"{origin}-{digest[:8]}",
            program=trial.program,
            parameters=dict(trial.parameters),
            results=dict(results),
            score=self.yardstick.score(results),
            niche=self.task.niche(trial.program, results),
            origin=origin,
            idea=idea,
            parents=parents,
            generation=self.journal.generation,
        )

    def refine(self, member: Member, *, seed: int, tries: int, until: float = 1.0) -> Member | None:
        """The member with better constants, None when none were found.

        Args:
            member: what to tune, from its present constants.
            seed: of the optimizer.
            tries: most parameter sets to score, on all training windows each.
            until: share of the budget at which to stop.
        """
        tuning = tune(
            member.program.tunables,
            member.parameters,
            member.score,
            lambda batch: self._scores(member, batch, until),
            seed=seed,
            tries=tries,
        )
        if tuning.score >= member.score:
            return None
        trial = Trial(member.program, tuning.parameters)
        results = self.evaluator.evaluate([trial], self.training)[0]
        tuned = self.member(trial, results, "tuner", f"{member.idea}, tuned", (member.digest,))
        # tuning moves numbers; who wrote the structure stays who wrote it
        tuned = replace(tuned, origin=member.origin)
        self.journal.write(
            EventKind.TUNED,
            tuned.digest,
            of=member.name,
            score_before=member.score,
            tried=tuning.tried,
            **scored_as_data(tuned),
        )
        return tuned

    def _scores(self, member: Member, batch: Sequence[Parameters], until: float) -> list[float]:
        """Scores of the parameter sets that the budget pays for; a fault is never an answer."""
        trials = [Trial(member.program, parameters) for parameters in batch]
        payable = self.evaluator.affordable(trials, self.training, until)
        results = self.evaluator.evaluate(trials[:payable], self.training)
        return [
            self.yardstick.score(r) if first_fault(r) is None else float("inf") for r in results
        ]
