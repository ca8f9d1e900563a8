"""One routing decision: the live policy, its fuel and validity check, and the fallbacks behind it.

What is live is one immutable `Live` object behind one attribute. A decision reads the attribute
once and works with what it read, so it never sees half a swap, and it carries the sequence and
digest of what made it. A request keeps what was live at its first decision, so a retry or a hold
never mixes two versions. A policy that faults is ejected before the decision returns; the same
decision falls back to the next one, then to least outstanding requests, which cannot fail. A canary
is asked only for the sessions that it drew; requests of the control arm skip the policy under
comparison and are decided by what comes next.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter, thread_time

from sandbox import contract
from serving_adapter.activation import Ready
from serving_adapter.asking import Answer, ask_policy
from serving_adapter.decision import (
    BUILT_IN_DIGEST,
    MADE,
    NO_INSTANCE,
    Arm,
    Author,
    Decision,
    DecisionInput,
    Outcome,
    RecentInputs,
)
from serving_adapter.facts import RequestFacts
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.instances import InstanceTable, Offer
from serving_adapter.live import Live
from serving_adapter.live_slot import LiveSlot
from serving_adapter.outstanding import least
from serving_adapter.request_row import RequestRow
from serving_adapter.safety.call_times import CallTimes
from serving_adapter.safety.control_arm import Shares, shares_of, unit_of
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.limits import LiveLimits

_NOBODY = Author.BUILT_IN, BUILT_IN_DIGEST
_NO_ARM, _ROUTED = Arm.NONE, Outcome.ROUTED  # to look up an enum's member takes long
_OUTCOMES = {
    contract.HOLD: Outcome.HELD,
    contract.REJECT: Outcome.REJECTED,
    NO_INSTANCE: Outcome.NO_ENGINE,
}


class Decider:
    """Decides with whatever `slot.live` holds. Belongs to one event loop.

    Attributes:
        asking: the policy that is being asked and since when; None between decisions.
        picks: requests that each policy sent to each engine, with all open ones to choose from.
        times: processor time of present policies' calls.
        keep: takes every input, for replays; None when nobody does.
        shadowed: inputs on which a shadow, and the default policy, are still to be asked.
    """

    def __init__(
        self,
        table: InstanceTable,
        slot: LiveSlot,
        metrics: HostMetrics,
        clock: Callable[[], float],
        *,
        limits: LiveLimits,
        fuel: int,
        router: int,
        boot: str = "",
    ) -> None:
        self.slot = slot
        self.keep: Callable[[DecisionInput], None] | None = None
        self.recent = RecentInputs()
        self.shadowed = RecentInputs()
        self.asking: tuple[Ready, float] | None = None
        self.picks: dict[Ready, dict[int, int]] = {}
        self.times: dict[Ready, CallTimes] = {}
        self._table = table
        self._metrics = metrics
        self._now_s = clock
        self._limits = limits
        self._fuel = fuel
        self._router = router
        self._boot = boot
        self._random = random.Random()
        self._decisions = 0
        self._shadow_every = round(1 / limits.shadow_share) if limits.shadow_share > 0 else 0
        self._standing: _Standing | None = None
        self._request, self._memory = RequestRow(), b""

    def route(
        self, facts: RequestFacts, exclude: frozenset[int], held_count: int, live: Live
    ) -> Decision:
        """Decide where a request goes now; see `PolicyHost.route`."""
        started_s = perf_counter()
        slot = self.slot
        self._decisions = slot.number = self._decisions + 1
        live, off = slot.allowed(live), slot.off
        now_s = self._now_s()
        offer = self._table.offer(facts, now_s, exclude)
        if not offer.n_rows:
            return self._decided(live, started_s, NO_INSTANCE, _NOBODY, "")
        if off is None:
            standing = self._standing_of(live)
            arm = standing.arm(facts)
            reasons, asked = [], standing.asked[arm]
        else:
            arm, reasons, asked = _NO_ARM, [off.value], ()
        if asked:
            self._request.fill(facts, now_s, self._random.getrandbits(62), held_count)
        author, choice = _NOBODY, None
        for whose, ready in asked:
            choice, fault = self._ask(live, ready, offer)
            if choice is not None:
                author = whose
                if choice >= 0 and not exclude:  # else it had no free choice
                    picks = self.picks.get(ready) or self._picks_of(live, ready)
                    picks[choice] = picks.get(choice, 0) + 1
                break
            reasons.append(fault)
        if choice is None:
            choice = least(offer, self._decisions % offer.n_rows)
        if reasons:
            self._metrics.fell_back()
        return self._decided(live, started_s, choice, author, ",".join(reasons), arm)

    def fallback(
        self, facts: RequestFacts, reason: str, exclude: frozenset[int], live: Live, *, held: bool
    ) -> Decision:
        """Decide without any policy; see `PolicyHost.fallback`."""
        started_s = perf_counter()
        self._decisions = self.slot.number = self._decisions + 1
        live, off = self.slot.allowed(live), self.slot.off
        offer = self._table.offer(facts, self._now_s(), exclude)
        choice = NO_INSTANCE
        if offer.n_rows:
            choice = least(offer, self._decisions % offer.n_rows)
        # Nothing is compared while the built-in default decides anyway.
        arm = self._standing_of(live).arm(facts) if held and off is None else _NO_ARM
        if held:
            self._metrics.fell_back()
        return self._decided(live, started_s, choice, _NOBODY, reason, arm)

    def is_sample(self, number: int) -> bool:
        """Whether the default policy is asked for that decision, too."""
        return self._shadow_every > 0 and not number % self._shadow_every

    def shares(self, live: Live) -> Shares | None:
        """How much each arm gets; None when nothing is compared."""
        return self._standing_of(live).shares

    def _standing_of(self, live: Live) -> _Standing:
        """What follows from what is live, worked out once for each that is."""
        standing = self._standing
        if standing is None or standing.live is not live:
            standing = _standing_of(live, self._limits)
            self._standing = standing  # the watchdog's thread asks, too: one assignment
        return standing

    def _ask(self, live: Live, ready: Ready, offer: Offer) -> tuple[int | None, str]:
        """Ask one policy, remember what it was asked, and take it out when it must go."""
        number, request = self._decisions, self._request.row
        rotation = (self._router * 7919 + number) % offer.n_rows
        seen, memory = self._table.seen(offer), ready.memory.tobytes()
        if memory == self._memory:  # most policies keep little, and rarely change it
            memory = self._memory
        self._memory = memory
        times, before_s, started_s = self._times_of(ready), math.nan, perf_counter()
        if times.count < times.measured_to or started_s < times.measured_until_s:
            before_s = thread_time()
        self.asking = ready, started_s
        answer = ask_policy(ready, request, offer.rows, offer.ids, rotation, self._fuel)
        ended_s = perf_counter()
        self.asking = None
        took_s = busy_s = ended_s - started_s
        if took_s > self._limits.slow_p99_s:
            busy_s = times.busy_s(took_s, thread_time() - before_s, ended_s)
        choice, fault, eject, side_busy_s = answer
        given = MADE(DecisionInput, (
            number, live.sequence, ready.digest, request.tobytes(), seen, memory,
            rotation, self._fuel, choice, fault, took_s,
        ))  # fmt: skip
        self.recent.add(given)
        if self.keep is not None:
            self.keep(given)
        every = self._shadow_every
        if live.shadow is not None or (every and not number % every):
            self.shadowed.add(given)
        times.add(busy_s)
        if eject is not None or side_busy_s or took_s > self._limits.slow_call_s:
            self._judge(ready, times, answer, busy_s, ended_s)
        return choice, fault

    def judge(self, ready: Ready, busy_s: float, now_s: float) -> None:
        """Note a call that was no decision, and take the policy out when it took too long."""
        times = self._times_of(ready)
        times.add(busy_s)
        self._judge(ready, times, Answer(None), busy_s, now_s)

    def _judge(
        self, ready: Ready, times: CallTimes, answer: Answer, busy_s: float, now_s: float
    ) -> None:
        """Take a policy out when its answer, or the processor time it took, says so."""
        if answer.eject is not None:
            self.slot.eject(ready, answer.eject, answer.fault)
            return
        limits, side_s = self._limits, answer.side_busy_s
        if (busy_s > limits.slow_call_s or side_s > limits.slow_side_s) and times.late(now_s):
            busy_s = max(busy_s, side_s)
            reason = f"two late decisions, the second with {busy_s:.3g} s of processor time"
            self.slot.eject(ready, EjectionKind.SLOW, reason)

    def _times_of(self, ready: Ready) -> CallTimes:
        times = self.times.get(ready)
        if times is None:  # another thread reads the mapping, so it is replaced, not changed
            live = self.slot.live
            kept = {old: self.times[old] for old in self.times if old in live.policies}
            times = kept[ready] = CallTimes(self._limits)
            self.times = kept
        return times

    def _decided(
        self,
        live: Live,
        started_s: float,
        choice: int,
        author: tuple[Author, str],
        reason: str,
        arm: Arm = _NO_ARM,
    ) -> Decision:
        compared = "" if arm is _NO_ARM else self._standing_of(live).compared
        outcome = _ROUTED if choice >= 0 else _OUTCOMES[choice]
        decision = MADE(Decision, (
            self._decisions, choice, live.sequence, author[1], outcome, author[0], reason,
            perf_counter() - started_s, arm, compared, self._boot,
        ))  # fmt: skip
        self._metrics.decided(decision)
        return decision

    def _picks_of(self, live: Live, ready: Ready) -> dict[int, int]:
        """Another thread reads the mapping, so it is replaced, not changed."""
        if ready not in self.picks:
            kept = {old: count for old, count in self.picks.items() if old in live.policies}
            self.picks = kept | {ready: {}}
        return self.picks[ready]


def epoch_s(live: Live, limits: LiveLimits) -> float:
    """After which sessions draw their arms anew; those of a canary are its own while it runs."""
    return 0.0 if live.canary is not None else limits.control_epoch_s


@dataclass(frozen=True, slots=True)
class _Standing:
    """What follows from what is live: the arms, whose outcomes they compare, who is asked in each.

    `shares` is None and `compared` empty when nothing is compared.
    """

    live: Live
    shares: Shares | None
    epoch_s: float
    compared: str
    asked: Mapping[Arm, tuple[tuple[tuple[Author, str], Ready], ...]]

    def arm(self, facts: RequestFacts) -> Arm:
        """Which one a request is in."""
        shares = self.shares
        return _NO_ARM if shares is None else shares.arm(unit_of(facts, self.epoch_s))


def _standing_of(live: Live, limits: LiveLimits) -> _Standing:
    """The control's usual share is for when no canary sets it."""
    usual = limits.control_share
    compared = live.compared if usual or live.canary is not None else None
    weight = live.weight if live.canary else None
    shares = shares_of(weight, usual) if compared else None
    digest = compared.digest if compared else ""
    asked = {arm: tuple(_asked(live, arm)) for arm in Arm}
    return _Standing(live, shares, epoch_s(live, limits), digest, asked)


def _asked(live: Live, arm: Arm) -> Iterator[tuple[tuple[Author, str], Ready]]:
    """Policies in the order in which they are asked."""
    if live.canary is not None and live.canary.router is not None:
        if arm is Arm.POLICY:
            yield (Author.CANARY, live.canary.digest), live.canary
        skip = False
    else:
        skip = arm is Arm.CONTROL
    for author, ready in live.chain:
        if ready.router is None:
            return
        if not skip:
            yield (author, ready.digest), ready
        skip = False
