"""Writes the events of the loop: what was tried, how it did, where the run stands."""

from __future__ import annotations

from evolver.archive import Member
from evolver.budget import Budget
from evolver.candidates import Candidate, Tally
from evolver.journal import EventKind, Journal, first_fault, objectives_as_data, scored_as_data
from evolver.selection import Verdict
from evolver.task import Results, Split, Task


class Chronicle:
    """Turns what the loop knows into the events that `journal` lists."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def started(self, task: Task, seed: int) -> None:
        """A run begins."""
        description = task.describe()
        self._journal.write(
            EventKind.RUN_STARTED,
            title=description.title,
            objective=description.objective,
            seed=seed,
            windows={split.value: list(task.windows(split)) for split in Split},
        )

    def screened(
        self, candidate: Candidate, results: Results, score: float, promoted: bool
    ) -> None:
        """A candidate was scored on the screen."""
        self._journal.write(
            EventKind.CANDIDATE_SCREENED,
            candidate.trial.digest,
            proposer=candidate.proposal.proposer,
            idea=candidate.proposal.idea,
            parents=list(candidate.proposal.parents),
            score=score,
            promoted=promoted,
            fault=first_fault(results),
            objectives=objectives_as_data(results),
        )

    def scored(self, member: Member) -> None:
        """A candidate was scored on all training windows."""
        self._journal.write(EventKind.CANDIDATE_SCORED, member.digest, **scored_as_data(member))

    def generation_done(self, best: Member, human: Member, budget: Budget, tally: Tally) -> None:
        """A generation ended: the best of all, the best human, and what is spent."""
        self._journal.write(
            EventKind.GENERATION_DONE,
            best.digest,
            best=best.name,
            best_score=best.score,
            best_human=human.name,
            best_human_score=human.score,
            evaluations=budget.evaluations,
            seconds=budget.seconds,
            share=budget.share(),
            tokens=budget.tokens,
            price_usd=budget.price_usd,
            proposed=tally.proposed,
            refused=tally.refused,
            duplicates=tally.duplicates,
            scored=tally.scored,
            faulted=tally.faulted,
        )

    def finished(self, verdict: Verdict, evaluations: float, seconds: float) -> None:
        """The verdict."""
        effect = verdict.effect
        self._journal.write(
            EventKind.RUN_FINISHED,
            verdict.winner.digest if verdict.winner else None,
            outcome=verdict.outcome.value,
            reason=verdict.reason,
            gain=effect.gain if effect else None,
            low=effect.low if effect else None,
            high=effect.high if effect else None,
            evaluations=evaluations,
            seconds=seconds,
        )
