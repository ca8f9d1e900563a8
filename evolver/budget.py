"""What a run may spend, and what it has spent: evaluations, seconds, tokens, dollars.

One evaluation is one candidate on every training window; a screen on one of four windows costs a
quarter. Counted in window runs, so that the count is exact. What the proof at the end needs is
set aside from the start: the search stops early enough to pay for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from evolver.errors import BudgetTooSmall
from evolver.proposer import Cost


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
        given = [x for x in (self.evaluations, self.seconds, self.tokens, self.price_usd) if x]
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
    reserved_runs: int = 0  # window runs kept for the proof
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

    def runs_left(self) -> int:
        """Window runs the search may still make; 0 when any limit is reached."""
        if self._spent_otherwise():
            return 0
        if self.limits.evaluations is None:
            return 1 << 30
        allowed = math.floor(self.limits.evaluations * self.runs_per_evaluation)
        return max(0, allowed - self.reserved_runs - self.window_runs)

    def share(self) -> float:
        """Share of the search's part of the budget that is spent, by the nearest limit."""
        shares = [self.seconds / max(self._search_seconds(), 1e-9)]
        if self.limits.evaluations is not None:
            allowed = self.limits.evaluations * self.runs_per_evaluation - self.reserved_runs
            shares.append(self.window_runs / max(allowed, 1))
        if self.limits.tokens is not None:
            shares.append(self.tokens / self.limits.tokens)
        if self.limits.price_usd is not None:
            shares.append(self.price_usd / self.limits.price_usd)
        return max(shares)

    def _spent_otherwise(self) -> bool:
        tokens, price = self.limits.tokens, self.limits.price_usd
        return (
            (tokens is not None and self.tokens >= tokens)
            or (price is not None and self.price_usd >= price)
            or self.seconds >= self._search_seconds()
        )

    def _search_seconds(self) -> float:
        """Seconds the search may use: the limit less what the proof should take."""
        if self.limits.seconds is None:
            return math.inf
        per_run_s = self._running_s / self.window_runs if self.window_runs else 0.0
        return max(self.limits.seconds - self.reserved_runs * per_run_s, 0.0)

    def require_runs(self, window_runs: int, purpose: str) -> None:
        """Pass when the limit in evaluations covers `window_runs` besides the proof.

        Raises:
            BudgetTooSmall: with the number of evaluations that would do.
        """
        if self.limits.evaluations is None:
            return
        needed = (window_runs + self.reserved_runs) / self.runs_per_evaluation
        if needed > self.limits.evaluations:
            raise BudgetTooSmall(
                f"{self.limits.evaluations:g} evaluations do not pay for {purpose} and the proof "
                f"of a winner: allow at least {math.ceil(needed)}."
            )
