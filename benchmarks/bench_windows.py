"""Prints what a window costs a live host, and how far off its forecasts are on traces.

    python benchmarks/bench_windows.py TRACE...

Costs are of one request and of one class row, in plain Python as a host runs them. Errors are mean
misses of the next window's rate over the mean rate: of what a policy is told, of smoothing alone,
and of taking the last window to stay.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sandbox import summary_forecast
from serving_adapter.planning.window import Tally, WindowRows
from serving_adapter.request_log import RequestOutcome
from telemetry import read_trace

PERIODS_S = (10.0, 60.0)
LEAST_WINDOWS = 100
ROUNDS = 5


def main() -> None:
    """Costs, then one line per trace and period."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="*", type=Path)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    for what, cost_us in costs().items():
        print(f"{what:<28}{cost_us:8.1f} us")
    print(f"{'trace':<36}{'period':>7}{'hours':>7}{'told':>8}{'smooth':>8}{'last':>8}{'stated':>8}")
    for path in options.traces:
        trace = read_trace(path)
        for period_s in PERIODS_S:
            windows = int(trace.span_s // period_s)
            if windows >= LEAST_WINDOWS:
                places = (trace.arrival_s // period_s).astype(np.int64)
                counts = np.bincount(places, minlength=windows)[:windows]
                errors = forecast_errors(counts.tolist(), period_s)
                hours = windows * period_s / 3600
                print(f"{path.name:<36}{period_s:>5.0f} s{hours:>7.1f}"
                      + "".join(f"{error:>8.3f}" for error in errors), flush=True)  # fmt: skip


def forecast_errors(counts: list[int], period_s: float) -> tuple[float, float, float, float]:
    """Of what is told, of smoothing and of the last window; and what is said of the first."""
    row, rates = summary_forecast.new_row(), [count / period_s for count in counts]
    forecasts, stated = [], []
    for k, count in enumerate(counts):
        told, error = summary_forecast.look_ahead(row, (k + 1) * period_s, period_s, count)
        forecasts.append((told, row[summary_forecast.SMOOTH_RPS], rates[k]))
        stated.append(error)
    misses = np.abs(np.array(forecasts[:-1]) - np.array(rates[1:])[:, None])
    told, smooth, last = (misses.mean(axis=0) / np.mean(rates)).tolist()
    return told, smooth, last, float(np.nanmedian(stated))


def costs() -> dict[str, float]:
    """Microseconds of CPU, the median of a few rounds."""
    tally, rows = Tally(), WindowRows()
    rows.close(tally.sums, 0.0)

    def arrived(k: int) -> None:
        tally.arrived(0.01 * k, k % 5000)

    def ended(k: int) -> None:
        tally.ended(RequestOutcome.OK, output_tokens=k % 900, ttft_s=0.1, e2e_s=1.0)

    def closed(k: int) -> None:
        rows.close(tally.sums, 10.0 * (k + 1))

    return {
        "a request that comes in": _cost_us(arrived, 20_000),
        "a request that ends": _cost_us(ended, 20_000),
        "a window of two class rows": _cost_us(closed, 500),
    }


def _cost_us(call: Callable[[int], None], times: int) -> float:
    found = [math.inf] * ROUNDS
    for number in range(ROUNDS):
        began_s = time.process_time()
        for k in range(number * times, (number + 1) * times):
            call(k)
        found[number] = (time.process_time() - began_s) / times * 1e6
    return statistics.median(found)


if __name__ == "__main__":
    main()
