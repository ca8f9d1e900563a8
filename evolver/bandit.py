"""Which proposer is asked next: by what each has earned for what it cost, lately.

Each arm's earnings (logarithms of improvement) and costs (shares of the budget, by the nearest
limit) are summed and slowly forgotten, generation by generation, because an arm that is good at the
start need not be later. Arms are drawn in proportion to earnings over cost, with what all arms
earn on average as the prior of an arm that was hardly asked, and a floor below nobody falls.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

FORGET = 0.97  # of what was earned and spent, from one generation to the next
FLOOR = 0.1  # of the draws is shared evenly
PRIOR_SHARE = 0.02  # of the budget: what an arm must have cost before its own record counts
NOTHING = 1e-12  # less than that was not earned
PARENT_CREDIT = 0.25  # of an improvement over the parent that is none over the best


@dataclass(slots=True)
class Account:
    """What one arm did so far.

    Attributes:
        gain, share: earned and spent lately: what the choice rests on.
        asked, scored: proposals, and those that ran on all training windows.
        total_gain: logarithms of improvement over the best so far, summed.
        total_share: of the budget.
        run_cost, tokens, price_usd: what that was made of.
    """

    gain: float = 0.0
    share: float = 0.0
    asked: int = 0
    scored: int = 0
    total_gain: float = 0.0
    total_share: float = 0.0
    run_cost: int = 0
    tokens: int = 0
    price_usd: float = 0.0


@dataclass(slots=True)
class Bandit:
    """Draws among the arms that work."""

    accounts: dict[str, Account] = field(default_factory=dict)

    def account(self, arm: str) -> Account:
        """The record of an arm."""
        return self.accounts.setdefault(arm, Account())

    def weights(self, arms: Sequence[str]) -> list[float]:
        """The chance of each arm; they sum to one."""
        accounts = [self.account(arm) for arm in arms]
        spent = sum(a.share for a in accounts)
        average = sum(a.gain for a in accounts) / spent if spent > NOTHING else 0.0
        rates = [(a.gain + average * PRIOR_SHARE) / (a.share + PRIOR_SHARE) for a in accounts]
        total = sum(rates)
        even = 1.0 / len(arms)
        if total < NOTHING:
            return [even] * len(arms)
        return [FLOOR * even + (1.0 - FLOOR) * rate / total for rate in rates]

    def draw(self, arms: Sequence[str], rng: random.Random) -> str:
        """One arm."""
        return rng.choices(arms, self.weights(arms))[0]

    def spend(self, arm: str, share: float) -> None:
        """Book a share of the budget."""
        account = self.account(arm)
        account.share += share
        account.total_share += share

    def earn(self, arm: str, over_best: float, over_parent: float) -> None:
        """Book logarithms of improvement; a loss earns nothing."""
        account = self.account(arm)
        account.total_gain += max(0.0, over_best)
        account.gain += max(0.0, over_best) + PARENT_CREDIT * max(0.0, over_parent)

    def begin(self) -> None:
        """From now on arms are chosen: what they spent before was no choice of theirs."""
        for account in self.accounts.values():
            account.gain = account.share = 0.0

    def forget(self) -> None:
        """A generation is over."""
        for account in self.accounts.values():
            account.gain *= FORGET
            account.share *= FORGET
