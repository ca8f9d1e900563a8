"""The one protocol behind which candidates are written: by a model, the mutator or a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from evolver.archive import Member
from evolver.task import Refusal


@dataclass(frozen=True, slots=True)
class Attempt:
    """An earlier try for the same place in the batch that came to nothing, and why.

    Attributes:
        text: the candidate; the whole reply where no candidate could be taken from it.
        refusals: the verifier's words.
        unusable: why no candidate could be taken from the reply.
        fault: what happened when it ran.
        twin: name of a known candidate that is the same text, or decides the same.
    """

    text: str
    refusals: tuple[Refusal, ...] = ()
    unusable: str = ""
    fault: str = ""
    twin: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the search knows that may help: numbers and the verifier's words, no request content."""

    objective_text: str = ""
    setting_lines: tuple[str, ...] = ()  # machines, limits, guardrails, defaults
    window_lines: tuple[str, ...] = ()  # what the training windows look like
    score_lines: tuple[str, ...] = ()  # where the parent's time goes, by cause
    attempts: tuple[Attempt, ...] = ()  # earlier tries of this request, oldest first
    tried_and_failed: tuple[str, ...] = ()  # what did not help and why: live, then in this run
    worked: tuple[str, ...] = ()  # what helped, before in this regime and in this run

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
    ask: str = ""  # this try's name within the run: GENERATION.PLACE.TRY
    seconds_left: float | None = None  # when the run must be over; no part of any decision
    tokens_left: int | None = None  # that the answer may take at most
    price_left_usd: float | None = None  # that it may cost at most


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


Standing = tuple[float, ...]
"""How a candidate did, as a sort key: lower is better."""


@runtime_checkable
class Learner(Protocol):
    """A proposer that wants to know what became of its proposals, such as an optimizer."""

    def learn(self, proposal: Proposal, standing: Standing | None) -> None:
        """Take the standing of a proposal; None: it never ran.

        Called for every proposal of a generation, in the order they were made.
        """


class Proposer(Protocol):
    """Writes candidates.

    `propose` is a function of the request alone (a model behind it may not be). It returns None
    when it has no idea for this request, and raises `ProposerFailed` when it cannot work at all
    right now. It may be called from several threads at once.
    """

    @property
    def name(self) -> str:
        """Short name for events and lineage."""

    @property
    def waits(self) -> bool:
        """It spends its time waiting for somebody else, so several may be asked side by side."""

    def propose(self, request: ProposalRequest) -> Proposal | None:
        """One candidate text for the request."""
