"""Generates traces of any length from profiles; every row is marked as generated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from telemetry.arrivals import gamma_shape, renewal_times
from telemetry.blocks import Blocks, offsets_of
from telemetry.errors import ProfileError
from telemetry.profile import Mix, Reuse, Sessions, TrafficProfile
from telemetry.quantiles import LEVELS, Table, draw
from telemetry.trace import Trace, TraceMeta

NOMINAL_TOKEN_S = 0.02
MAX_REQUESTS = 50_000_000
_LOOK_BACK = 8
_MAX_ROUNDS = 40
_CLOCK = "seconds from the window's start"
Column = NDArray[np.float64]


def generate(
    profile: TrafficProfile, *, span_s: float | None = None, n: int | None = None, seed: int = 0,
    rate_scale: float = 1.0,
) -> Trace:
    """Draw a trace; the same arguments give the same bits.

    Args:
        span_s: length of the window; by default the profile's. n: instead of it, the number of
            requests. rate_scale: open arrivals and session starts, times this.

    Raises:
        ProfileError: both or no sensible length, or more than fifty million requests.
    """
    length, wanted = _asked(profile, span_s, n, rate_scale)
    for _ in range(_MAX_ROUNDS):
        trace = _generate(profile, length, seed, rate_scale)
        if wanted is None:
            return trace
        if len(trace) > wanted:
            return trace.slice(0.0, float(np.nextafter(trace.arrival_s[wanted], 0.0))) if (
                trace.arrival_s[wanted] > trace.arrival_s[wanted - 1]) else _first(trace, wanted)
        length *= 1.3
    raise ProfileError(f"Profile {profile.name!r} is too idle for {wanted} requests; "
                       "raise rate_scale.")


def _asked(
    profile: TrafficProfile, span_s: float | None, n: int | None, rate_scale: float
) -> tuple[float, int | None]:
    if not (math.isfinite(rate_scale) and rate_scale > 0) or (span_s is not None and n is not None):
        raise ProfileError("Give a rate_scale above 0 and one of span_s and n.")
    rate = profile.rate_rps * rate_scale
    span = profile.span_s if span_s is None else span_s
    length = span if n is None else 1.1 * n / rate + profile.span_s / len(profile.rates_rps)
    if not (math.isfinite(length) and length > 0 and (n is None or n > 0)) or (
            rate * length > MAX_REQUESTS):
        raise ProfileError("The asked length is 0 or means more than fifty million requests; "
                           "give another span_s or n.")
    return length, n


def _generate(profile: TrafficProfile, span_s: float, seed: int, rate_scale: float) -> Trace:
    streams = np.random.SeedSequence(seed).spawn(4)
    arrivals, lengths, chains, prefixes = (np.random.default_rng(s) for s in streams)
    times = _arrivals(profile, span_s, rate_scale, arrivals)
    tenant, prompt, output = _rows(profile, times, lengths)
    grown = _Rows(times, prompt, output, tenant)
    if profile.sessions is not None:
        grown = _with_turns(profile.sessions, grown, span_s, chains)
    blocks = _blocks(profile, grown, prefixes) if profile.block_tokens else None
    online = lengths.random(len(grown.times)) < profile.online_share
    meta = TraceMeta(
        name=profile.name, format="generated", clock=_CLOCK, generated_from=0,
        source=profile.source, licence=profile.licence,
        notes=(f"Requests were generated from the fitted profile {profile.name} with seed {seed} "
               f"and rate scale {rate_scale:g}.",
               *(("Recorded times of later turns are nominal: "
                  f"{NOMINAL_TOKEN_S:g} s per output token and the think time after each call.",)
                 if profile.sessions else ())))
    closed = profile.sessions is not None
    return Trace.of(
        meta, arrival_s=grown.times, span_s=span_s, prompt_tokens=grown.prompt,
        output_tokens=grown.output, tenant=grown.tenant, online=online,
        tenants=[f"t{code}" for code in range(profile.tenants)],
        session=grown.session if closed else None, turn=grown.turn if closed else None,
        after=grown.after if closed else None, think_s=grown.think_s if closed else None,
        blocks=blocks)


def _first(trace: Trace, count: int) -> Trace:
    """The first ``count`` requests when several share the time of the last."""
    return Trace.of(
        trace.meta, arrival_s=trace.arrival_s[:count], prompt_tokens=trace.prompt_tokens[:count],
        output_tokens=trace.output_tokens[:count], tenant=trace.tenant[:count],
        tenants=trace.tenants, online=trace.online[:count], session=trace.session[:count],
        turn=trace.turn[:count], after=trace.after[:count], think_s=trace.think_s[:count],
        blocks=trace.blocks.between(0, count), joins=trace.joins.between(0, count))


class _Rows:
    """Columns of the open arrivals, or of them and their later turns."""

    def __init__(
        self, times: Column, prompt: Column, output: Column, tenant: NDArray[np.int64]
    ) -> None:
        rows = len(times)
        self.times, self.prompt, self.output, self.tenant = times, prompt, output, tenant
        self.session = np.arange(rows)
        self.turn = np.zeros(rows, np.int64)
        self.after = np.full(rows, -1, np.int64)
        self.think_s = np.zeros(rows)


def _arrivals(
    profile: TrafficProfile, span_s: float, rate_scale: float, rng: np.random.Generator
) -> Column:
    pieces = len(profile.rates_rps)
    step = profile.span_s / pieces
    count = math.ceil(span_s / step - 1e-9)
    edges = np.minimum(np.arange(count + 1) * step, span_s)
    rates = np.resize(np.array(profile.rates_rps), count) * rate_scale
    shapes = np.resize(gamma_shape(profile.cvs), count)
    return renewal_times(edges, rates, shapes, rng)


def _rows(
    profile: TrafficProfile, times: Column, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Column, Column]:
    rows = len(times)
    phase = np.mod(times, profile.span_s) / profile.span_s
    place = np.minimum((phase * len(profile.segments)).astype(np.int64), len(profile.segments) - 1)
    tenant, prompt, output = np.zeros(rows, np.int64), np.ones(rows), np.ones(rows)
    for at, mixes in enumerate(profile.segments):
        inside = np.flatnonzero(place == at)
        shares = np.cumsum([mix.share for mix in mixes])
        choice = np.searchsorted(shares, rng.random(len(inside)) * shares[-1], side="right")
        choice = np.minimum(choice, len(mixes) - 1)
        for code, mix in enumerate(mixes):
            own = inside[choice == code]
            tenant[own] = mix.tenant
            prompt[own], output[own] = _pairs(mix, len(own), rng)
    return tenant, prompt, output


def _pairs(mix: Mix, count: int, rng: np.random.Generator) -> tuple[Column, Column]:
    """Lengths with the mix's marginals, joined by a Gaussian copula of its rank correlation."""
    # Pearson's coefficient of the normal pair that has Spearman's coefficient r: 2 sin(pi r / 6).
    rho = 2.0 * math.sin(math.pi * mix.rank_correlation / 6.0)
    first = rng.standard_normal(count)
    second = rho * first + math.sqrt(max(0.0, 1 - rho * rho)) * rng.standard_normal(count)
    return (_tokens(mix.prompt_tokens, _uniform_ranks(first, rng)),
            _tokens(mix.output_tokens, _uniform_ranks(second, rng)))


def _uniform_ranks(values: Column, rng: np.random.Generator) -> Column:
    """Uniform draws in the order of ``values``, one in each of n equal parts of 0..1."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return np.asarray((ranks + rng.random(len(values))) / max(1, len(values)))


def _tokens(quantiles: Table, uniform: Column) -> Column:
    return np.maximum(1.0, np.rint(draw(quantiles, uniform)))


def _with_turns(
    law: Sessions, first: _Rows, span_s: float, rng: np.random.Generator
) -> _Rows:
    """Grow every session turn by turn while its nominal time lies in the window."""
    wanted = _by_range(law.turn_edges, law.turns, first.prompt, rng)
    total = np.maximum(1, np.rint(wanted))
    parts, before = [first], first
    rows = np.arange(len(first.times))
    base = 0
    for turn in range(1, int(total.max(initial=1))):
        going = np.flatnonzero(total[before.session] > turn)
        grown = _next_turn(law, before, going, rng)
        grown.after = rows[going] + base
        grown.turn = np.full(len(going), turn)
        inside = grown.times < span_s
        for name in ("times", "prompt", "output", "tenant", "session", "turn", "after", "think_s"):
            setattr(grown, name, getattr(grown, name)[inside])
        base += len(before.times)
        parts.append(grown)
        before, rows = grown, np.arange(len(grown.times))
        if not len(rows) or base + len(rows) > MAX_REQUESTS:
            break
    return _stacked(parts)


def _next_turn(
    law: Sessions, before: _Rows, going: NDArray[np.int64], rng: np.random.Generator
) -> _Rows:
    count = len(going)
    think = np.maximum(0.0, draw(law.think_s, rng.random(count)))
    growth = _by_range(law.growth_edges, law.growth_tokens, before.prompt[going], rng)
    grown = _Rows(
        before.times[going] + before.output[going] * NOMINAL_TOKEN_S + think,
        np.clip(np.rint(before.prompt[going] + growth), 1.0, 2.0**31 - 1),
        _tokens(law.output_tokens, rng.random(count)), before.tenant[going])
    grown.session, grown.think_s = before.session[going], think
    return grown


def _by_range(
    edges: Table, tables: Sequence[Table], key: Column, rng: np.random.Generator
) -> Column:
    """A draw for each ``key`` from the table of the range it lies in."""
    at, uniform = np.searchsorted(edges, key), rng.random(len(key))
    return np.asarray(np.select([at == place for place in range(len(tables))],
                                [draw(values, uniform) for values in tables]))


def _stacked(parts: Sequence[_Rows]) -> _Rows:
    """All turns in order of time; parents stay before their children."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in
               ("times", "prompt", "output", "tenant", "session", "turn", "after", "think_s")}
    order = np.argsort(columns["times"], kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    stacked = _Rows(*(columns[name][order] for name in ("times", "prompt", "output", "tenant")))
    after = columns["after"][order]
    stacked.after = np.where(after < 0, -1, place[after])
    stacked.session, stacked.turn = columns["session"][order], columns["turn"][order]
    stacked.think_s = columns["think_s"][order]
    return stacked


def _blocks(profile: TrafficProfile, rows: _Rows, rng: np.random.Generator) -> Blocks:
    """Blocks of each prompt: a prefix of its parent's or of an earlier arrival's, the rest new."""
    counts = np.ceil(rows.prompt / profile.block_tokens).astype(np.int64)
    open_shared, lag, turn_shared = _reuse_draws(profile, len(counts), rng)
    offsets = offsets_of(counts)
    ids = np.empty(int(offsets[-1]), np.int64)
    opened: list[int] = []
    fresh = 0
    for at, count in enumerate(counts.tolist()):
        parent = int(rows.after[at])
        part = turn_shared[at] if parent >= 0 else open_shared[at]
        shared = round(part * count)
        if parent < 0:
            parent = _holder(opened, counts, int(lag[at]), shared) if shared else -1
            opened.append(at)
        shared = min(shared, int(counts[parent])) if parent >= 0 else 0
        start = int(offsets[at])
        if shared:
            ids[start : start + shared] = ids[offsets[parent] : offsets[parent] + shared]
        ids[start + shared : start + count] = np.arange(fresh, fresh + count - shared)
        fresh += count - shared
    return Blocks(offsets, ids, profile.block_tokens)


def _reuse_draws(
    profile: TrafficProfile, rows: int, rng: np.random.Generator
) -> tuple[Column, Column, Column]:
    reuse = profile.reuse or Reuse((0.0,) * len(LEVELS), (1.0,) * len(LEVELS))
    turns = profile.sessions.shared if profile.sessions else (0.0,) * len(LEVELS)
    return (draw(reuse.shared, rng.random(rows)), np.maximum(1, draw(reuse.lag, rng.random(rows))),
            draw(turns, rng.random(rows)))


def _holder(opened: list[int], counts: NDArray[np.int64], lag: int, shared: int) -> int:
    """An earlier open arrival about ``lag`` back that is long enough, or the longest of those."""
    last = max(0, len(opened) - lag)
    near = opened[max(0, last - _LOOK_BACK + 1) : last + 1]
    for row in reversed(near):
        if counts[row] >= shared:
            return row
    return max(near, key=lambda row: int(counts[row]), default=-1)
