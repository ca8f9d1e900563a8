"""From requests to verified, novel candidates: waves of proposals, objections handed back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from evolver.archive import HUMAN, Member
from evolver.asking import Answer, Pending, ask, ask_ahead
from evolver.bandit import Bandit
from evolver.budget import Budget
from evolver.chronicle import Chronicle
from evolver.errors import ProposerFailed, ReplyUnusable
from evolver.evaluation import Trial
from evolver.progress import Progress
from evolver.proposer import Attempt, Cost, Proposal, ProposalRequest, Proposer
from evolver.task import Refusal, Refused, Task

FAILURES_IN_A_ROW = 4  # after which a proposer is left out for the rest of the run
NOTHING_NEW_IN_A_ROW = 16  # answers of one that is waited for: known texts, or no candidate at all


def seed_for(*place: int) -> int:
    """A seed for one place of a run (run seed, generation, slot, ...); no two places share it."""
    return int(np.random.SeedSequence([part % 2**32 for part in place]).generate_state(1)[0])


@dataclass(frozen=True, slots=True)
class Candidate:
    """A verified text that was never seen before, with how it came about."""

    trial: Trial
    request: ProposalRequest
    proposal: Proposal
    generation: int = 0

    @property
    def parent(self) -> Member:
        """What was changed: the tuner may choose another than it was offered."""
        named = self.proposal.parents[:1]
        offered = (self.request.parent, *self.request.others)
        return next((one for one in offered if one.digest in named), self.request.parent)

    @property
    def origin(self) -> str:
        """Who wrote the structure: tuning moves numbers, but a human's becomes the tuner's."""
        parent = self.parent
        same = self.trial.program.canonical == parent.program.canonical
        return parent.origin if same and parent.origin != HUMAN else self.proposal.proposer

    @property
    def paid(self) -> bool:
        """Whether it cost more than a moment to write."""
        return self.proposal.cost.tokens_out > 0

    @property
    def name(self) -> str:
        """A short name, by who wrote it and its digest."""
        return f"{self.proposal.proposer.split('/')[-1][:60]}-{self.trial.digest[:8]}"


@dataclass(slots=True)
class Tally:
    """What became of the proposals of a run."""

    proposed: int = 0
    refused: int = 0
    unusable: int = 0
    duplicates: int = 0
    failed: int = 0
    dropped: int = 0
    scored: int = 0
    faulted: int = 0


@dataclass(slots=True)
class Place:
    """One place of a batch while it is being filled.

    Attributes:
        sent: the request as it was asked last.
        pending: the answer to it, when it was asked for ahead.
        proposals: made for it, with their digests; learners will hear about them.
    """

    proposer: Proposer
    request: ProposalRequest
    sent: ProposalRequest | None = None
    pending: Pending | None = None
    attempts: int = 0
    candidate: Candidate | None = None
    proposals: list[tuple[Proposal, str]] = field(default_factory=list)

    @property
    def asked(self) -> ProposalRequest:
        """The request of the latest try."""
        return self.sent or self.request


Probe = Callable[[Sequence[Candidate]], list[Attempt | None]]
"""What to object to each candidate before anything is paid for; None is nothing."""


@dataclass(slots=True)
class Intake:
    """Asks proposers, verifies and probes what they write, and asks again with the objections.

    Places are filled in waves: the open ones are asked, and those whose answer was refused,
    unusable, known or faulty go into the next wave with that said, `tries` waves at most. A
    proposer that fails too often in a row is left out, and so is one that is waited for and has
    nothing new to say; its places go to another.

    Attributes:
        tries: waves.
        threads: proposers that are waited for, asked side by side.
    """

    task: Task
    proposers: tuple[Proposer, ...]
    chronicle: Chronicle
    budget: Budget
    bandit: Bandit
    tally: Tally
    progress: Progress
    tries: int
    threads: int
    _awaited: int = field(default=0, init=False)  # answers under way
    _failures: dict[str, int] = field(default_factory=dict, init=False)
    _nothing_new: dict[str, int] = field(default_factory=dict, init=False)
    _seen: dict[str, str] = field(default_factory=dict, init=False)

    def know(self, digest: str, name: str) -> None:
        """What is proposed with this digest is a twin of this one."""
        self._seen.setdefault(digest, name)

    @property
    def working(self) -> list[Proposer]:
        """The proposers that have not failed, or said nothing new, too often in a row."""
        return [proposer for proposer in self.proposers if self._works(proposer)]

    def _works(self, proposer: Proposer) -> bool:
        failed, stuck = (
            counts.get(proposer.name, 0) for counts in (self._failures, self._nothing_new)
        )
        return failed < FAILURES_IN_A_ROW and stuck < NOTHING_NEW_IN_A_ROW

    def ahead(self, places: Sequence[Place]) -> None:
        """Ask those that are waited for, as far as the budget goes; `fill` takes the answers.

        While answers are under way nobody knows what is left for more.
        """
        if self._awaited:
            return
        slow = [place for place in places if place.proposer.waits][: self.budget.answers_left()]
        calls = [self._call(place, number, len(slow)) for number, place in enumerate(slow, 1)]
        for place, pending in zip(slow, ask_ahead(calls, self.threads), strict=True):
            place.pending = pending
        self._awaited = len(slow)

    def _call(self, place: Place, number: int, of: int) -> Callable[[], Answer]:
        proposer, request = place.proposer, self._request(place, of)

        def call() -> Answer:
            self.progress.asking(proposer.name, number, of)
            left_s = self.budget.seconds_left  # now: it may have waited long for its turn
            return ask(proposer, replace(request, seconds_left=left_s))

        return call

    def fill(self, places: Sequence[Place], probe: Probe) -> list[Candidate]:
        """Candidates for the places, in their order; places nobody could fill are left out."""
        for _ in range(self.tries):
            waiting = [place for place in places if place.candidate is None]
            if not self.working or not self.budget.left():  # what was asked for is paid for, too
                waiting = [place for place in waiting if place.pending is not None]
            if not waiting:
                break
            self._wave(waiting, probe)
        return [place.candidate for place in places if place.candidate is not None]

    def _wave(self, places: Sequence[Place], probe: Probe) -> None:
        fresh = []
        asked = self._asked(places)
        for place in asked:
            candidate = self._judged(place, self._answer(place))
            place.attempts += 1
            if candidate is not None:
                fresh.append((place, candidate))
        self.chronicle.answered(len(asked), self.budget)
        objections = probe([candidate for _, candidate in fresh])
        for (place, candidate), objection in zip(fresh, objections, strict=True):
            if objection is None:
                place.candidate = candidate
            else:
                self._object(place, objection)

    def _asked(self, places: Sequence[Place]) -> list[Place]:
        """Those that get an answer in this wave: all that the budget pays for."""
        new = [place for place in places if place.pending is None]
        for place in new:
            self._staffed(place)
        self.ahead(new)
        return [place for place in places if place.pending or not place.proposer.waits]

    def _answer(self, place: Place) -> Answer:
        """What is waited for was asked ahead; the others are asked here, one after the other."""
        if place.pending is None:
            return ask(place.proposer, self._request(place))
        pending, place.pending = place.pending, None
        self._awaited -= 1
        return pending.answer()

    def _request(self, place: Place, of: int = 1) -> ProposalRequest:
        """The place's request for this try, with a seed and a name of its own.

        What `of` requests are asked side by side may take is shared between them: together they
        overrun no limit, however short the answers were before.
        """
        place.sent = replace(
            place.request,
            rng_seed=seed_for(place.request.rng_seed, place.attempts),
            ask=f"{place.request.ask}.{place.attempts}",
            tokens_left=self.budget.tokens_left(of),
            price_left_usd=self.budget.price_left_usd(of),
        )
        return place.sent

    def _staffed(self, place: Place) -> None:
        """Somebody who works takes the place of one who does not."""
        if not self._works(place.proposer):
            working = self.working
            place.proposer = next((p for p in working if not p.waits), working[0])

    def _judged(self, place: Place, answer: Answer) -> Candidate | None:
        """The verified candidate, or None with the reason left in the place."""
        if not isinstance(answer, Proposal):
            self._failed(place, answer)
            return None
        self._failures[place.proposer.name] = 0
        self.tally.proposed += 1
        self.bandit.account(answer.proposer).asked += 1
        self._spend(answer.proposer, answer.cost)
        program = self.task.verify(answer.text, answer.proposer)
        if isinstance(program, Refused):
            self._refused(place, answer, program.refusals)
            return None
        known = program.parameters()
        moved = {k: float(v) for k, v in (answer.parameters or {}).items() if k in known}
        trial = Trial(program, {**known, **moved})
        place.proposals.append((answer, trial.digest))
        candidate = Candidate(trial, place.asked, answer, self.chronicle.generation)
        if trial.digest in self._seen:
            self.tally.duplicates += 1
            twin = self._seen[trial.digest]
            self.chronicle.duplicate(candidate, twin, "text")
            self._object(place, Attempt(answer.text, twin=twin))
            self._said_nothing_new(place)
            return None
        self._nothing_new[place.proposer.name] = 0
        self._seen[trial.digest] = candidate.name
        return candidate

    def _spend(self, arm: str, cost: Cost) -> None:
        account = self.bandit.account(arm)
        account.tokens += cost.tokens_in + cost.tokens_out
        account.price_usd += cost.price_usd
        self.budget.spend(cost)
        self.bandit.spend(arm, self.budget.share_of(0, cost))

    def _failed(self, place: Place, failure: ProposerFailed | None) -> None:
        """No idea (None) is no failure of the proposer, but another takes the place."""
        name = place.proposer.name
        if failure is None:
            self._hand_over(place)
            return
        self._spend(name, failure.cost)
        if isinstance(failure, ReplyUnusable):
            self.tally.unusable += 1
            self.chronicle.unusable(place, failure)
            self._object(place, Attempt(failure.reply, unusable=failure.flaw))
            self._said_nothing_new(place)
            return
        self._failures[name] = self._failures.get(name, 0) + 1
        self.tally.failed += 1
        self.chronicle.failed(place, failure, left_out=not self._works(place.proposer))

    def _said_nothing_new(self, place: Place) -> None:
        """Whoever is waited for is paid for each answer, so it is asked in vain so often only."""
        name = place.proposer.name
        if not place.proposer.waits:
            return
        self._nothing_new[name] = count = self._nothing_new.get(name, 0) + 1
        if count == NOTHING_NEW_IN_A_ROW:
            stuck = ProposerFailed(f"Nothing in its last {count} answers was new.")
            self.chronicle.failed(place, stuck, left_out=True)

    def _hand_over(self, place: Place) -> None:
        """The next proposer that works and is not waited for."""
        others = [p for p in self.working if not p.waits and p is not place.proposer]
        if others:
            place.proposer = others[0]

    def _refused(self, place: Place, proposal: Proposal, refusals: tuple[Refusal, ...]) -> None:
        self.tally.refused += 1
        self.chronicle.refused(place, proposal, refusals)
        self._object(place, Attempt(proposal.text, refusals))

    @staticmethod
    def _object(place: Place, attempt: Attempt) -> None:
        feedback = place.request.feedback
        attempts = (*feedback.attempts, attempt)
        place.request = replace(place.request, feedback=replace(feedback, attempts=attempts))
