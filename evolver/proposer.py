"""The one protocol behind which candidates are written: by a model, the mutator or a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from evolver.archive import Member
from evolver.task import Refusal


@dataclass(frozen=True, slots=True)
class Attempt:
    """An earlier try for the same place in the batch that came to nothing, and why."""

    text: str
    refusals: tuple[Refusal, ...] = ()  # empty: it was a duplicate of a known candidate


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the search knows that may help: numbers and the verifier's words, no request content."""

    objective_text: str = ""
    window_lines: tuple[str, ...] = ()  # what the training windows look like
    score_lines: tuple[str, ...] = ()  # where the parent's time goes, by cause
    attempts: tuple[Attempt, ...] = ()  # earlier tries of this request, oldest first
    tried_and_failed: tuple[str, ...] = ()  # ideas that did not help, newest first

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Why the latest try was refused; empty on a first try."""
        return self.attempts[-1].refusals if self.attempts else ()


@dataclass(frozen=True, slots=True)
class ProposalRequest:
    """One place in a batch: improve `parent`, borrowing from `others` where it helps."""

    parent: Member
    others: tuple[Member, ...] = ()
    feedback: Feedback = field(default_factory=Feedback)
    rng_seed: int = 0  # differs for each place and try of a run
    island: int = 0  # of the archive, where the child will live


@dataclass(frozen=True, slots=True)
class Cost:
    """What a proposal cost."""

    tokens_in: int = 0
    tokens_out: int = 0
    price_usd: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """A candidate as written, not verified yet."""

    text: str
    proposer: str
    idea: str
    parents: tuple[str, ...]  # digests
    parameters: dict[str, float] | None = None  # None: the constants as written
    cost: Cost = field(default_factory=Cost)


class Proposer(Protocol):
    """Writes candidates.

    `propose` is a function of the request alone (a model behind it may not be). It returns None
    when it has no idea for this request, and raises `ProposerFailed` when it cannot work at all
    right now. It may be called from several threads at once.
    """

    @property
    def name(self) -> str:
        """Short name for events and lineage."""

    def propose(self, request: ProposalRequest) -> Proposal | None:
        """One candidate text for the request."""
