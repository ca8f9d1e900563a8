"""What helped in a run and what did not, as lines for proposers; the latest come first.

Only structures are spoken of: constants are the tuner's business.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from evolver.archive import Member
from evolver.candidates import Candidate

LINES_KEPT = 12  # of each kind
WORTH_TELLING = 0.001  # saved; less is no idea that worked


def _lines() -> deque[str]:
    return deque(maxlen=LINES_KEPT)


@dataclass(frozen=True, slots=True)
class Lessons:
    """Lines about ideas that worked, and about those that failed."""

    worked: deque[str] = field(default_factory=_lines)
    failed: deque[str] = field(default_factory=_lines)

    def scored(self, candidate: Candidate, member: Member, best: float) -> None:
        """A candidate came all the way up, when `best` was the best score."""
        if candidate.proposal.parameters is not None:
            return
        saved, parent = 1.0 - member.score / best, candidate.parent.score
        if member.breaks:
            self.failed.appendleft(f"it broke a guardrail ({member.breaks}): {member.idea}")
        elif saved >= WORTH_TELLING:
            self.worked.appendleft(f"{saved:.1%} less than the best until then: {member.idea}")
        elif member.score >= parent:
            more = member.score / parent - 1.0
            self.failed.appendleft(f"{more:.1%} more than its parent: {member.idea}")

    def dropped(self, candidate: Candidate, reason: str, score: float, bar: float) -> None:
        """A candidate ended early; twins and a budget that ends teach nothing."""
        idea = candidate.proposal.idea
        if candidate.proposal.parameters is not None:
            return
        if reason == "fault":
            self.failed.appendleft(f"it failed when it ran: {idea}")
        elif reason in ("slower", "hopeless"):
            beside = f", where its parent had {bar:.3g}" if math.isfinite(bar) else ""
            self.failed.appendleft(f"{score:.3g} on its first windows{beside}: {idea}")
