"""What a run may spend, and what it has spent: evaluations, seconds, tokens, dollars.

One evaluation is one policy on every training window, a human's or a candidate's; a screen on one
of four windows costs a quarter. Counted in window runs, so that the count is exact. The limit in
evaluations is for the search; choosing and proving one winner is a fixed cost beside it. The limit
in seconds is for everything: the search stops early enough to pay for the proof.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from evolver.errors import BudgetTooSmall
from evolver.proposer import Cost

UNLIMITED = 1 << 40


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may spend at most; None is no limit. One of them must be given.

    A limit in evaluations gives the same winner for the same seed; seconds, tokens and dollars
    end where the machine or the model happens to be.
    """

    evaluations: float | None = None
    seconds: float | None = None
    tokens: int | None = None
    price_usd: float | None = None

    def __post_init__(self) -> None:
        every = (self.evaluations, self.seconds, self.tokens, self.price_usd)
        given = [x for x in every if x is not None]
        if not given or any(not math.isfinite(x) or x <= 0 for x in given):
            raise BudgetTooSmall(
                "A run needs at least one positive limit: give evaluations, seconds, tokens or "
                "a price."
            )


@dataclass(slots=True)
class Budget:
    """Counts what is spent; `clock` gives seconds and may be replaced in tests."""

    limits: Limits
    runs_per_evaluation: int
    proof_runs: int = 0  # window runs that the proof will take
    clock: Callable[[], float] = time.monotonic
    window_runs: int = 0
    tokens: int = 0
    price_usd: float = 0.0
    _started_s: float = field(init=False)
    _running_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._started_s = self.clock()

    @property
    def evaluations(self) -> float:
        """Evaluations spent so far."""
        return self.window_runs / self.runs_per_evaluation

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self._started_s

    def spend_runs(self, window_runs: int, seconds: float) -> None:
        """Book a batch of window runs that took `seconds`."""
        self.window_runs += window_runs
        self._running_s += seconds

    def spend(self, cost: Cost) -> None:
        """Book what a proposal cost."""
        self.tokens += cost.tokens_in + cost.tokens_out
        self.price_usd += cost.price_usd

    def runs_left(self, until: float = 1.0) -> int:
        """Window runs that may still be made before `share` passes `until`; 0 for none."""
        if self.share() >= until:
            return 0
        if self.limits.evaluations is None:
            return UNLIMITED
        return max(0, math.floor(until * self._allowed_runs() + 1e-9) - self.window_runs)

    def share(self) -> float:
        """Share of the search's part of the budget that is spent, by the nearest limit."""
        shares = [0.0]
        if self.limits.evaluations is not None:
            shares.append(self.window_runs / self._allowed_runs())
        if self.limits.seconds is not None:
            shares.append(self.seconds / max(self._search_seconds(self.limits.seconds), 1e-9))
        if self.limits.tokens is not None:
            shares.append(self.tokens / self.limits.tokens)
        if self.limits.price_usd is not None:
            shares.append(self.price_usd / self.limits.price_usd)
        return max(shares)

    def _allowed_runs(self) -> float:
        return (self.limits.evaluations or math.inf) * self.runs_per_evaluation

    def _search_seconds(self, limit_s: float) -> float:
        """Seconds the search may use: the limit less what the proof should take."""
        per_run_s = self._running_s / self.window_runs if self.window_runs else 0.0
        return limit_s - self.proof_runs * per_run_s

    def require(self, evaluations: int, purpose: str) -> None:
        """Pass when the limit in evaluations covers this many.

        Raises:
            BudgetTooSmall: with the number of evaluations that would do.
        """
        limit = self.limits.evaluations
        if limit is not None and evaluations > limit:
            raise BudgetTooSmall(
                f"{limit:g} evaluations do not pay for {purpose}: allow at least {evaluations + 1}."
            )
