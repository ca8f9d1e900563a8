"""What a run may spend, and what it has spent: evaluations, seconds, tokens, dollars.

One evaluation is one policy on every training window, a human's or a candidate's; a probe or a
single window costs its part. Counted in the task's own whole units of cost, so that the count is
exact. The limit in evaluations is for the search; choosing and proving one winner is a fixed cost
beside it. The limit in seconds is for everything: the search stops early enough to pay for the
proof. Time is the journal's: it moves with events, so that a resumed run decides as before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from evolver.errors import BudgetTooSmall
from evolver.journal import Journal
from evolver.proposer import Cost

UNLIMITED = 1 << 60
CHUNKS_LEFT = 4  # near the end of its time a run scores a quarter of what still fits at once


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

    @property
    def of_answers_only(self) -> bool:
        """Nothing but what answers of models cost ends the run."""
        return self.evaluations is None and self.seconds is None


@dataclass(slots=True)
class Budget:
    """Counts what is spent.

    Attributes:
        evaluation_cost: of one policy on all training windows.
        proof_cost: what choosing and proving a winner will take.
        spent_cost: of all runs so far.
        asked: answers of models so far; they cost `tokens` and `price_usd` together.
    """

    limits: Limits
    evaluation_cost: int
    journal: Journal
    proof_cost: int = 0
    spent_cost: int = 0
    tokens: int = 0
    price_usd: float = 0.0
    asked: int = 0
    _most_tokens: int = field(default=0, init=False)  # of one answer
    _most_usd: float = field(default=0.0, init=False)
    _run_cost: int = field(default=0, init=False)
    _running_s: float = field(default=0.0, init=False)

    @property
    def evaluations(self) -> float:
        """Evaluations spent so far."""
        return self.spent_cost / self.evaluation_cost

    @property
    def seconds(self) -> float:
        """Seconds into the run, by its latest event."""
        return self.journal.seconds

    @property
    def seconds_left(self) -> float | None:
        """Until the run must be over, by the clock; for waits, never for a decision."""
        if self.limits.seconds is None:
            return None
        return max(0.0, self._search_seconds() - self.journal.live_seconds)

    def tokens_left(self, answers: int) -> int | None:
        """That each of so many answers may take, asked for side by side."""
        left = None if self.limits.tokens is None else max(0, self.limits.tokens - self.tokens)
        return left if left is None else left // max(answers, 1)

    def price_left_usd(self, answers: int) -> float | None:
        """That each of so many answers may cost, asked for side by side."""
        limit = self.limits.price_usd
        return None if limit is None else max(0.0, limit - self.price_usd) / max(answers, 1)

    def spend_runs(self, cost: int, seconds: float, *, proof: bool = False) -> None:
        """Book runs that took `seconds`; those of the proof are no part of the search's budget."""
        self.spent_cost += 0 if proof else cost
        self._run_cost += cost
        self._running_s += seconds

    def spend(self, cost: Cost) -> None:
        """Book what a proposal cost."""
        tokens = cost.tokens_in + cost.tokens_out
        self.asked += tokens > 0
        self.tokens += tokens
        self.price_usd += cost.price_usd
        self._most_tokens = max(self._most_tokens, tokens)
        self._most_usd = max(self._most_usd, cost.price_usd)

    def left(self, until: float = 1.0) -> int:
        """Cost of the runs that may still be made before `share` passes `until`; 0 for none."""
        if self.share() >= until:
            return 0
        if self.limits.evaluations is None:
            return UNLIMITED
        return max(0, math.floor(until * self._allowed() + 1e-9) - self.spent_cost)

    def chunk(self, until: float = 1.0) -> int:
        """Cost of the runs to make at once: they shrink towards the end of the seconds."""
        if self.limits.seconds is None or not self._running_s:
            return UNLIMITED
        left_s = until * self._search_seconds() - self.seconds
        return max(0, math.floor(left_s / self._cost_s / CHUNKS_LEFT))

    @property
    def _cost_s(self) -> float:
        """Seconds that a unit of cost takes, by those so far."""
        return self._running_s / self._run_cost if self._run_cost else 0.0

    def answers_left(self) -> int:
        """How many more answers tokens and dollars pay for, each as dear as the dearest so far.

        The first one is asked for alone, for nobody knows what it costs.
        """
        if not self.left():
            return 0
        if self.limits.tokens is None and self.limits.price_usd is None:
            return UNLIMITED
        tokens = self._answers(self.limits.tokens, self.tokens, self._most_tokens)
        dollars = self._answers(self.limits.price_usd, self.price_usd, self._most_usd)
        return max(1, min(tokens, dollars))

    def _answers(self, limit: float | None, spent: float, dearest: float) -> int:
        if limit is None:
            return UNLIMITED
        if not dearest:
            return UNLIMITED if self.asked else 1
        return math.floor((limit - spent) / dearest)

    def share(self) -> float:
        """Share of the search's part of the budget that is spent, by the nearest limit."""
        return self.share_of(
            self.spent_cost, Cost(self.tokens, 0, self.price_usd, self.seconds), running=False
        )

    def share_of(self, run_cost: int, cost: Cost, *, running: bool = True) -> float:
        """Share of the budget that runs and a proposal take, by the nearest limit.

        Args:
            run_cost: of the runs.
            cost: of the proposal.
            running: add the time that the runs take, by the mean so far.
        """
        shares = [0.0]
        if self.limits.evaluations is not None:
            shares.append(run_cost / self._allowed())
        if self.limits.seconds is not None:
            seconds = cost.seconds + (run_cost * self._cost_s if running else 0.0)
            shares.append(seconds / max(self._search_seconds(), 1e-9))
        if self.limits.tokens is not None:
            shares.append((cost.tokens_in + cost.tokens_out) / self.limits.tokens)
        if self.limits.price_usd is not None:
            shares.append(cost.price_usd / self.limits.price_usd)
        return max(shares)

    def _allowed(self) -> float:
        return (self.limits.evaluations or math.inf) * self.evaluation_cost

    def _search_seconds(self) -> float:
        """Seconds the search may use: the limit less what the proof should take."""
        return (self.limits.seconds or math.inf) - self.proof_cost * self._cost_s

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
