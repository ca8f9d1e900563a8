"""What the watchdog looks for in readings of the host: stalls, imbalance, stale signals.

A reading is taken on the event loop and judged elsewhere. Each check says in one sentence what is
wrong, or nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from serving_adapter.safety.limits import LiveLimits

SHARE_SAMPLES = 12


@dataclass(frozen=True, slots=True)
class EngineReading:
    """One open engine; NaN where something is not known.

    Attributes:
        outstanding: requests there; `queued` of them have no token yet.
        kv_use: 0 to 1.
        speed: relative to the others.
        kind: equal for engines that take the same requests.
    """

    outstanding: int
    kv_use: float
    signal_age_s: float
    speed: float
    queued: int = 0
    kind: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """Requests that a policy holds, and for how long the oldest of them has waited."""

    count: int = 0
    oldest_s: float = 0.0


def held_by_policy(since_s: Iterable[tuple[str, float]], now_s: float) -> dict[str, Holding]:
    """What each policy holds, by its digest, from who holds each request and since when."""
    found: dict[str, Holding] = {}
    for digest, held_since_s in since_s:
        known = found.get(digest, Holding())
        found[digest] = Holding(known.count + 1, max(known.oldest_s, now_s - held_since_s))
    return found


@dataclass(frozen=True, slots=True)
class Reading:
    """The host at one moment, on its own clock, as far as one policy is concerned.

    Attributes:
        engines: the open ones, by id.
        picks: requests the policy has sent to each engine so far.
        held: what it holds.
    """

    at_s: float
    engines: Mapping[int, EngineReading]
    picks: Mapping[int, int]
    held: Holding = Holding()


@dataclass(slots=True)
class StallCheck:
    """Requests that the policy leaves unplaced for too long, or while nobody has work."""

    limits: LiveLimits
    _idle_since_s: float = math.nan

    def look(self, reading: Reading, usual_wait_s: float) -> str:
        """What is wrong, or nothing; `usual_wait_s` is the control arm's p99 wait."""
        limits = self.limits
        longer_s = max(limits.stall_s, limits.stall_factor * usual_wait_s)
        bound_s = min(longer_s, max(limits.stall_cap_s, limits.stall_s))
        held = reading.held
        if held.count and held.oldest_s >= bound_s:
            return f"a request was held for {held.oldest_s:.3g} s"
        busy = sum(engine.outstanding for engine in reading.engines.values())
        if not held.count or busy or not reading.engines:
            self._idle_since_s = math.nan
        elif math.isnan(self._idle_since_s):
            self._idle_since_s = reading.at_s
        elif reading.at_s - self._idle_since_s >= limits.stall_idle_s:
            return f"{held.count} requests were held while no engine had work"
        return ""


@dataclass(slots=True)
class ImbalanceCheck:
    """One engine gets far more than its share, or is full while another is nearly empty."""

    limits: LiveLimits
    _samples: deque[Reading] = field(default_factory=deque)
    _full_since_s: float = math.nan

    def look(self, reading: Reading) -> str:
        """What is wrong, or nothing."""
        return self._kv(reading) or self._share(reading)

    def _kv(self, reading: Reading) -> str:
        uses = [one.kv_use for one in reading.engines.values() if not math.isnan(one.kv_use)]
        if not uses or max(uses) <= self.limits.kv_full or min(uses) >= self.limits.kv_free:
            self._full_since_s = math.nan
        elif math.isnan(self._full_since_s):
            self._full_since_s = reading.at_s
        elif reading.at_s - self._full_since_s >= self.limits.kv_s:
            return f"KV use was {max(uses):.2f} on one engine and {min(uses):.2f} on another"
        return ""

    def _share(self, reading: Reading) -> str:
        samples, span_s = self._samples, self.limits.share_s
        if samples and samples[-1].engines.keys() != reading.engines.keys():
            samples.clear()
        if not samples or reading.at_s - samples[-1].at_s >= span_s / SHARE_SAMPLES:
            samples.append(reading)
        while len(samples) > 1 and reading.at_s - samples[1].at_s >= span_s:
            samples.popleft()
        if reading.at_s - samples[0].at_s < span_s or len(reading.engines) < 2:
            return ""
        before = samples[0].picks
        placed = {
            number: reading.picks.get(number, 0) - before.get(number, 0)
            for number in reading.engines
        }
        total, fair = sum(placed.values()), _fair_shares(reading.engines)
        if total < max(1, self.limits.share_requests):
            return ""
        for number, count in placed.items():
            if count > self.limits.share_factor * fair[number] * total:
                return f"one of {len(fair)} engines got {count} of {total} requests"
        return ""


def _fair_shares(engines: Mapping[int, EngineReading]) -> dict[int, float]:
    """By speed where every engine's is known, else equal parts."""
    speeds = {number: engine.speed for number, engine in engines.items()}
    if not all(speed > 0 for speed in speeds.values()):
        speeds = dict.fromkeys(speeds, 1.0)
    total = sum(speeds.values())
    return {number: speed / total for number, speed in speeds.items()}


def stale_signals(engines: Mapping[int, EngineReading], bound_s: float) -> str:
    """What is wrong when every engine that ever gave signals has old ones, or nothing."""
    ages_s = [one.signal_age_s for one in engines.values()]
    known_s = [age_s for age_s in ages_s if not math.isnan(age_s)]
    if not known_s or min(known_s) <= bound_s:
        return ""
    return f"the freshest signals are {min(known_s):.3g} s old"
