"""The result of a replay as JSON and as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from evolver.cli.replaying import Laid, Replayed
from sandbox.replay import ReplayResult
from sandbox.report import Cell, Report, Tone

_LATENCIES = (("ttft_s", "mean"), ("ttft_s", "p99"), ("tpot_s", "mean"),
              ("e2e_s", "mean"), ("e2e_s", "p99"))  # fmt: skip


def document_of(replayed: Replayed, engine: str) -> dict[str, object]:
    """The JSON document, without its schema."""
    ground = replayed.ground
    laid = [laid for laid, _ in replayed.runs]
    return {
        "trace": _trace(replayed),
        "cluster": {**ground.cluster.model_dump(mode="json"), "text": ground.cluster.describe()},
        "load": {_key(one): _load(one) for one in laid},
        "capacity": _capacity(replayed),
        "mode": ground.mode,
        "seed": ground.seed,
        "engine": engine,
        "results": [
            {"load": one.load, **result.to_json()}
            for one, results in replayed.runs
            for result in results
        ],
    }


def _key(laid: Laid) -> str:
    return "recorded" if laid.load is None else f"{laid.load:g}"


def _trace(replayed: Replayed) -> dict[str, object]:
    trace = replayed.ground.trace
    return {
        "name": trace.meta.name, "format": trace.meta.format, "requests": len(trace),
        "span_s": trace.span_s, "rate_rps": trace.rate_rps, "digest": trace.digest(),
        "clock": trace.meta.clock, "notes": list(trace.meta.notes),
    }  # fmt: skip


def _load(laid: Laid) -> dict[str, object]:
    trace = laid.trace
    first = trace.meta.generated_from
    scaled: Mapping[str, object] = (
        asdict(laid.report)
        if laid.report is not None
        else {"load": None, "capacity_rps": None, "offered_rps": trace.rate_rps, "factor": 1.0}
    )
    return {
        **scaled, "sentence": laid.sentence, "requests": len(trace), "span_s": trace.span_s,
        "generated": 0 if first is None else len(trace) - first,
        "notes": list(dict.fromkeys((*trace.meta.notes, *laid.notes))),
    }  # fmt: skip


def _capacity(replayed: Replayed) -> dict[str, object] | None:
    pairing, cluster = replayed.ground.capacity, replayed.ground.cluster
    if pairing is None:
        return None
    return {
        "name": pairing.trace.meta.name, "nodes": pairing.trace.nodes,
        "gpu": None if pairing.pool is None else cluster.pool[pairing.pool].gpu,
        "gpus_per_node": pairing.gpus_per_node,
        "span_s": pairing.trace.span_s, "digest": pairing.trace.digest(),
        "pairing": pairing.describe(cluster), "notes": list(pairing.trace.meta.notes),
    }  # fmt: skip


def report_of(replayed: Replayed) -> Report:
    """One table per load, then which policy was best."""
    ground = replayed.ground
    report = Report(f"Replay of {ground.trace.meta.name} on {ground.cluster.name}")
    for laid, results in replayed.runs:
        title = "as recorded" if laid.load is None else f"load {laid.load:g}"
        report.heading(title, _about(laid))
        report.grid(_columns(results), _rows(results))
    best = _best_rows(replayed)
    if best:
        columns = ("load", "least mean end-to-end time", ">", "")
        report.heading("Best").grid(columns, best)
    return report


def _about(laid: Laid) -> str:
    trace = laid.trace
    return f"{len(trace):,} requests in {trace.span_s:,.0f} s, {trace.rate_rps:.3g} a second"


def _columns(results: Sequence[ReplayResult]) -> tuple[str, ...]:
    extra = tuple(f">{name}" for name, _ in _shown_counts(results))
    return ("policy", ">TTFT s", ">p99", ">TPOT ms", ">E2E s", ">p99", ">SLO", ">good/s", *extra)


def _shown_counts(results: Sequence[ReplayResult]) -> list[tuple[str, str]]:
    """Counts that are not all zero are worth a column."""
    counts = (("reject", "rejected"), ("unfin.", "unfinished"),
              ("preempt", "preemptions"), ("replans", "reconfigurations"))  # fmt: skip
    return [(word, key) for word, key in counts if any(r.metrics.numbers[key] for r in results)]


def _rows(results: Sequence[ReplayResult]) -> list[list[Cell]]:
    """A row for each policy; the best of each latency, and of what is kept, stands out."""
    table = [_numbers(result) for result in results]
    columns = zip(*table, strict=True)
    best = [_best(column, lower=k < len(_LATENCIES)) for k, column in enumerate(columns)]
    rows = []
    for result, values in zip(results, table, strict=True):
        cells = [Cell(result.policy + (" !" if result.faults else ""))]
        for k, value in enumerate(values):
            marked = len(results) > 1 and value == best[k]
            cells.append(Cell(_shown(k, value), Tone.GOOD if marked else Tone.PLAIN))
        counts = _shown_counts(results)
        cells += [Cell(f"{result.metrics.numbers[key]:,.0f}") for _, key in counts]
        rows.append(cells)
    return rows


def _numbers(result: ReplayResult) -> list[float]:
    latencies, numbers = result.metrics.latencies, result.metrics.numbers
    times = [latencies[name][kind] for name, kind in _LATENCIES]
    return [*times, numbers["slo_attainment"], numbers["goodput_rps"]]


def _best(column: Sequence[float], lower: bool) -> float | None:
    known = [value for value in column if math.isfinite(value)]
    return (min if lower else max)(known) if known else None


def _shown(place: int, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    if place == len(_LATENCIES):
        return f"{value:.1%}"
    if place > len(_LATENCIES):
        return f"{value:.3g}"
    return f"{1000 * value:.1f}" if _LATENCIES[place][0] == "tpot_s" else f"{value:,.3g}"


def seconds(value: float) -> str:
    """A latency with three significant digits and its unit."""
    if value < 0.0995:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s" if value < 999.5 else f"{value:,.0f} s"


def _best_rows(replayed: Replayed) -> list[tuple[str, ...]]:
    """The best policy by the objective at each load, against the second."""
    rows = list[tuple[str, ...]]()
    for laid, results in replayed.runs:
        ranked = sorted(results, key=_objective)
        if len(ranked) < 2 or not math.isfinite(_objective(ranked[1])):
            continue
        first, second = ranked[0], ranked[1]
        gain = 1.0 - _objective(first) / _objective(second)
        margin = (
            f"{gain:.1%} less than {second.policy}"
            if gain >= 0.0005
            else (f"as much as {second.policy}")
        )
        rows.append((_key(laid), first.policy, seconds(_objective(first)), margin))
    return rows


def _objective(result: ReplayResult) -> float:
    value = result.metrics.objective_s
    return value if math.isfinite(value) else math.inf
