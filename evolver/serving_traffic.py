"""The training windows in numbers: traffic as tables, and GPUs that come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evolver.problem import Problem
from evolver.prompt_lines import Cell, number, percent, table
from sandbox.capacity import Pairing, capacity_rows
from sandbox.classes import classify
from sandbox.cluster import ClusterSpec
from sandbox.hardware import build_hardware
from sandbox.kernel.state import ANNOUNCE, PS_PER_S, UP
from sandbox.scenario import Scenario
from telemetry.trace import Trace
from telemetry.window import Dynamics, interarrival_cv, summarise

_COLUMNS: tuple[tuple[str, Callable[[Trace], float | None]], ...] = (
    ("requests", len),
    ("per s", lambda t: t.rate_rps),
    ("CV of gaps", lambda t: interarrival_cv(t.arrival_s)),
    ("prompt mean", lambda t: _mean(t.prompt_tokens)),
    ("p50", lambda t: _quantile(t.prompt_tokens, 0.5)),
    ("p95", lambda t: _quantile(t.prompt_tokens, 0.95)),
    ("p99", lambda t: _quantile(t.prompt_tokens, 0.99)),
    ("output mean", lambda t: _mean(t.output_tokens)),
    ("p50", lambda t: _quantile(t.output_tokens, 0.5)),
    ("p95", lambda t: _quantile(t.output_tokens, 0.95)),
    ("p99", lambda t: _quantile(t.output_tokens, 0.99)),
)


def traffic_lines(training: Trace, scenarios: Sequence[Scenario]) -> tuple[str, ...]:
    """The whole training stretch, its classes, how it changes, then window by window."""
    cluster = scenarios[0].cluster
    capacity = any(scenario.capacity is not None for scenario in scenarios)
    heads = ("window", *(name for name, _ in _COLUMNS), *(("GPUs",) if capacity else ()))
    rows = [_row("all", training, ("",) if capacity else ())]
    for scenario in scenarios:
        gpus = (_gpus(scenario),) if capacity else ()
        rows.append(_row(scenario.name, _measured(scenario), gpus))
    length_s = scenarios[0].stop_s - scenarios[0].start_s
    return (
        f"Each window is {number(length_s)} s long after a warm-up of "
        f"{number(scenarios[0].warmup_s)} s; tokens of prompt and output:",
        *table(heads, rows),
        *_by_class(training, cluster),
        *_structure(training),
    )


def _row(name: str, trace: Trace, more: tuple[Cell, ...]) -> tuple[Cell, ...]:
    return (name, *(column(trace) for _, column in _COLUMNS), *more)


def _measured(scenario: Scenario) -> Trace:
    return scenario.trace.slice(scenario.warmup_s, scenario.trace.span_s)


def _by_class(trace: Trace, cluster: ClusterSpec) -> tuple[str, ...]:
    ids, online = classify(trace, cluster)
    present = np.unique(ids)
    if len(present) < 2:
        kind = "online" if online.all() else "offline"
        return (f"All requests are of class {present[0]} ({kind}).",) if len(present) else ()
    rows = []
    for class_id in present:
        mine = ids == class_id
        kind = "online" if online[mine].all() else "offline"
        rows.append(
            (float(class_id), kind, float(mine.mean()), _mean(trace.prompt_tokens[mine]),
             _mean(trace.output_tokens[mine]))
        )  # fmt: skip
    return table(("class_id", "kind", "share", "prompt mean", "output mean"), rows)


def _structure(trace: Trace) -> Iterable[str]:
    seen = summarise(trace)
    yield from _dynamics(seen.dynamics)
    parts = seen.structure
    if parts.reuse_share is not None:
        yield f"Blocks of prompts that occurred before: {percent(parts.reuse_share)}."
    if parts.sessions:
        yield (
            f"Sessions: {parts.sessions}, {number(parts.turns.mean)} turns on average; "
            f"{percent(parts.closed_loop_share)} of requests wait for another's end, then think "
            f"{number(parts.think_s.mean)} s."
        )
    if parts.tenants > 1:
        share = percent(parts.top_tenant_share)
        yield f"Tenants: {parts.tenants}; the greatest sends {share} of the requests."


def _dynamics(moves: Dynamics) -> Iterable[str]:
    if moves.peak_to_mean is not None and moves.acf_1 is not None:
        yield (
            f"Requests a minute: mean {number(moves.per_minute_mean)}, peak "
            f"{number(moves.peak_to_mean)} times that; autocorrelation at 1, 5, 15 minutes "
            f"{number(moves.acf_1)}, {number(moves.acf_5)}, {number(moves.acf_15)}."
        )
    heads = ("sixth of the time", "1", "2", "3", "4", "5", "6")
    yield from table(
        heads,
        (("requests per s", *moves.rate_sixths), ("prompt mean", *moves.prompt_sixths),
         ("output mean", *moves.output_sixths)),
    )  # fmt: skip


def capacity_line(problem: Problem, scenarios: Sequence[Scenario]) -> str:
    """How many changes the training windows see, and how long the longest loss lasts."""
    pairing = problem.capacity
    if pairing is None:
        return "No GPU comes or goes; plans may change with the traffic."
    stop_s = min(scenarios[-1].stop_s, pairing.trace.span_s)
    first, rows = _events(pairing.slice(0.0, stop_s), problem.cluster, stop_s)
    losses, gains = int((~rows["up"]).sum()), int(rows["up"].sum())
    level = first + np.cumsum(np.where(rows["up"], 1, -1)) if len(rows) else np.array([first])
    return (
        f"GPUs come and go: {losses} are lost and {gains} come (back) in {number(stop_s)} s; "
        f"{first} at first, then {int(level.min())} to {int(level.max())}; the longest loss lasts "
        f"{number(_longest_loss_s(rows, stop_s))} s."
    )


def _gpus(scenario: Scenario) -> str:
    """Fewest, mean and most GPUs present in a window's measured part."""
    if scenario.capacity is None:
        return number(sum(pool.count for pool in scenario.cluster.pool))
    stop_s = scenario.trace.span_s
    first, rows = _events(scenario.capacity, scenario.cluster, stop_s)
    level = first + np.concatenate([[0], np.cumsum(np.where(rows["up"], 1, -1))])
    times = np.concatenate([[0.0], rows["at_s"], [stop_s]])
    lasting = np.clip(times[1:], scenario.warmup_s, stop_s)
    lasting = lasting - np.clip(times[:-1], scenario.warmup_s, stop_s)
    seen = level[lasting > 0.0]
    mean = float((level * lasting).sum() / max(lasting.sum(), 1e-9))
    return f"{seen.min(initial=level.max())} / {number(mean)} / {seen.max(initial=0)}"


def _events(pairing: Pairing, cluster: ClusterSpec, stop_s: float) -> tuple[int, NDArray[np.void]]:
    """GPUs present at first, then changes by time: columns at_s, gpu, up."""
    hardware = build_hardware(cluster)
    rows = capacity_rows(pairing, hardware.pools, hardware.gpus, stop_s, 0.0)
    rows = rows[rows["what"] != ANNOUNCE]
    found = np.zeros(len(rows), [("at_s", "f8"), ("gpu", "i8"), ("up", "?")])
    found["at_s"], found["gpu"] = rows["at"] / PS_PER_S, rows["gpu"]
    found["up"] = rows["what"] == UP
    return int(hardware.gpus["present"].sum()), found


def _longest_loss_s(rows: NDArray[np.void], stop_s: float) -> float:
    longest = 0.0
    for gpu in np.unique(rows["gpu"]):
        mine = rows[rows["gpu"] == gpu]
        ends = np.append(mine["at_s"][1:], stop_s)
        away = (ends - mine["at_s"])[~mine["up"]]
        longest = max(longest, float(away.max(initial=0.0)))
    return longest


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _quantile(values: NDArray[Any], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None
