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
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sandbox import contract
from serving_adapter.activation import Ready, Rows
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
from serving_adapter.request_row import RequestRow
from serving_adapter.safety.call_times import CallTimes
from serving_adapter.safety.control_arm import Shares, shares_of, unit_of
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.limits import LiveLimits

_NOBODY = Author.BUILT_IN, BUILT_IN_DIGEST
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
        self._measured_until_s = -math.inf
        self._standing: _Standing | None = None
        self._request = RequestRow()

    def route(
        self, facts: RequestFacts, exclude: frozenset[int], held_count: int, live: Live
    ) -> Decision:
        """Decide where a request goes now; see `PolicyHost.route`."""
        started_s = time.perf_counter()
        self._decisions = self.slot.number = self._decisions + 1
        live, off = self.slot.allowed(live), self.slot.off
        now_s = self._now_s()
        offer = self._table.offer(facts, now_s, exclude)
        if not len(offer.rows):
            return self._decided(live, started_s, NO_INSTANCE, _NOBODY, "")
        arm = self._arm(live, off, facts)
        reasons = [] if off is None else [off.value]
        asked = self._standing_of(live).asked[arm] if off is None else ()
        if asked:
            seed = self._random.getrandbits(62)
            self._request.fill(facts, now_s, seed, held_count)
        author, choice = _NOBODY, None
        for place, ready in asked:
            answer = self._ask(live, ready, offer)
            if answer.choice is not None:
                author, choice = (place, ready.digest), answer.choice
                if choice >= 0 and not exclude:  # else it had no free choice
                    self._picked(live, ready, choice)
                break
            reasons.append(answer.fault)
        if choice is None:
            choice = self._least_outstanding(offer.rows)
        if reasons:
            self._metrics.fell_back()
        return self._decided(live, started_s, choice, author, ",".join(reasons), arm)

    def fallback(
        self, facts: RequestFacts, reason: str, exclude: frozenset[int], live: Live, *, held: bool
    ) -> Decision:
        """Decide without any policy; see `PolicyHost.fallback`."""
        started_s = time.perf_counter()
        self._decisions = self.slot.number = self._decisions + 1
        live, off = self.slot.allowed(live), self.slot.off
        rows = self._table.offer(facts, self._now_s(), exclude).rows
        choice = self._least_outstanding(rows) if len(rows) else NO_INSTANCE
        arm = self._arm(live, off, facts) if held else Arm.NONE
        if held:
            self._metrics.fell_back()
        return self._decided(live, started_s, choice, _NOBODY, reason, arm)

    def _arm(self, live: Live, off: EjectionKind | None, facts: RequestFacts) -> Arm:
        """Nothing is compared while the built-in default decides anyway."""
        shares = self.shares(live)
        if off is not None or shares is None:
            return Arm.NONE
        return shares.arm(unit_of(facts, epoch_s(live, self._limits)))

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
            standing = _standing_of(live, self._limits.control_share)
            self._standing = standing  # the watchdog's thread asks, too: one assignment
        return standing

    def _ask(self, live: Live, ready: Ready, offer: Offer) -> Answer:
        """Ask one policy, remember what it was asked, and take it out when it must go."""
        number, rows, request = self._decisions, offer.rows, self._request.row
        rotation = (self._router * 7919 + number) % len(rows)
        seen, memory = self._table.seen(offer), ready.memory.tobytes()
        started_s = time.perf_counter()
        before_s = time.thread_time() if started_s < self._measured_until_s else math.nan
        self.asking = ready, started_s
        answer = ask_policy(ready, request, rows, offer.ids, rotation, self._fuel)
        ended_s = time.perf_counter()
        self.asking = None
        busy_s = self._busy_s(ready, started_s, ended_s, before_s)
        given = MADE(DecisionInput, (
            number, live.sequence, ready.digest, request.tobytes(), seen, memory,
            rotation, self._fuel, answer.choice, answer.fault, ended_s - started_s,
        ))  # fmt: skip
        self.recent.add(given)
        if self.keep is not None:
            self.keep(given)
        if live.shadow is not None or self.is_sample(number):
            self.shadowed.add(given)
        self.judge(ready, answer, busy_s, ended_s)
        return answer

    def _busy_s(self, ready: Ready, started_s: float, ended_s: float, before_s: float) -> float:
        """Processor time of a call that ended; its wall time where that is short enough anyway.

        To ask for processor time costs more than a decision, so it is only asked for some time
        after a call that took long. That one itself may have been kept waiting; it counts as long,
        and as the first of two late ones if it was that.
        """
        took_s, limits = ended_s - started_s, self._limits
        if took_s <= limits.slow_p99_s:
            return took_s
        self._measured_until_s = ended_s + limits.slow_strikes_s
        if not math.isnan(before_s):
            return min(took_s, time.thread_time() - before_s)
        if took_s > limits.slow_call_s:
            self._times_of(ready).late(ended_s)
        return min(took_s, limits.slow_p99_s)

    def judge(self, ready: Ready, answer: Answer, busy_s: float, now_s: float) -> None:
        """Take a policy out when its answer, or the processor time it took, says so."""
        times = self._times_of(ready)
        times.add(busy_s)
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

    def _least_outstanding(self, rows: Rows) -> int:
        """The engine with the fewest requests; equal ones in turn."""
        waiting = self._table.outstanding(rows)
        fewest = np.flatnonzero(waiting == waiting.min())
        turn = self._decisions % len(rows)
        at = fewest[np.searchsorted(fewest, turn) % len(fewest)]
        return int(rows["id"][at])

    def _decided(
        self,
        live: Live,
        started_s: float,
        choice: int,
        author: tuple[Author, str],
        reason: str,
        arm: Arm = Arm.NONE,
    ) -> Decision:
        compared = "" if arm is Arm.NONE else self._standing_of(live).compared
        outcome = _OUTCOMES.get(choice, Outcome.ROUTED)
        decision = MADE(Decision, (
            self._decisions, choice, live.sequence, author[1], outcome, author[0], reason,
            time.perf_counter() - started_s, arm, compared, self._boot,
        ))  # fmt: skip
        self._metrics.decided(decision)
        return decision

    def _picked(self, live: Live, ready: Ready, choice: int) -> None:
        picks = self.picks.get(ready)
        if picks is None:  # another thread reads the mapping, so it is replaced, not changed
            kept = {old: count for old, count in self.picks.items() if old in live.policies}
            self.picks = kept | {ready: (picks := {})}
        picks[choice] = picks.get(choice, 0) + 1


def epoch_s(live: Live, limits: LiveLimits) -> float:
    """After which sessions draw their arms anew; those of a canary are its own while it runs."""
    return 0.0 if live.canary is not None else limits.control_epoch_s


class _Standing(NamedTuple):
    """What follows from what is live: the arms, whose outcomes they compare, who is asked in each.

    `shares` is None and `compared` empty when nothing is compared.
    """

    live: Live
    shares: Shares | None
    compared: str
    asked: Mapping[Arm, tuple[tuple[Author, Ready], ...]]


def _standing_of(live: Live, usual: float) -> _Standing:
    """`usual` is the control's share where no canary sets it."""
    compared = live.compared if usual or live.canary is not None else None
    weight = live.weight if live.canary else None
    shares = shares_of(weight, usual) if compared else None
    digest = compared.digest if compared else ""
    return _Standing(live, shares, digest, {arm: tuple(_asked(live, arm)) for arm in Arm})


def _asked(live: Live, arm: Arm) -> Iterator[tuple[Author, Ready]]:
    """Policies in the order in which they are asked."""
    if live.canary is not None and live.canary.router is not None:
        if arm is Arm.POLICY:
            yield Author.CANARY, live.canary
        skip = False
    else:
        skip = arm is Arm.CONTROL
    for author, ready in live.chain:
        if ready.router is None:
            return
        if not skip:
            yield author, ready
        skip = False
