"""A `Window`: what a stretch of trace looks like in numbers, for policies, prompts and people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.capacity import CapacityTrace
from telemetry.sparkline import sparkline
from telemetry.trace import Trace

MINUTE_S = 60.0
SIXTHS = 6
SERIES = 60
TOP_TENANTS = 6
_MIN_MINUTES = 10
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, quantiles and maximum of a column; all 0 when it is empty."""

    mean: float
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: NDArray[Any]) -> Spread:
        """Summarise a column, quantiles by linear interpolation."""
        if not len(values):
            return cls(0.0, 0.0, 0.0, 0.0, 0.0)
        p50, p95, p99 = np.quantile(values, (0.5, 0.95, 0.99))
        return cls(float(values.mean()), float(p50), float(p95), float(p99), float(values.max()))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a window: the whole, a service class or a tenant.

    Attributes:
        label: ``all``, ``online``, ``offline`` or an opaque tenant name.
        share: of the window's requests. rate_rps: requests a second.
        cv_iat: coefficient of variation of the inter-arrival times; None below two of them.
        in_out_ratio: prompt tokens per output token.
    """

    label: str
    requests: int
    share: float
    rate_rps: float
    cv_iat: float | None
    prompt_tokens: Spread
    output_tokens: Spread
    in_out_ratio: float


@dataclass(frozen=True, slots=True)
class Dynamics:
    """How the window changes over time.

    Attributes:
        per_minute_mean, per_minute_max: requests in a full minute; None below one full minute.
        peak_to_mean: their ratio. idle_minutes_share: full minutes without a request.
        acf_1, acf_5, acf_15: autocorrelation of the minute counts at 1, 5, 15 minutes, each lag's
            products averaged over their own number; None with too few minutes.
        rate_sixths: requests a second in each sixth of the time.
        prompt_sixths, output_sixths: mean tokens in each sixth of the requests.
        *_drift: greatest over smallest of the sixths; None when the smallest is 0.
        rate_series: requests a second in 60 equal parts of the time, for plots.
    """

    per_minute_mean: float | None
    per_minute_max: float | None
    peak_to_mean: float | None
    idle_minutes_share: float | None
    acf_1: float | None
    acf_5: float | None
    acf_15: float | None
    rate_sixths: tuple[float, ...]
    prompt_sixths: tuple[float, ...]
    output_sixths: tuple[float, ...]
    rate_drift: float | None
    prompt_drift: float | None
    output_drift: float | None
    rate_series: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Structure:
    """Reuse, sessions and tenants.

    Attributes:
        block_tokens: size of a prefix block, 0 when reuse is unknown; blocks: how many there are.
        reuse_share: blocks that occurred before, over all blocks; None when reuse is unknown.
        sessions: with at least one request; turns: requests a session.
        closed_loop_share: requests revealed by another's finish; think_s: of those.
        tenants: with at least one request; top_tenant_share: of requests, the greatest one.
    """

    block_tokens: int
    blocks: int
    reuse_share: float | None
    sessions: int
    turns: Spread
    closed_loop_share: float
    think_s: Spread
    tenants: int
    top_tenant_share: float


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """What a capacity trace does in the window, in nodes; ``kind`` says what up means."""

    kind: str
    nodes: int
    gpus: int
    min: int
    mean: float
    max: int
    losses_per_day: float
    gains_per_day: float


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of trace in numbers; see the parts for their fields.

    Attributes:
        generated_share: requests that were drawn rather than recorded.
        rows: the whole first, then service classes, then the greatest tenants.
        capacity: None when no capacity trace was given.
    """

    name: str
    span_s: float
    generated_share: float
    rows: tuple[Row, ...]
    dynamics: Dynamics
    structure: Structure
    capacity: CapacityRow | None
    notes: tuple[str, ...]

    @property
    def whole(self) -> Row:
        """The line for all requests."""
        return self.rows[0]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers."""
        return asdict(self)

    def describe(self) -> list[str]:
        """Lines for people, the most telling first."""
        return [*_describe_traffic(self), *_describe_structure(self), *self.notes]


def summarise(trace: Trace, capacity: CapacityTrace | None = None) -> Window:
    """The window in numbers; ``capacity`` is summarised over its own span."""
    first = trace.meta.generated_from
    drawn = 0 if first is None else len(trace) - first
    return Window(
        name=trace.meta.name, span_s=trace.span_s,
        generated_share=drawn / len(trace) if len(trace) else 0.0,
        rows=tuple(_rows(trace)), dynamics=_dynamics(trace), structure=_structure(trace),
        capacity=None if capacity is None else capacity_row(capacity),
        notes=trace.meta.notes + (capacity.meta.notes if capacity else ()))


def capacity_row(capacity: CapacityTrace) -> CapacityRow:
    """Nodes up over the window, weighted by time, and how often it changes."""
    times, level = capacity.counts()
    lasting = np.diff(np.append(times, capacity.span_s))
    days = capacity.span_s / DAY_S
    change = np.diff(level)
    return CapacityRow(
        capacity.kind, capacity.nodes, int(capacity.gpus.sum()), int(level.min()),
        float((level * lasting).sum() / capacity.span_s), int(level.max()),
        float((change < 0).sum() / days), float((change > 0).sum() / days))


def interarrival_cv(arrival_s: NDArray[np.float64]) -> float | None:
    """Coefficient of variation of the inter-arrival times; None below two, or when all are 0."""
    gaps = np.diff(arrival_s)
    return float(gaps.std() / gaps.mean()) if len(gaps) >= 2 and gaps.mean() > 0 else None


def autocorrelation(counts: NDArray[Any], lag: int) -> float | None:
    """Autocorrelation at ``lag``, the products averaged over their own number."""
    if len(counts) < max(_MIN_MINUTES, 2 * lag):
        return None
    centred = counts - counts.mean()
    variance = float((centred**2).mean())
    return float((centred[lag:] * centred[:-lag]).mean()) / variance if variance > 0 else None


def _rows(trace: Trace) -> list[Row]:
    rows = [_row(trace, "all", np.ones(len(trace), np.bool_))]
    if 0 < trace.online.sum() < len(trace):
        rows += [_row(trace, "online", trace.online), _row(trace, "offline", ~trace.online)]
    counts = np.bincount(trace.tenant, minlength=len(trace.tenants))
    if (counts > 0).sum() > 1:
        top = np.argsort(-counts, kind="stable")[:TOP_TENANTS]
        rows += [_row(trace, trace.tenants[code], trace.tenant == code)
                 for code in top if counts[code]]
    return rows


def _row(trace: Trace, label: str, chosen: NDArray[np.bool_]) -> Row:
    prompt, output = trace.prompt_tokens[chosen], trace.output_tokens[chosen]
    count = len(prompt)
    return Row(
        label, count, count / len(trace) if len(trace) else 0.0,
        count / trace.span_s if trace.span_s > 0 else 0.0,
        interarrival_cv(trace.arrival_s[chosen]), Spread.of(prompt), Spread.of(output),
        float(prompt.sum(dtype=np.int64) / max(1, output.sum(dtype=np.int64))))


def _dynamics(trace: Trace) -> Dynamics:
    minutes = int(trace.span_s // MINUTE_S)
    counts = np.histogram(trace.arrival_s, np.arange(minutes + 1) * MINUTE_S)[0] if minutes else (
        np.zeros(0, np.int64))
    mean = float(counts.mean()) if minutes else None
    peak = float(counts.max()) if minutes else None
    rates = _rates(trace, SIXTHS)
    prompts, outputs = _sixths(trace.prompt_tokens), _sixths(trace.output_tokens)
    return Dynamics(
        mean, peak, peak / mean if mean and peak else None,
        float((counts == 0).mean()) if minutes else None, autocorrelation(counts, 1),
        autocorrelation(counts, 5), autocorrelation(counts, 15), rates, prompts, outputs,
        _drift(rates), _drift(prompts), _drift(outputs), _rates(trace, SERIES))


def _rates(trace: Trace, parts: int) -> tuple[float, ...]:
    if trace.span_s <= 0:
        return (0.0,) * parts
    counts = np.histogram(trace.arrival_s, np.linspace(0, trace.span_s, parts + 1))[0]
    return tuple(float(count) * parts / trace.span_s for count in counts)


def _sixths(column: NDArray[np.int32]) -> tuple[float, ...]:
    return tuple(float(part.mean()) if len(part) else 0.0
                 for part in np.array_split(column, SIXTHS))


def _drift(parts: Sequence[float]) -> float | None:
    return max(parts) / min(parts) if min(parts) > 0 else None


def _structure(trace: Trace) -> Structure:
    blocks = len(trace.block_ids)
    unique = int(trace.block_ids.max(initial=-1)) + 1
    tenants = np.bincount(trace.tenant, minlength=1)
    turns = np.bincount(trace.session[trace.session >= 0])
    closed = trace.after >= 0
    return Structure(
        trace.block_tokens, blocks, 1 - unique / blocks if blocks else None,
        int((turns > 0).sum()), Spread.of(turns[turns > 0]),
        float(closed.mean()) if len(trace) else 0.0, Spread.of(trace.think_s[closed]),
        int((tenants > 0).sum()), float(tenants.max() / len(trace)) if len(trace) else 0.0)


def _describe_traffic(window: Window) -> list[str]:
    whole, moves = window.whole, window.dynamics
    lines = [
        f"{window.name}: {whole.requests:,} requests in {window.span_s:,.0f} s, "
        f"{whole.rate_rps:.3g}/s; inter-arrival CV {_maybe(whole.cv_iat)}; "
        f"{window.generated_share:.0%} generated",
        f"prompt tokens  {_spread(whole.prompt_tokens)}",
        f"output tokens  {_spread(whole.output_tokens)}   in/out {whole.in_out_ratio:.3g}",
        f"per minute     mean {_maybe(moves.per_minute_mean)} peak/mean "
        f"{_maybe(moves.peak_to_mean)} ACF 1/5/15 min {_maybe(moves.acf_1)}/{_maybe(moves.acf_5)}/"
        f"{_maybe(moves.acf_15)} drift rate {_maybe(moves.rate_drift)} prompt "
        f"{_maybe(moves.prompt_drift)} output {_maybe(moves.output_drift)}",
    ]
    return [*lines, f"rate           {sparkline(moves.rate_series)}"]


def _describe_structure(window: Window) -> list[str]:
    parts, lines = window.structure, []
    if parts.reuse_share is not None:
        lines.append(f"prefix reuse   {parts.reuse_share:.1%} of {parts.blocks:,} blocks of "
                     f"{parts.block_tokens} tokens")
    if parts.sessions:
        lines.append(f"sessions       {parts.sessions:,}, turns mean {parts.turns.mean:.3g} p95 "
                     f"{parts.turns.p95:.3g}; closed loop {parts.closed_loop_share:.0%}, think s "
                     f"p50 {parts.think_s.p50:.3g} p95 {parts.think_s.p95:.3g}")
    if parts.tenants > 1:
        lines.append(f"tenants        {parts.tenants}, the greatest has "
                     f"{parts.top_tenant_share:.0%}")
    if window.capacity is not None:
        seen = window.capacity
        lines.append(f"capacity       {seen.kind}: {seen.nodes} nodes, {seen.gpus} GPUs; up "
                     f"{seen.min}/{seen.mean:.3g}/{seen.max}; {seen.losses_per_day:.3g} losses and "
                     f"{seen.gains_per_day:.3g} gains a day")
    return lines


def _spread(spread: Spread) -> str:
    return (f"mean {spread.mean:,.0f} p50 {spread.p50:,.0f} p95 {spread.p95:,.0f} "
            f"p99 {spread.p99:,.0f} max {spread.max:,.0f}")


def _maybe(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
