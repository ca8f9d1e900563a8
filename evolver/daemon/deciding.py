"""Whether a search is worth its price now: one pure function, with its reason in words.

What a search may save: the gain that it is expected to find, as a share of what the fleet costs
for as long as the regime is expected to last. The expectation is a mean over earlier searches,
those in a regime near this one weighing most, with the usual gain as one more of them; so searches
that found nothing make the next one in the same regime less worth, and a new regime starts afresh.
What a search costs: its budget, in money of models and of cores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolver.daemon.config import Budget, DaemonConfig
from evolver.daemon.protocols import Change
from evolver.regimes import distance, finite, regime_in
from policy_store.daemon_book import Episode

HOUR_S = 3600.0
CLOCKS_APART_S = 60.0  # of gateways and of the daemon
MOST_SEALED = 2 / 3  # of a stretch, at its end: eight windows of the fewest that prove anything
WHOLE_ENOUGH = 0.5  # of a search's budget that has to be left of the day's
KINDS = ("seconds", "evaluations", "tokens", "usd")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a decision looks at.

    Attributes:
        requests, span_s: of the stretch at hand; span_s is on the wall clock.
        needed_s: the span that gives enough windows to prove anything on, as far as is known.
        began_unix_s, until_unix_s: of the stretch.
        change: since the last search.
        evidence_age_s: of what is live; None for the built-in default.
        stale: why what is live does no longer keep what its evidence promised; empty when it does.
        holder: a policy on trial, which has to be settled first; empty without one.
        usd_per_hour: of the fleet.
        regime: of the stretch, for the searches near it.
        today: episodes of the last 24 hours; past: all that are known, newest first.
    """

    now_unix_s: float
    requests: int
    span_s: float
    needed_s: float
    began_unix_s: float
    until_unix_s: float
    change: Change
    evidence_age_s: float | None
    stale: str
    holder: str
    usd_per_hour: float
    regime: Mapping[str, float]
    today: Sequence[Episode]
    past: Sequence[Episode]


@dataclass(frozen=True, slots=True)
class Choice:
    """To evolve or not.

    Attributes:
        code: why, in a word; the audit log is told when it changes.
        reason: why, in a sentence or two.
        limits: of the search; None without one.
    """

    evolve: bool
    code: str
    reason: str
    limits: Budget | None = None


def decide(config: DaemonConfig, seen: Seen) -> Choice:
    """Evolve now, or why not."""
    for ask in (_enough, _free, _cool, _fresh):
        choice = ask(config, seen)
        if choice is not None:
            return choice
    limits = affordable(config, seen.today)
    if limits is None:
        return Choice(False, "budget", f"The day's budget is spent: {_spent_words(seen.today)}.")
    cause = _cause(config, seen)
    if cause is None:
        return Choice(False, "steady", f"{seen.change.reason} There is no cause to search.")
    gain = expected_gain(config, seen)
    saved = gain * seen.usd_per_hour * config.decide.horizon_s / HOUR_S
    price = price_usd(config, limits)
    words = (
        f"A gain of {gain:.1%} is expected, worth {saved:.2f} USD in "
        f"{config.decide.horizon_s / HOUR_S:g} h; a search costs up to {price:.2f} USD."
    )
    if saved * config.decide.worth < price:
        return Choice(False, "price", f"{cause} {words} That is not worth it.")
    return Choice(True, "worth", f"{cause} {words}", limits)


def expected_gain(config: DaemonConfig, seen: Seen) -> float:
    """The mean gain of earlier searches, nearer regimes weighing more; a share of time."""
    weight, total = 1.0, config.decide.usual_gain
    for episode in seen.past:
        there = regime_in(episode.facts.get("regime"))
        if episode.outcome is None or there is None:
            continue
        apart = distance(seen.regime, there) / config.decide.drift_units
        share = math.exp(-0.5 * apart * apart)
        weight += share
        total += share * _gain(episode)
    return total / weight


def affordable(config: DaemonConfig, today: Sequence[Episode]) -> Budget | None:
    """The budget of a search as far as the day's allows; None when too little is left."""
    if len(today) >= config.day.runs:
        return None
    limits: dict[str, float | None] = {}
    for kind in KINDS:
        wanted, whole = getattr(config.run, kind), getattr(config.day, kind)
        if whole is None:
            limits[kind] = wanted
            continue
        left = whole - spent(today, kind)
        if left <= 0.0 or (wanted is not None and left < WHOLE_ENOUGH * wanted):
            return None
        # What the day bounds and the run does not is bounded by what is left of the day.
        limits[kind] = left if wanted is None else min(wanted, left)
    if limits["tokens"] is not None:
        limits["tokens"] = max(1, int(limits["tokens"]))
    return Budget.model_validate(limits)


def spent(episodes: Sequence[Episode], kind: str) -> float:
    """What episodes spent; where nobody knows, as while one goes on, all that it may spend."""
    total = 0.0
    for episode in episodes:
        parts = (episode.facts.get(name) for name in ("spent", "limits"))
        known = (finite(part.get(kind)) for part in parts if isinstance(part, Mapping))
        total += next((value for value in known if value is not None), 0.0)
    return total


def price_usd(config: DaemonConfig, limits: Budget) -> float:
    """What a search costs at most: models, and cores for as long as it may take."""
    cores = config.run.workers * config.decide.cpu_usd_per_hour
    models = (limits.usd or 0.0) if config.models else 0.0
    return models + cores * (limits.seconds or 0.0) / HOUR_S


def lasts(config: DaemonConfig, requests: int, span_s: float, needed_s: float) -> bool:
    """Whether a stretch is enough to search and to prove something on."""
    watch = config.watch
    return requests >= watch.least_requests and span_s >= max(watch.least_s, needed_s)


def _enough(config: DaemonConfig, seen: Seen) -> Choice | None:
    if lasts(config, seen.requests, seen.span_s, seen.needed_s):
        return None
    watch = config.watch
    needed_s = max(watch.least_s, seen.needed_s)
    more = (
        f" No look goes further back than {watch.span_s:.0f} s: raise span_s."
        if needed_s > watch.span_s
        else ""
    )
    return Choice(
        False, "gathering",
        f"{seen.requests} requests in {seen.span_s:.0f} s were seen; a search needs "
        f"{watch.least_requests} in {needed_s:.0f} s to prove anything.{more}",
    )  # fmt: skip


def _free(_: DaemonConfig, seen: Seen) -> Choice | None:
    if not seen.holder:
        return None
    return Choice(False, "trial", f"Policy {seen.holder[:12]} is on trial; that is settled first.")


def _cool(config: DaemonConfig, seen: Seen) -> Choice | None:
    ended = [one.ended_at.timestamp() for one in seen.past[:1] if one.ended_at is not None]
    left_s = max(ended, default=-math.inf) + config.decide.cool_down_s - seen.now_unix_s
    # One that ended later than now did so by a clock that went back since; nobody knows when.
    if not 0.0 < left_s <= config.decide.cool_down_s:
        return None
    return Choice(
        False, "cool-down",
        f"The last search ended lately; the next may begin after {config.decide.cool_down_s:.0f} s "
        "of rest.",
    )  # fmt: skip


def _fresh(_: DaemonConfig, seen: Seen) -> Choice | None:
    """What is proved on must be newer than all that earlier searches saw."""
    last = searched_until(seen.past)
    sealed_from = seen.until_unix_s - MOST_SEALED * (seen.until_unix_s - seen.began_unix_s)
    if sealed_from >= last:
        return None
    if last > seen.now_unix_s + CLOCKS_APART_S:
        return Choice(
            False, "clock",
            f"The last search saw traffic of {(last - seen.now_unix_s) / HOUR_S:.1f} h after now, "
            "so a clock went back; a proof waits until its time has come again.",
        )  # fmt: skip
    return Choice(
        False, "fresh windows",
        "The last search has seen most of what is there; a proof needs traffic that no search has "
        "seen.",
    )  # fmt: skip


def searched_until(past: Sequence[Episode]) -> float:
    """Up to when searches have seen the traffic."""
    return max((_until(one) for one in past), default=-math.inf)


def _until(episode: Episode) -> float:
    window = episode.facts.get("window")
    value = finite(window.get("until_unix_s")) if isinstance(window, Mapping) else None
    return -math.inf if value is None else value


def _cause(config: DaemonConfig, seen: Seen) -> str | None:
    if not any(one.outcome is not None for one in seen.past):
        return "Nothing was evolved here yet."
    if seen.change.changed:
        return seen.change.reason
    if seen.stale:
        return seen.stale
    age_s = seen.evidence_age_s
    if age_s is not None and age_s > config.decide.stale_after_s:
        return f"The evidence of the live policy is {age_s / HOUR_S:.0f} h old."
    if seen.past and seen.past[0].outcome in ("rolled_back", "failed"):
        return f"The last search ended as {seen.past[0].outcome.replace('_', ' ')}."
    return None


def _gain(episode: Episode) -> float:
    if episode.outcome in ("rolled_back", "no_change", "failed", "abandoned"):
        return 0.0
    return max(finite(episode.facts.get("gain")) or 0.0, 0.0)


def _spent_words(today: Sequence[Episode]) -> str:
    used = [f"{spent(today, kind):,.0f} {kind}" for kind in KINDS if spent(today, kind)]
    return ", ".join([f"{len(today)} searches", *used])
