"""Generates capacity of any length from a profile; every event is marked as generated."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from telemetry.capacity import CapacityTrace, of_counts
from telemetry.errors import ProfileError
from telemetry.profile import CapacityProfile, Pool
from telemetry.quantiles import draw
from telemetry.trace import TraceMeta


def generate_capacity(
    profile: CapacityProfile, *, span_s: float | None = None, seed: int = 0
) -> CapacityTrace:
    """Draw capacity of any length; the same arguments give the same bits."""
    span = profile.span_s if span_s is None else span_s
    if not (math.isfinite(span) and span > 0):
        raise ProfileError("Capacity of no length holds nothing; give a span_s above 0.")
    streams = np.random.SeedSequence(seed).spawn(len(profile.pools))
    walks = [_walk(pool, span, profile.gap_s, np.random.default_rng(stream))
             for pool, stream in zip(profile.pools, streams, strict=True)]
    models = list(dict.fromkeys(pool.model for pool in profile.pools))
    meta = TraceMeta(
        name=profile.name, format="generated", clock="seconds from the window's start",
        generated_from=0,
        source=profile.source, licence=profile.licence,
        notes=(f"Capacity was generated from the fitted profile {profile.name} with seed {seed}; "
               "zones are independent of each other.",))
    return of_counts(
        meta, profile.kind, [walk[0] for walk in walks], [walk[1] for walk in walks], span_s=span,
        gap_s=profile.gap_s, models=models, model=[models.index(p.model) for p in profile.pools],
        zone=[pool.zone for pool in profile.pools], gpus=[pool.gpus for pool in profile.pools],
        sizes=[pool.nodes for pool in profile.pools])


def _walk(
    pool: Pool, span_s: float, gap_s: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Times and levels of one pool, on the ticks of ``gap_s``; the first stay is under way."""
    levels = {level.up: level for level in pool.levels}
    shares = np.cumsum([level.share for level in pool.levels])
    at = pool.levels[min(int(np.searchsorted(shares, rng.random() * shares[-1], side="right")),
                         len(shares) - 1)]
    time, times, ups = 0.0, [0.0], [at.up]
    hold = float(draw(at.hold_s, rng.random(1))[0]) * float(rng.random())
    while at.next:
        time += max(hold, 1e-3)
        time = math.ceil(time / gap_s) * gap_s if gap_s > 0 else time
        if time >= span_s:
            break
        chances = np.cumsum([chance for _, chance in at.next])
        pick = min(int(np.searchsorted(chances, rng.random() * chances[-1], side="right")),
                   len(chances) - 1)
        at = levels[at.next[pick][0]]
        times.append(time)
        ups.append(at.up)
        hold = float(draw(at.hold_s, rng.random(1))[0])
    return np.array(times), np.array(ups, np.int64)
