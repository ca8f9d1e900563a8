"""Fits a calibration to an engine's own measurements: per-request timings, or vLLM's histograms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sandbox.calibration import Calibration, CalibrationRefused, Errors, Terms
from sandbox.cluster import EngineSpec
from sandbox.fitting import fit
from sandbox.one_engine import Timings, serve
from sandbox.profiles import Profile
from sandbox.profiles.profile import DIFFERENTIAL_ERROR
from telemetry.engine_histograms import Counts, EngineHistograms
from telemetry.engine_timings import EngineTimings
from telemetry.trace import Trace, TraceMeta

Floats = NDArray[np.float64]

EVIDENCE = 30.0
"""However many requests there are, they weigh as much as this many independent ones: requests of
one run share its queue, and their errors with it."""

WEIGHT_TTFT = 0.4  # a first token hangs on queues, which magnify what the terms are about
MOST_REQUESTS = 4_000  # drawn from histograms
_PARTS = 4  # a run's quarters are the loads whose ratios are compared


def from_timings(
    profile: Profile,
    measured: EngineTimings,
    engine: EngineSpec,
    kv_tokens: int | None = None,
    name: str = "vllm",
) -> Calibration:
    """Fit to every second request, report on the others.

    Raises:
        CalibrationRefused: the engine could not have served these requests.
    """
    fitted_on = np.arange(0, len(measured), 2)
    held_out = np.arange(1, len(measured), 2)

    def residuals(trial: Profile) -> Floats:
        served = serve(trial, measured.trace, engine, kv_tokens)
        return _logs(served, measured, fitted_on)

    before = serve(profile, measured.trace, engine, kv_tokens)
    if not np.isfinite(before.e2e_s).all():
        raise CalibrationRefused(
            f"{int(np.isnan(before.e2e_s).sum())} of these requests do not fit into a replica of "
            f"{profile.key}; check --gpu, --model, --tp and --kv-tokens."
        )
    made = fit(profile, residuals)
    after = serve(made, measured.trace, engine, kv_tokens)
    return Calibration(
        gpu=profile.gpu, model=profile.model, tp=profile.tp, tables=profile.tables_digest,
        terms=Terms.of(made), kv_tokens=kv_tokens, source="timings", engine=name,
        requests=len(measured),
        before=_errors(before, measured, held_out), after=_errors(after, measured, held_out),
        differential_error=_ratio_error(after.e2e_s, measured.e2e_s, held_out),
    )  # fmt: skip


def from_histograms(
    profile: Profile,
    measured: EngineHistograms,
    window_s: float,
    engine: EngineSpec,
    kv_tokens: int | None = None,
    name: str = "vllm",
) -> Calibration:
    """Fit to the means, report on medians and tails, which the fit has not seen.

    Arrivals are taken as Poisson over `window_s`, lengths as the histograms have them, and nothing
    is known about prefix reuse; so this is coarser than per-request timings.

    Raises:
        CalibrationRefused: too few requests, or the engine could not have served them.
    """
    if measured.requests < 100 or not window_s > 0:
        raise CalibrationRefused(
            f"{measured.requests} requests in {window_s:g} s are too few; scrape later."
        )
    trace = _drawn(measured, window_s)
    engine = engine.model_copy(update={"enable_prefix_caching": False})

    def residuals(trial: Profile) -> Floats:
        found = _means(serve(trial, trace, engine, kv_tokens), trace, measured.per_token)
        wanted = [measured.ttft_s.mean, measured.tpot_s.mean, measured.e2e_s.mean]
        share = np.sqrt(EVIDENCE / 3) * np.array([WEIGHT_TTFT, 1.0, 1.0])
        return np.asarray(share * np.log(np.array(found) / np.array(wanted)))

    before = serve(profile, trace, engine, kv_tokens)
    if not np.isfinite(before.e2e_s).all():
        raise CalibrationRefused(
            f"Requests as long as these do not fit into a replica of {profile.key}; check --gpu, "
            "--model, --tp and --kv-tokens."
        )
    made = fit(profile, residuals)
    after = serve(made, trace, engine, kv_tokens)
    return Calibration(
        gpu=profile.gpu, model=profile.model, tp=profile.tp, tables=profile.tables_digest,
        terms=Terms.of(made), kv_tokens=kv_tokens, source="histograms", engine=name,
        requests=measured.requests,
        before=_coarse(before, trace, measured), after=_coarse(after, trace, measured),
        differential_error=max(profile.differential_error, DIFFERENTIAL_ERROR),
    )  # fmt: skip


def _logs(served: Timings, measured: EngineTimings, rows: NDArray[np.int64]) -> Floats:
    pairs = (
        (WEIGHT_TTFT, served.ttft_s, measured.ttft_s),
        (1.0, served.tpot_s, measured.tpot_s),
        (1.0, served.e2e_s, measured.e2e_s),
    )
    share = np.sqrt(EVIDENCE / len(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [share * weight * np.log(ours / theirs)[rows] for weight, ours, theirs in pairs]
    return np.concatenate(logs)


def _errors(served: Timings, measured: EngineTimings, rows: NDArray[np.int64]) -> Errors:
    values = {}
    for name in ("ttft", "tpot", "e2e"):
        ours, theirs = (getattr(side, f"{name}_s")[rows] for side in (served, measured))
        ours, theirs = ours[np.isfinite(theirs)], theirs[np.isfinite(theirs)]
        values[f"{name}_mean"] = _error(float(np.nanmean(ours)), float(theirs.mean()))
        for share in (50, 99):
            simulated, real = (float(np.nanpercentile(x, share)) for x in (ours, theirs))
            values[f"{name}_p{share}"] = _error(simulated, real)
    return Errors(**values)


def _coarse(served: Timings, trace: Trace, measured: EngineHistograms) -> Errors:
    values = {}
    means = _means(served, trace, measured.per_token)
    for name, mean in zip(("ttft", "tpot", "e2e"), means, strict=True):
        ours, theirs = getattr(served, f"{name}_s"), getattr(measured, f"{name}_s")
        values[f"{name}_mean"] = _error(mean, theirs.mean)
        for share in (50, 99):
            real = theirs.quantile(share / 100)
            values[f"{name}_p{share}"] = _error(float(np.nanpercentile(ours, share)), real)
    return Errors(**values)


def _error(simulated: float, real: float) -> float:
    return round(simulated / real - 1.0, 5) if real > 0 else 0.0


def _means(served: Timings, trace: Trace, per_token: bool) -> list[float]:
    gaps = float(np.nanmean(served.tpot_s)) if np.isfinite(served.tpot_s).any() else np.nan
    if per_token:
        later = float((trace.output_tokens - 1).sum())
        gaps = float((served.e2e_s - served.ttft_s).sum()) / max(later, 1.0)
    return [float(np.nanmean(served.ttft_s)), gaps, float(np.nanmean(served.e2e_s))]


def _ratio_error(ours: Floats, theirs: Floats, rows: NDArray[np.int64]) -> float:
    """Median error of the ratio of two quarters of the run."""
    quarters: Sequence[NDArray[np.int64]] = np.array_split(rows, _PARTS)
    bias = [float(np.log(ours[q].mean() / theirs[q].mean())) for q in quarters if len(q)]
    return round(float(np.median([abs(a - b) for a, b in combinations(bias, 2)])), 5)


def _drawn(measured: EngineHistograms, window_s: float) -> Trace:
    """Requests as the histograms describe them, at the measured rate."""
    draw = np.random.default_rng([0x5EED, measured.requests])
    n = min(measured.requests, MOST_REQUESTS)
    gaps = draw.exponential(window_s / measured.requests, n)
    return Trace.of(
        TraceMeta(name="histograms", format="engine_histograms"),
        arrival_s=np.cumsum(gaps) - gaps[0],
        prompt_tokens=_lengths(measured.prompt_tokens, n, draw),
        output_tokens=_lengths(measured.output_tokens, n, draw),
    )


def _lengths(counts: Counts, n: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Whole numbers with the histogram's shape and mean."""
    values = np.array([counts.quantile(share) for share in draw.random(n)])
    scaled = np.rint(values * (counts.mean / values.mean()))
    return np.asarray(np.maximum(scaled, 1), np.int64)
