"""Makes a close-up of one window from what happened there under two policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.classes import classify
from sandbox.close_up import (
    BINS,
    MOST_GAINS,
    MOST_INSTANCES,
    MOST_LOSSES,
    MOST_TENANTS,
    OTHER_TENANTS,
    QUANTILES,
    Conduct,
    End,
    Fate,
    Request,
    Series,
    Tenant,
    Why,
    Window,
)
from sandbox.hardware import build_hardware
from sandbox.kernel.state import FINISHED, PS_PER_S, REJECTED
from sandbox.metrics import Floats, charged_s
from sandbox.scenario import Scenario
from sandbox.simulation import Outcome

Marks = NDArray[np.bool_]
Ints = NDArray[np.int64]
SHORTEST_S = 0.01  # of a window
LEAST_S = 1e-3  # a request that differs by less has neither lost nor gained


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One policy on one window: what happened, and the fleet at the edges of the bins.

    Attributes:
        reconfigurations: float64 ``[BINS + 1]``, so many until then; instances: that serve;
        kv_use: share of their KV cache in use, NaN without any.
    """

    outcome: Outcome
    reconfigurations: Floats
    instances: Floats
    kv_use: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One policy's run as arrays over the window's trace; `counts` marks what is measured."""

    seen: Seen
    scenario: Scenario
    charged_s: Floats

    @property
    def outcome(self) -> Outcome:
        return self.seen.outcome

    @property
    def counts(self) -> Marks:
        return ~np.isnan(self.charged_s)

    @property
    def done(self) -> Marks:
        return np.asarray(self.counts & (self.outcome.state == FINISHED), np.bool_)

    @property
    def tokens(self) -> Floats:
        trace = self.scenario.trace
        return np.asarray(trace.prompt_tokens + trace.output_tokens, np.float64)


def edges_s(scenario: Scenario) -> Floats:
    """Where bins begin and end, seconds of the window's trace; ``[BINS + 1]``."""
    stop_s = max(scenario.trace.span_s, scenario.warmup_s + SHORTEST_S)
    return np.linspace(scenario.warmup_s, stop_s, BINS + 1)


def close_up_of(
    scenario: Scenario, why: Why, candidate: Seen, active: Seen, *, sealed: bool
) -> Window:
    """The close-up of one window."""
    hardware = build_hardware(scenario.cluster)
    sides = [
        _Side(seen, scenario,
              charged_s(seen.outcome, scenario.setup, hardware, scenario.warmup_s))
        for seen in (candidate, active)
    ]  # fmt: skip
    last = max(int(side.outcome.engine.max(initial=-1)) for side in sides)
    instances = min(last + 1, MOST_INSTANCES)
    losses, gains = _chosen(sides)
    ids, _ = classify(scenario.trace, scenario.cluster)
    edges = edges_s(scenario)
    mine, theirs = (_conduct(side, instances, edges) for side in sides)
    return Window(
        name=scenario.name,
        why=why,
        sealed=sealed,
        start_s=round(scenario.start_s, 3),
        stop_s=round(float(scenario.start_s + edges[-1] - edges[0]), 3),
        bin_s=_plain(edges[1] - edges[0]),
        requests=int((sides[0].counts | sides[1].counts).sum()),
        candidate=mine,
        active=theirs,
        losses=tuple(_request(row, sides, ids, instances) for row in losses),
        gains=tuple(_request(row, sides, ids, instances) for row in gains),
        tenants=_tenants(sides, edges[-1]),
    )


def _chosen(sides: Sequence[_Side]) -> tuple[list[int], list[int]]:
    """Rows of the largest losses and gains under the candidate, largest first."""
    lost_s = sides[0].charged_s - sides[1].charged_s
    rows = np.flatnonzero(~np.isnan(lost_s))
    order = rows[np.lexsort((rows, -lost_s[rows]))]
    losses = order[:MOST_LOSSES][lost_s[order[:MOST_LOSSES]] > LEAST_S]
    most = order[::-1][:MOST_GAINS]
    return losses.tolist(), most[lost_s[most] < -LEAST_S].tolist()


def _conduct(side: _Side, instances: int, edges: Floats) -> Conduct:
    outcome, scenario, done = side.outcome, side.scenario, side.done
    counts, totals = side.counts & (outcome.entered >= 0), outcome.totals
    ttft = (outcome.first - outcome.entered)[done] / PS_PER_S
    e2e = (outcome.finish - outcome.entered)[done] / PS_PER_S
    steps = np.maximum(scenario.trace.output_tokens[done] - 1, 1)
    hours = max(float(totals["integrated"]) / PS_PER_S / 3600.0, 1e-9)
    rejected = counts & (outcome.state == REJECTED)
    charged = side.charged_s[side.counts]
    return Conduct(
        objective_s=_plain(charged.mean()) if len(charged) else None,
        e2e_s=_quantiles(e2e),
        ttft_s=_quantiles(ttft),
        tpot_s=_quantiles((e2e - ttft) / steps),
        finished=int(done.sum()),
        rejected=int(rejected.sum()),
        unfinished=int((counts & ~done & ~rejected).sum()),
        held=int(outcome.held[counts].sum()),
        preempted=int(outcome.preempted[counts].sum()),
        moved=int(outcome.moved[counts].sum()),
        reconfigurations=int(totals["reconfigurations"]),
        reconfigurations_per_hour=_plain(float(totals["reconfigurations"]) / hours),
        fuel_per_decision=_plain(float(totals["fuel"]) / max(int(totals["decisions"]), 1)),
        faults=int(totals["faults"]),
        instance_share=_instance_share(side, instances),
        series=_series(side, edges),
    )


def _quantiles(values: Floats) -> tuple[float, ...]:
    if len(values) == 0:
        return ()
    found = np.percentile(np.maximum(values, 0.0), np.linspace(0.0, 100.0, QUANTILES))
    return tuple(map(_plain, np.maximum.accumulate(found)))


def _instance_share(side: _Side, instances: int) -> tuple[float, ...]:
    served = np.bincount(side.outcome.engine[side.done], side.tokens[side.done], instances)
    total = max(float(served.sum()), 1.0)
    return tuple(_plain(share) for share in served[:instances] / total)


def _series(side: _Side, edges: Floats) -> Series:
    outcome, seen = side.outcome, side.seen
    bins = np.clip(np.searchsorted(edges, outcome.entered / PS_PER_S, "right") - 1, 0, BINS - 1)
    done = side.done
    e2e = (outcome.finish - outcome.entered) / PS_PER_S
    count, sums = np.bincount(bins[done], minlength=BINS), np.bincount(bins[done], e2e[done], BINS)
    came = outcome.entered >= 0
    end = int(outcome.totals["integrated"])
    over = np.where(outcome.finish >= 0, outcome.finish, end)
    told = np.where(outcome.first >= 0, outcome.first, over)
    return Series(
        e2e_s=tuple(_plain(s / n) if n else None for s, n in zip(sums, count, strict=True)),
        running=_means(told[came], over[came], edges),
        waiting=_means(outcome.entered[came], told[came], edges),
        busiest_share=_busiest(side, bins),
        reconfigurations=tuple(int(x) for x in np.diff(seen.reconfigurations)),
        kv_use=tuple(None if np.isnan(x) else _plain(x) for x in seen.kv_use[1:]),
        instances=tuple(int(x) for x in seen.instances[1:]),
    )


def _means(start: Ints, stop: Ints, edges: Floats) -> tuple[float, ...]:
    """How many of the spans cover each bin, on average over it; picoseconds."""
    spent = _until(start / PS_PER_S, edges) - _until(stop / PS_PER_S, edges)
    return tuple(_plain(max(x, 0.0)) for x in np.diff(spent) / np.diff(edges))


def _until(times_s: Floats, edges: Floats) -> Floats:
    """Sum over all times before an edge of how long before it they were."""
    ordered = np.sort(times_s)
    before = np.searchsorted(ordered, edges)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    return np.asarray(before * edges - sums[before])


def _busiest(side: _Side, bins: Ints) -> tuple[float | None, ...]:
    served = side.counts & (side.outcome.engine >= 0)
    table = np.zeros((BINS, max(int(side.outcome.engine.max(initial=0)), 0) + 1))
    np.add.at(table, (bins[served], side.outcome.engine[served]), side.tokens[served])
    total = table.sum(axis=1)
    return tuple(
        _plain(most / all_) if all_ else None
        for most, all_ in zip(table.max(axis=1), total, strict=True)
    )


def _request(row: int, sides: Sequence[_Side], ids: NDArray[np.int32], instances: int) -> Request:
    scenario = sides[0].scenario
    trace = scenario.trace
    candidate, active = (_fate(row, side, instances) for side in sides)
    return Request(
        row=row,
        arrival_s=_plain(trace.arrival_s[row] - scenario.warmup_s),
        class_number=int(ids[row]),
        prompt_tokens=int(trace.prompt_tokens[row]),
        output_tokens=int(trace.output_tokens[row]),
        lost_s=_plain(sides[0].charged_s[row] - sides[1].charged_s[row]),
        candidate=candidate,
        active=active,
    )


def _fate(row: int, side: _Side, instances: int) -> Fate:
    outcome, state = side.outcome, int(side.outcome.state[row])
    entered, first, finish = (int(x[row]) for x in (outcome.entered, outcome.first, outcome.finish))
    end = {FINISHED: End.FINISHED, REJECTED: End.REJECTED}.get(state, End.UNFINISHED)
    came = entered >= 0
    running, waiting = _load_at(row, outcome, instances)
    return Fate(
        end=end if came else End.NEVER_CAME,
        entered_s=_plain(entered / PS_PER_S - side.scenario.warmup_s) if came else None,
        e2e_s=_plain((finish - entered) / PS_PER_S) if state == FINISHED else None,
        ttft_s=_plain((first - entered) / PS_PER_S) if first >= 0 else None,
        instance=int(outcome.engine[row]),
        held=int(outcome.held[row]),
        preempted=int(outcome.preempted[row]),
        moved=int(outcome.moved[row]),
        running=running,
        waiting=waiting,
    )


def _load_at(row: int, outcome: Outcome, instances: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Requests by instance when one came; what had no instance yet counts where it was served."""
    now = int(outcome.entered[row])
    if now < 0:
        return (0,) * instances, (0,) * instances
    here = (outcome.entered >= 0) & (outcome.entered <= now) & (outcome.engine >= 0)
    here &= (outcome.finish < 0) | (outcome.finish > now)
    here[row] = False
    told = here & (outcome.first >= 0) & (outcome.first <= now)
    running, waiting = (
        np.bincount(outcome.engine[mine], minlength=instances)[:instances]
        for mine in (told, here & ~told)
    )
    return tuple(running.tolist()), tuple(waiting.tolist())


def _tenants(sides: Sequence[_Side], stop_s: float) -> tuple[Tenant, ...]:
    """The tenants with the most requests, then the others together; none when there is one."""
    tenant = sides[0].scenario.trace.tenant
    counts = np.bincount(tenant[sides[0].counts | sides[1].counts], minlength=1)
    if (counts > 0).sum() < 2:
        return ()
    most = np.lexsort((np.arange(len(counts)), -counts))
    known = sorted(number for number in most[:MOST_TENANTS].tolist() if counts[number])
    groups = [(number, tenant == number) for number in known]
    rest = ~np.isin(tenant, known)
    if (rest & sides[0].counts).any():
        groups.append((OTHER_TENANTS, rest))
    return tuple(_tenant(number, mine, sides, round(stop_s * PS_PER_S)) for number, mine in groups)


def _tenant(number: int, mine: Marks, sides: Sequence[_Side], stop: int) -> Tenant:
    asked = sides[0].counts | sides[1].counts
    shares, means = [], []
    for side in sides:
        served = side.done & (side.outcome.finish <= stop)
        total = max(float(side.tokens[served].sum()), 1.0)
        shares.append(_plain(side.tokens[served & mine].sum() / total))
        e2e = (side.outcome.finish - side.outcome.entered)[side.done & mine] / PS_PER_S
        means.append(_plain(e2e.mean()) if len(e2e) else None)
    share = _plain((asked & mine).sum() / max(int(asked.sum()), 1))
    return Tenant(number, share, shares[0], shares[1], means[0], means[1])


def _plain(value: float) -> float:
    """Six digits are more than anybody reads, and keep the record small."""
    return float(f"{float(value):.6g}")
