"""A one-sided sequential test of two arms that may be looked at after every observation.

Each request draws its arm at random: control with probability `share`. A gambler who believes the
policy to be worse bets on every observation a stake that is fair, or bad for him, while it is not:

    gain = w * (f(x) - m)      w = share for the policy's requests, -(1 - share) for the control's

`f` maps an outcome into 0..1, `m` is what was usual before. Since the arm is drawn independently
of the request, the mean of `w` is zero whatever the traffic does (Ham, Bojinov, Lindon, Tingley,
"Design-Based Confidence Sequences", arXiv 2210.08639); stretching the control's outcomes by the
accepted effect first makes the mean at most zero for every policy within it. The wealth of such a
gambler passes 1/alpha with probability at most alpha, ever (Ville 1939; Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting", arXiv 2010.09686, whose grid of bets is
averaged here). A fresh gambler joins at every observation j with 1/(j(j+1)) of the capital, so
that good months cost little when a policy turns bad.
"""

from __future__ import annotations

import math

BETS = (0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 0.95)
USUAL_RATE = 0.02


class Wealth:
    """A gambler's capital from 1 on; a supermartingale where gains have no positive mean."""

    def __init__(self) -> None:
        self.bets = 0
        self._placed = [0.0] * len(BETS)

    @property
    def value(self) -> float:
        """Present capital; at least 1/alpha with probability at most alpha, at any time."""
        return sum(self._placed) / len(BETS) + 1.0 / (self.bets + 1)

    def bet(self, gain: float) -> None:
        """Take the next gain, within -1..1."""
        self.bets += 1
        joining = 1.0 / (self.bets * (self.bets + 1))
        self._placed = [
            (placed + joining) * (1.0 + bet * gain)
            for placed, bet in zip(self._placed, BETS, strict=True)
        ]


class _Usual:
    """Mean of what came before: of everything at first, then of the latest hundred or so."""

    def __init__(self) -> None:
        self.mean = math.nan
        self._count = 0

    def learn(self, value: float) -> None:
        """One more value."""
        self._count += 1
        before = value if self._count == 1 else self.mean
        self.mean = before + max(USUAL_RATE, 1.0 / self._count) * (value - before)


class LatencyTest:
    """Is the policy's latency stochastically above `1 + effect` times the control's?

    A time x is mapped to x / (x + s), where s is the geometric mean of the times before it.
    """

    def __init__(self, share: float, effect: float) -> None:
        self.wealth = Wealth()
        self._share, self._stretch = share, 1.0 + effect
        self._log_scale, self._usual = _Usual(), _Usual()

    def add(self, seconds: float, *, control: bool) -> None:
        """One request's time; infinite for one that failed."""
        scale = math.exp(self._log_scale.mean)  # NaN before the first
        if math.isfinite(seconds):
            self._log_scale.learn(math.log(max(seconds, 1e-9)))
        if math.isnan(scale):
            return
        time_s = seconds * self._stretch if control else seconds
        mapped = time_s / (time_s + scale) if math.isfinite(time_s) else 1.0
        if not math.isnan(self._usual.mean):
            self.wealth.bet(_gain(mapped - self._usual.mean, self._share, control))
        self._usual.learn(mapped)


class FailureTest:
    """Does the policy fail more requests than the control, by more than `effect` of all?"""

    def __init__(self, share: float, effect: float) -> None:
        self.wealth = Wealth()
        self._share, self._effect = share, effect
        self._usual = _Usual()

    def add(self, failed: bool, *, control: bool) -> None:
        """One request's end."""
        value = (float(failed) + control * self._effect) / (1.0 + self._effect)
        if not math.isnan(self._usual.mean):
            self.wealth.bet(_gain(value - self._usual.mean, self._share, control))
        self._usual.learn(value)


def _gain(surprise: float, share: float, control: bool) -> float:
    """The stake's result; its mean over the draw of the arm is zero for equal outcomes."""
    return -(1.0 - share) * surprise if control else share * surprise
