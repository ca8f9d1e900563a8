"""From requests to verified, novel candidates: waves of proposals, refusals handed back."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from evolver.budget import Budget
from evolver.errors import ProposerFailed
from evolver.evaluation import Trial
from evolver.journal import EventKind, Journal, refusals_as_data
from evolver.proposer import Attempt, Proposal, ProposalRequest, Proposer
from evolver.task import Refusal, Refused, Task

Answer = Proposal | ProposerFailed | None

FAILURES_IN_A_ROW = 4  # after which a proposer is left out for the rest of the run


def seed_for(*place: int) -> int:
    """A seed for one place of a run (run seed, generation, slot, ...); no two places share it."""
    return int(np.random.SeedSequence([part % 2**32 for part in place]).generate_state(1)[0])


@dataclass(frozen=True, slots=True)
class Candidate:
    """A verified text that was never seen before, with how it came about."""

    trial: Trial
    request: ProposalRequest
    proposal: Proposal


@dataclass(slots=True)
class Tally:
    """What became of the proposals of a run."""

    proposed: int = 0
    refused: int = 0
    duplicates: int = 0
    failed: int = 0
    scored: int = 0
    faulted: int = 0


@dataclass(slots=True)
class Place:
    """One place of a batch while it is being filled."""

    turn: int
    request: ProposalRequest
    attempts: int = 0
    candidate: Candidate | None = None


class Intake:
    """Asks proposers, verifies what they write, and asks again with the reasons of a refusal.

    Places of a batch are filled in waves: the open places are asked in order, `threads` of them at
    once and none once the budget is spent; those refused or already known go into the next wave,
    `tries` waves at most. Proposers take turns; one that fails too often is left out.
    """

    def __init__(
        self,
        task: Task,
        proposers: Sequence[Proposer],
        journal: Journal,
        budget: Budget,
        *,
        tries: int,
        threads: int = 1,
    ) -> None:
        self._task = task
        self._proposers = tuple(proposers)
        self._journal = journal
        self._budget = budget
        self._tries = tries
        self._threads = threads
        self._failures = {proposer.name: 0 for proposer in proposers}
        self._seen: set[str] = set()
        self._turn = 0
        self.tally = Tally()

    def know(self, digest: str) -> bool:
        """Mark a digest as seen; was it new?"""
        new = digest not in self._seen
        self._seen.add(digest)
        return new

    @property
    def working(self) -> list[Proposer]:
        """The proposers that have not failed too often in a row."""
        return [p for p in self._proposers if self._failures[p.name] < FAILURES_IN_A_ROW]

    def fill(self, requests: Sequence[ProposalRequest]) -> list[Candidate]:
        """Candidates for the requests, in their order; places nobody could fill are left out."""
        places = [Place(self._turn + i, request) for i, request in enumerate(requests)]
        self._turn += len(places)
        for _ in range(self._tries):
            waiting = [place for place in places if place.candidate is None]
            if not waiting or not self.working or not self._budget.runs_left():
                break
            self._wave(waiting)
        return [place.candidate for place in places if place.candidate is not None]

    def _wave(self, waiting: Sequence[Place]) -> None:
        working = self.working
        calls = [(working[place.turn % len(working)], place.request) for place in waiting]
        for first in range(0, len(calls), self._threads):
            if not self._budget.runs_left():  # tokens and dollars go call by call
                return
            part = slice(first, first + self._threads)
            answers = self._ask_all(calls[part])
            for place, (proposer, _), answer in zip(
                waiting[part], calls[part], answers, strict=True
            ):
                self._judge(place, proposer, answer)
                place.attempts += 1
                seed = seed_for(place.request.rng_seed, place.attempts)
                place.request = replace(place.request, rng_seed=seed)

    def _ask_all(self, calls: Sequence[tuple[Proposer, ProposalRequest]]) -> list[Answer]:
        """The answers in order; asked side by side when there are several."""
        if len(calls) < 2:
            return [_ask(*call) for call in calls]
        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(lambda call: _ask(*call), calls))

    def _judge(self, place: Place, proposer: Proposer, answer: Answer) -> None:
        """Fill the place, or leave in its request why not."""
        if not isinstance(answer, Proposal):
            self._failed(place, proposer, answer)
            return
        self._failures[proposer.name] = 0
        self._budget.spend(answer.cost)
        self.tally.proposed += 1
        program = self._task.verify(answer.text, answer.proposer)
        if isinstance(program, Refused):
            self._refused(place, answer, program.refusals)
            return
        known = program.parameters()
        moved = {k: float(v) for k, v in (answer.parameters or {}).items() if k in known}
        trial = Trial(program, {**known, **moved})
        if self.know(trial.digest):
            place.candidate = Candidate(trial, place.request, answer)
        else:
            self._duplicate(place, answer, trial.digest)

    def _failed(self, place: Place, proposer: Proposer, failure: ProposerFailed | None) -> None:
        """No idea (None) is no failure of the proposer; being unable to work is."""
        place.turn += 1
        if failure is None:
            return
        self._budget.spend(failure.cost)
        self._failures[proposer.name] += 1
        self.tally.failed += 1
        self._journal.write(
            EventKind.PROPOSER_FAILED,
            proposer=proposer.name,
            reason=str(failure),
            attempt=place.attempts,
            left_out=proposer not in self.working,
        )

    def _refused(self, place: Place, proposal: Proposal, refusals: tuple[Refusal, ...]) -> None:
        self.tally.refused += 1
        place.request = _with(place.request, Attempt(proposal.text, refusals))
        self._journal.write(
            EventKind.CANDIDATE_REFUSED,
            proposer=proposal.proposer,
            idea=proposal.idea,
            attempt=place.attempts,
            text=proposal.text,
            refusals=refusals_as_data(refusals),
        )

    def _duplicate(self, place: Place, proposal: Proposal, digest: str) -> None:
        self.tally.duplicates += 1
        place.request = _with(place.request, Attempt(proposal.text))
        self._journal.write(
            EventKind.CANDIDATE_DUPLICATE,
            digest,
            proposer=proposal.proposer,
            idea=proposal.idea,
            attempt=place.attempts,
        )


def _ask(proposer: Proposer, request: ProposalRequest) -> Answer:
    try:
        return proposer.propose(request)
    except ProposerFailed as failure:
        return failure


def _with(request: ProposalRequest, attempt: Attempt) -> ProposalRequest:
    attempts = (*request.feedback.attempts, attempt)
    return replace(request, feedback=replace(request.feedback, attempts=attempts))
