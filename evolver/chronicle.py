"""Writes the events of the loop: what was tried, how it did, where the run stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from evolver.archive import HUMAN, Member
from evolver.bandit import Account
from evolver.budget import Budget
from evolver.errors import ProposerFailed, ReplyUnusable
from evolver.journal import (
    EventKind,
    Journal,
    first_fault,
    objectives_as_data,
    refusals_as_data,
    scored_as_data,
)
from evolver.proposer import Proposal
from evolver.task import Human, Refusal, Results, Split, Task

if TYPE_CHECKING:
    from evolver.candidates import Candidate, Place, Tally
    from evolver.verdict import Verdict


class Chronicle:
    """Turns what the loop knows into the events that `journal` lists."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def generation(self) -> int:
        """The present one."""
        return self._journal.generation

    def started(self, task: Task, seed: int, arms: Sequence[str], evaluation_cost: int) -> None:
        """A run begins."""
        description = task.describe()
        self._journal.write(
            EventKind.RUN_STARTED,
            title=description.title,
            objective=description.objective,
            regime=dict(description.regime),
            seed=seed,
            windows={split.value: list(task.windows(split)) for split in Split},
            units={split.value: len(set(map(task.unit, task.windows(split)))) for split in Split},
            rungs=[rung.name for rung in task.cascade()],
            arms=list(arms),
            evaluation_cost=evaluation_cost,
        )

    def human(self, member: Member, active: bool) -> None:
        """A founder was scored."""
        data = {**scored_as_data(member), "active": active}
        self._journal.write(EventKind.HUMAN_SCORED, member.digest, **data)

    def human_refused(self, human: Human, refusals: Sequence[Refusal]) -> None:
        """A founder is no legal candidate."""
        self._journal.write(
            EventKind.CANDIDATE_REFUSED,
            proposer=HUMAN,
            ask="",
            idea=human.name,
            attempt=0,
            text=human.text,
            refusals=refusals_as_data(refusals),
        )

    def refused(self, place: Place, proposal: Proposal, refusals: Sequence[Refusal]) -> None:
        """A text is no legal candidate."""
        self._journal.write(
            EventKind.CANDIDATE_REFUSED,
            proposer=proposal.proposer,
            ask=place.asked.ask,
            idea=proposal.idea,
            attempt=place.attempts,
            text=proposal.text,
            refusals=refusals_as_data(refusals),
        )

    def unusable(self, place: Place, failure: ReplyUnusable) -> None:
        """An answer holds no candidate."""
        self._journal.write(
            EventKind.CANDIDATE_UNUSABLE,
            proposer=place.proposer.name,
            ask=place.asked.ask,
            attempt=place.attempts,
            reason=failure.flaw,
        )

    def failed(self, place: Place, failure: ProposerFailed, left_out: bool) -> None:
        """A proposer could not answer."""
        self._journal.write(
            EventKind.PROPOSER_FAILED,
            proposer=place.proposer.name,
            ask=place.asked.ask,
            reason=str(failure),
            attempt=place.attempts,
            left_out=left_out,
        )

    def duplicate(self, candidate: Candidate, twin: str, how: str) -> None:
        """A candidate is, or decides as, a known one."""
        self._journal.write(
            EventKind.CANDIDATE_DUPLICATE, candidate.trial.digest, **_about(candidate),
            twin=twin, how=how,
        )  # fmt: skip

    def answered(self, answers: int, budget: Budget) -> None:
        """A wave of proposals is judged: the time it took counts from here."""
        self._journal.write(
            EventKind.ANSWERED, answers=answers, tokens=budget.tokens, price_usd=budget.price_usd
        )

    def dropped(
        self, candidate: Candidate, results: Results, rung: str, reason: str, score: float,
        bar: float,
    ) -> None:  # fmt: skip
        """A candidate's climb ended."""
        self._journal.write(
            EventKind.CANDIDATE_DROPPED,
            candidate.trial.digest,
            **_about(candidate),
            name=candidate.name,
            parents=list(candidate.proposal.parents),
            rung=rung,
            reason=reason,
            score=score if math.isfinite(score) else None,
            bar=bar if math.isfinite(bar) else None,
            fault=first_fault(results),
            objectives=objectives_as_data(results),
            text=candidate.trial.program.annotated(),
            parameters=dict(candidate.trial.parameters),
        )

    def scored(self, member: Member, candidate: Candidate) -> None:
        """A candidate was scored on all training windows."""
        parent = candidate.parent
        self._journal.write(
            EventKind.CANDIDATE_SCORED,
            member.digest,
            **scored_as_data(member),
            arm=candidate.proposal.proposer,
            ask=candidate.request.ask,
            parent_score=parent.score,
            gain=math.log(parent.score / member.score),
            niche=list(member.niche),
            island=candidate.request.island,
        )

    def tuned(self, member: Member, of: Member, tried: int) -> None:
        """A founder has better constants."""
        data = {**scored_as_data(member), "of": of.name, "score_before": of.score, "tried": tried}
        self._journal.write(EventKind.TUNED, member.digest, **data)

    def generation_done(
        self, best: Member, human: Member, budget: Budget, tally: Tally,
        accounts: Mapping[str, Account],
    ) -> None:  # fmt: skip
        """A generation ended: the best of all, the best human, and what is spent."""
        self._journal.write(
            EventKind.GENERATION_DONE,
            best.digest,
            best=best.name,
            best_score=best.score,
            best_human=human.name,
            best_human_score=human.score,
            evaluations=budget.evaluations,
            share=budget.share(),
            tokens=budget.tokens,
            price_usd=budget.price_usd,
            **asdict(tally),
            arms={name: _account(accounts[name], budget) for name in sorted(accounts)},
        )

    def finalist(self, member: Member, varied: float | None) -> None:
        """A member is worth comparing on the validation windows."""
        self._journal.write(
            EventKind.FINALIST, member.digest, name=member.name, score=member.score, varied=varied
        )

    def finished(self, verdict: Verdict, budget: Budget) -> None:
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
            tried=verdict.tried,
            finalists=verdict.finalists,
            rivals=[rival.as_data() for rival in verdict.effects],
            gates=[asdict(gate) for gate in verdict.gates],
            evaluations=budget.evaluations,
            tokens=budget.tokens,
            price_usd=budget.price_usd,
        )


def _about(candidate: Candidate) -> dict[str, object]:
    return {
        "proposer": candidate.proposal.proposer,
        "ask": candidate.request.ask,
        "idea": candidate.proposal.idea,
        "attempt": len(candidate.request.feedback.attempts),
    }


def _account(account: Account, budget: Budget) -> dict[str, object]:
    return {
        "asked": account.asked,
        "scored": account.scored,
        "gain": account.total_gain,
        "share": account.total_share,
        "evaluations": account.run_cost / budget.evaluation_cost,
        "tokens": account.tokens,
        "price_usd": account.price_usd,
    }
