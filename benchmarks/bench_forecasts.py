"""How well lengths are predicted, series forecast and drift noticed on recorded traces.

    python benchmarks/bench_forecasts.py --traces FOLDER

Prints three tables in Markdown, those of docs/telemetry-numbers.md. Everything is prequential: a
prediction is made of what had ended, a forecast of the points before, and judged when it is due.
The detectors are tried on days of points drawn in blocks from stretches of an hour of each trace
(ten minutes of the short ones), and on planted changes of these.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.drift_trials import CHANGES, Trial, period_of, points_of, trials_of, tried
from telemetry.drift import DriftSettings, Test, adaptive_window
from telemetry.errors import TelemetryError
from telemetry.forecasts import Forecaster
from telemetry.foretold import Accuracy, Foretold, accuracy, foretell
from telemetry.output_lengths import OutputLengths
from telemetry.readers import read_trace
from telemetry.trace import Trace

MOST_ROWS = 60_000  # of a trace that lengths are predicted of
SERIES = ("rate_rps", "prompt_tokens", "output_tokens")
HORIZONS = (1, 6, 60)
Detectors = dict[str, Callable[[DriftSettings], Test]]


def main(argv: Sequence[str]) -> None:
    """Read every trace of a folder once, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, required=True, help="folder of request traces")
    parser.add_argument("--only", choices=("lengths", "forecasts", "drift"), help="one table")
    parser.add_argument("--slow", action="store_true", help="KSWIN, too: a minute a test")
    given = parser.parse_args(argv[1:])
    folder, only = given.traces, given.only
    began_s = time.process_time()
    traces = list(_read(folder))
    if only in (None, "lengths"):
        print(*_lengths(traces), *_speed(traces), sep="\n", flush=True)
    if only in (None, "forecasts"):
        print(*_forecasts(traces), sep="\n", flush=True)
    if only in (None, "drift"):
        for line in _drift(traces, given.slow):
            print(line, flush=True)
    print(f"\n{time.process_time() - began_s:.0f} s of processor time.")


def _read(folder: Path) -> Iterator[tuple[str, Trace]]:
    for path in sorted(folder.iterdir()):
        try:
            trace = read_trace(path)
        except TelemetryError as unreadable:
            print(f"{path.name}: {unreadable}", file=sys.stderr)
            continue
        if trace.output_tokens.min() < trace.output_tokens.max():  # else a series without answers
            yield path.name.partition(".")[0], trace


def _lengths(traces: Sequence[tuple[str, Trace]]) -> Iterator[str]:
    yield "\n### Output lengths\n"
    yield (
        "| trace | requests | RMSE, all | RMSE, tenant | RMSE | MAE, all | MAE, tenant | MAE | log "
        "sigma | bias | pinball | in p10..p90 | rank |"
    )
    yield "|---|" + "--:|" * 12
    for name, trace in traces:
        part = _first(trace)
        full = accuracy(foretell(part, OutputLengths()), part.output_tokens)
        base = _baseline(part, np.zeros(len(part), np.int64))
        tenant = _baseline(part, part.tenant)
        if full is None or base is None or tenant is None:
            continue
        cells = [base.rmse, tenant.rmse, full.rmse, base.mae, tenant.mae, full.mae, full.log_sigma,
                 full.bias, full.pinball, full.coverage, full.rank]  # fmt: skip
        yield f"| {name} | {len(part):,} | " + " | ".join(f"{x:.3f}" for x in cells) + " |"


def _first(trace: Trace) -> Trace:
    if len(trace) <= MOST_ROWS:
        return trace
    return trace.slice(0.0, float(trace.arrival_s[MOST_ROWS]))


def _baseline(trace: Trace, kind: np.ndarray) -> Accuracy | None:
    """The mean of all answers of a kind so far, with an idle look ahead of nothing."""
    from telemetry.foretold import modelled_s

    n = len(trace)
    ended = np.argsort(trace.arrival_s + modelled_s(trace), kind="stable")
    end_s = (trace.arrival_s + modelled_s(trace))[ended]
    upto = np.searchsorted(end_s, trace.arrival_s, side="right")
    mean = np.full(n, np.nan)
    for one in np.unique(kind):
        mine = kind[ended] == one
        sums = np.concatenate([[0.0], np.cumsum(np.where(mine, trace.output_tokens[ended], 0))])
        counts = np.concatenate([[0], np.cumsum(mine)])
        rows = np.flatnonzero(kind == one)
        seen = counts[upto[rows]]
        mean[rows] = np.where(seen > 0, sums[upto[rows]] / np.maximum(seen, 1), np.nan)
    everyone = np.concatenate([[0.0], np.cumsum(trace.output_tokens[ended])])
    usual = everyone[upto] / np.maximum(upto, 1)
    mean = np.where(np.isnan(mean) & (upto > 0), usual, mean)
    known = np.full(n, np.nan)
    return accuracy(Foretold(mean, known, mean, mean, mean), trace.output_tokens)


def _speed(traces: Sequence[tuple[str, Trace]]) -> Iterator[str]:
    """Microseconds of a prediction and of an update, once the buckets are there."""
    trace = max((trace for _, trace in traces), key=lambda trace: len(trace.tenants))
    part = _first(trace)
    columns = (part.tenant, part.prompt_tokens, part.turn, part.output_tokens)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    lengths, spent = OutputLengths(), {"both": 0.0, "predict": 0.0, "learn": 0.0}
    for what in spent:
        start_s = time.process_time()
        for tenant, prompt, turn, output in rows:
            if what != "learn":
                lengths.predict(1, tenant, prompt, turn)
            if what != "predict":
                lengths.learn(1, tenant, prompt, turn, -1, output)
        spent[what] = 1e6 * (time.process_time() - start_s) / len(rows)
    yield (
        f"\nA prediction {spent['predict']:.1f} us, an update {spent['learn']:.1f} us, one after "
        f"the other from nothing on {spent['both']:.1f} us; {len(lengths)} buckets."
    )


def _forecasts(traces: Sequence[tuple[str, Trace]]) -> Iterator[str]:
    yield "\n### Forecasts\n"
    yield (
        "| trace | point s | series | ahead | MAPE, naive | MAPE, seasonal | MAPE, smoothed | MAPE "
        "| log error over naive's | in the interval |"
    )
    yield "|---|--:|---|" + "--:|" * 7
    ratios: dict[int, list[float]] = {}
    for name, trace in traces:
        period_s = period_of(trace)
        points = points_of(trace, period_s)
        season = round(86_400.0 / period_s)
        for series in SERIES:
            values = [point.get(series, math.nan) for point in points]
            for horizon in HORIZONS:
                if len(values) < 4 * horizon or len(values) < 20:
                    continue
                cells, ratio = _judged(values, horizon, season if len(values) > season else 0)
                ratios.setdefault(horizon, []).append(ratio)
                head = f"| {name} | {period_s:.0f} | {series} | {horizon} | "
                yield head + " | ".join(cells) + " |"
    for horizon, found in ratios.items():
        mean = math.exp(float(np.mean(np.log(found))))
        yield f"\n{horizon} ahead: the log error is {mean:.3f} times naive's (geometric mean)."


def _judged(values: Sequence[float], horizon: int, season: int) -> tuple[list[str], float]:
    """Cells of one row, and the mean absolute log error over that of naive."""
    forecaster = Forecaster((horizon,), season)
    waiting: list[tuple[dict[str, float], float, float]] = []
    relative: dict[str, list[float]] = {}
    logs: dict[str, list[float]] = {}
    inside: list[bool] = []
    for value in (v for v in values if math.isfinite(v)):
        if len(waiting) == horizon:
            said, low, high = waiting.pop(0)
            for way, expected in said.items():
                logs.setdefault(way, []).append(abs(math.log(max(value, 1e-3) / expected)))
                if value > 0.0:
                    relative.setdefault(way, []).append(abs(expected - value) / value)
            if not math.isnan(low):
                inside.append(low <= value <= high)
        forecaster.learn(value)
        told = forecaster.ahead(horizon)
        if told is not None:
            said = {**forecaster.said(horizon), "chosen": told.value}
            waiting.append((said, told.low, told.high))
    smoothed = [f"smoothed {weight}" for weight in ("0.1", "0.3", "0.6")]
    best = min(float(np.mean(relative[way])) for way in smoothed)
    seasonal = f"{np.mean(relative['seasonal']):.3f}" if "seasonal" in relative else "-"
    ratio = float(np.mean(logs["chosen"]) / np.mean(logs["naive"]))
    cover = f"{np.mean(inside):.2f}" if inside else "-"
    naive, chosen = (f"{np.mean(relative[way]):.3f}" for way in ("naive", "chosen"))
    return [naive, seasonal, f"{best:.3f}", chosen, f"{ratio:.2f}", cover], ratio


def _drift(traces: Sequence[tuple[str, Trace]], slow: bool) -> Iterator[str]:
    by_trace = {name: list(trials_of(trace)) for name, trace in traces}
    everything = [trial for trials in by_trace.values() for trial in trials]
    yield "\n### Drift: the choice of a test\n"
    yield "| test | false alarms per 1,440 points | " + " | ".join(CHANGES) + " |"
    yield "|---|" + "--:|" * (1 + len(CHANGES))
    settings = DriftSettings()
    for name, test in _tests(slow).items():
        yield f"| {name} | " + _cells(everything, settings, test, per_points=True) + " |"
    yield "\nEach cell: share found within 60 points, median delay in points.\n"
    yield "\n### Drift: the detector, trace by trace\n"
    yield "| trace | point s | false alarms a day | " + " | ".join(CHANGES) + " |"
    yield "|---|" + "--:|" * (2 + len(CHANGES))
    for name, trials in by_trace.items():
        if trials:
            head = f"| {name} | {trials[0].period_s:.0f} | "
            yield head + _cells(trials, settings, adaptive_window, per_points=False) + " |"


def _cells(
    trials: Sequence[Trial], settings: DriftSettings, test: Callable[[DriftSettings], Test],
    *, per_points: bool,
) -> str:  # fmt: skip
    found = tried(trials, settings, test)
    mean_days = float(np.mean([1440 * trial.period_s / 86_400.0 for trial in trials]))
    alarms = found.false_per_day * (mean_days if per_points else 1.0)
    cells = [f"{alarms:.2f}"]
    for change in CHANGES:
        delays = found.delays.get(change, ())
        known = [delay for delay in delays if delay is not None]
        share = len(known) / len(delays) if delays else 0.0
        middle = f", {np.median(known):.0f}" if known else ""
        cells.append(f"{share:.0%}{middle}" if delays else "-")
    return " | ".join(cells)


def _tests(slow: bool) -> Detectors:
    from river import drift

    tests: Detectors = {
        "ADWIN, delta 5e-4 (chosen)": adaptive_window,
        "ADWIN, delta 2e-3": lambda _: drift.ADWIN(delta=2e-3, clock=1, grace_period=10),
        "ADWIN, delta 1e-4": lambda _: drift.ADWIN(delta=1e-4, clock=1, grace_period=10),
        "Page-Hinkley, 0.5 and 15": lambda _: drift.PageHinkley(
            min_instances=1, delta=0.5, threshold=15.0, alpha=1.0
        ),
        "Page-Hinkley, 1 and 15": lambda _: drift.PageHinkley(
            min_instances=1, delta=1.0, threshold=15.0, alpha=1.0
        ),
    }
    if slow:
        tests["KSWIN, alpha 1e-5"] = lambda _: drift.KSWIN(
            alpha=1e-5, window_size=60, stat_size=20, seed=1
        )
    return tests


if __name__ == "__main__":
    main(sys.argv)
