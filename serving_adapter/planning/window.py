"""The window that a planner is shown, from counters that processes and replicas only ever add to.

A `Tally` counts what one process sees; its sums can be carried anywhere and be added to those of
others (`MergedSums`), since a window is the difference of two readings. Rates, means, percentiles
and forecasts are those of the simulator's monitoring points, formula by formula.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from sandbox.contract import MAX_CLASSES
from sandbox.request_spec import SloSpec
from serving_adapter.activation import Rows
from serving_adapter.request_log import RequestOutcome

Sums: TypeAlias = npt.NDArray[np.float64]
"""(classes, WIDTH): counters that only grow; row 0 is all classes together."""

COUNTERS = (
    "arrived", "gaps", "gap_s", "gap_square", "prompt_tokens", "finished", "output_tokens",
    "begun", "queue_s", "ttft_s", "ttft_count", "tpot_s", "tpot_count", "e2e_s", "attained",
    "rejected", "preempted", "cached_tokens",
)  # fmt: skip
BINS = 160  # of lengths, eight to the octave
FORECAST_WEIGHT = 0.3  # of the newest window in the exponential smoothing
MOST_SOURCES = 4096
_AT = {name: place for place, name in enumerate(COUNTERS)}
_PROMPT_BINS = slice(len(COUNTERS), len(COUNTERS) + BINS)
_OUTPUT_BINS = slice(len(COUNTERS) + BINS, len(COUNTERS) + 2 * BINS)
WIDTH = len(COUNTERS) + 2 * BINS


def length_bin(tokens: int) -> int:
    """Eighth-octave bin of a length."""
    return 0 if tokens < 1 else min(int(8.0 * math.log2(tokens)), BINS - 1)


class Ended(Protocol):
    """What counts of a request that has ended; a `RequestRecord` is one. NaN where not known."""

    @property
    def outcome(self) -> RequestOutcome: ...  # noqa: D102
    @property
    def output_tokens(self) -> int: ...  # noqa: D102
    @property
    def waited_s(self) -> float: ...  # noqa: D102
    @property
    def ttft_s(self) -> float: ...  # noqa: D102
    @property
    def e2e_s(self) -> float: ...  # noqa: D102


class Tally:
    """Counts requests by class (0 is all); belongs to one thread.

    Args:
        slos: what each class is promised, class 1 first.
    """

    def __init__(self, slos: Sequence[SloSpec] = (SloSpec(),)) -> None:
        self.sums: Sums = np.zeros((1 + min(len(slos), MAX_CLASSES - 1), WIDTH))
        self._slos = tuple(slos)
        self._latest_s: dict[int, float] = {}

    def arrived(self, now_s: float, prompt_tokens: int, class_id: int = 1) -> None:
        """A request came in; -1 tokens when its length is not known."""
        for row_id in (0, class_id):
            row = self.sums[row_id]
            if row_id in self._latest_s:
                gap_s = max(0.0, now_s - self._latest_s[row_id])
                row[_AT["gaps"]] += 1
                row[_AT["gap_s"]] += gap_s
                row[_AT["gap_square"]] += gap_s * gap_s
            self._latest_s[row_id] = now_s
            row[_AT["arrived"]] += 1
            if prompt_tokens > 0:
                row[_AT["prompt_tokens"]] += prompt_tokens
                row[_PROMPT_BINS.start + length_bin(prompt_tokens)] += 1

    def ended(self, record: Ended, class_id: int = 1) -> None:
        """A request has ended; only those answered in full count as finished."""
        for row_id in (0, class_id):
            if record.outcome is RequestOutcome.REJECTED:
                self.sums[row_id, _AT["rejected"]] += 1
            elif record.outcome is RequestOutcome.OK:
                self._finished(self.sums[row_id], record, self._slos[class_id - 1])

    def _finished(self, row: npt.NDArray[np.float64], record: Ended, slo: SloSpec) -> None:
        row[_AT["finished"]] += 1
        row[_AT["output_tokens"]] += record.output_tokens
        row[_OUTPUT_BINS.start + length_bin(record.output_tokens)] += 1
        row[_AT["e2e_s"]] += record.e2e_s
        if not math.isnan(record.waited_s):
            row[_AT["begun"]] += 1
            row[_AT["queue_s"]] += record.waited_s
        tpot_s = (record.e2e_s - record.ttft_s) / max(record.output_tokens - 1, 1)
        for name, value_s in (("ttft", record.ttft_s), ("tpot", tpot_s)):
            if not math.isnan(value_s):
                row[_AT[f"{name}_s"]] += value_s
                row[_AT[f"{name}_count"]] += 1
        # What is not measured cannot be missed.
        late = record.ttft_s > slo.ttft_s or tpot_s > slo.tpot_s or record.e2e_s > slo.e2e_s
        row[_AT["attained"]] += not late

    def counters(self) -> dict[str, float]:
        """The sums of all classes by name, without the bins: what a replica can report."""
        return {name: float(self.sums[0, place]) for name, place in _AT.items()}


class MergedSums:
    """Adds up the counters of sources that come, go and start again from zero."""

    def __init__(self) -> None:
        self.sums: Sums = np.zeros((1, WIDTH))
        self._latest: dict[str, Sums] = {}

    def take(self, reported: Mapping[str, Mapping[str, float]]) -> None:
        """Counters by source; what is no finite number is left out, gaps are not comparable."""
        present: dict[str, Sums] = {}
        for source, counters in list(reported.items())[:MOST_SOURCES]:
            seen = np.zeros(WIDTH)
            for name, value in counters.items():
                if name in _AT and not name.startswith("gap") and 0 <= value < 2**53:
                    seen[_AT[name]] = value
            before = self._latest.get(source, np.zeros(WIDTH))
            again = bool((seen < before).any())
            self.sums[0] += seen if again else seen - before
            present[source] = seen
        self._latest = present


class WindowRows:
    """Fills the class rows of a `contract.Window` from two readings of the sums.

    Attributes:
        smooth: (classes, 2) smoothed mean tokens of prompt and answer; NaN before any.
    """

    def __init__(self) -> None:
        self._before: Sums = np.zeros((0, WIDTH))
        self._forecast = np.full((0, 2), math.nan)
        self.smooth = np.full((1, 2), math.nan)

    def fill(self, window: Rows, sums: Sums, span_s: float) -> None:
        """Close the window since the previous call; `queued_requests` is left to the caller."""
        if len(self._before) != len(sums):
            self._before = np.zeros_like(sums)
            self._forecast, self.smooth = np.full((2, len(sums), 2), math.nan)
        row = window[0]
        row["n_classes"] = len(sums)
        for class_id, seen in enumerate(sums - self._before):
            self._fill_class(row["classes"][class_id], class_id, seen, span_s)
            # What nobody ever counted is not known to be none.
            if not sums[class_id, _AT["cached_tokens"]]:
                row["classes"][class_id]["reuse"] = math.nan
            if not sums[class_id, _AT["preempted"]]:
                row["classes"][class_id]["preemptions"] = -1
        self._before = sums.copy()

    def _fill_class(
        self, v: np.void, class_id: int, seen: npt.NDArray[np.float64], span_s: float
    ) -> None:
        of = dict(zip(COUNTERS, seen.tolist(), strict=False))
        rate = of["arrived"] / span_s if span_s > 0 else math.nan
        if span_s > 0:
            self._predict(class_id, rate)
        v["class_id"], v["rate_rps"] = class_id, rate
        v["forecast_rps"], v["forecast_error"] = self._forecast[class_id]
        for name, counter in (("requests", "arrived"), ("rejected", "rejected"),
                              ("preemptions", "preempted")):  # fmt: skip
            v[name] = int(of[counter])
        prompts, outputs = seen[_PROMPT_BINS], seen[_OUTPUT_BINS]
        means = (
            _mean(of["prompt_tokens"], of["arrived"] if of["prompt_tokens"] > 0 else 0),
            _mean(of["output_tokens"], of["finished"]),
        )
        for place, mean in enumerate(means):
            self.smooth[class_id, place] = _smoothed(self.smooth[class_id, place], mean)
        v["prompt_mean_tokens"], v["output_mean_tokens"] = means
        v["prompt_p95_tokens"], v["output_p95_tokens"] = _p95(prompts), _p95(outputs)
        v["burstiness"] = _burstiness(of)
        v["reuse"] = _mean(of["cached_tokens"], of["prompt_tokens"])
        v["queue_mean_s"] = _mean(of["queue_s"], of["begun"])
        v["ttft_mean_s"] = _mean(of["ttft_s"], of["ttft_count"])
        v["tpot_mean_s"] = _mean(of["tpot_s"], of["tpot_count"])
        v["e2e_mean_s"] = _mean(of["e2e_s"], of["finished"])
        v["slo_attainment"] = _mean(of["attained"], of["finished"])

    def _predict(self, class_id: int, rate: float) -> None:
        forecast, error = self._forecast[class_id]
        if math.isnan(forecast):
            self._forecast[class_id, 0] = rate
            return
        miss = abs(rate - forecast) / max(forecast, 1e-9)
        error = miss if math.isnan(error) else error + FORECAST_WEIGHT * (miss - error)
        self._forecast[class_id] = forecast + FORECAST_WEIGHT * (rate - forecast), error


def _mean(total: float, count: float) -> float:
    return total / count if count > 0 else math.nan


def _smoothed(old: float, new: float) -> float:
    if math.isnan(new) or math.isnan(old):
        return old if math.isnan(new) else new
    return old + FORECAST_WEIGHT * (new - old)


def _p95(bins: npt.NDArray[np.float64]) -> float:
    """Upper edge of the bin that holds the 95th percentile; NaN without data."""
    total = bins.sum()
    if total <= 0:
        return math.nan
    place = int(np.argmax(np.cumsum(bins) >= 0.95 * total))
    return float(2.0 ** ((place + 1) / 8.0))


def _burstiness(of: Mapping[str, float]) -> float:
    gap_s = _mean(of["gap_s"], of["gaps"])
    if not (of["gaps"] > 1 and gap_s > 0):
        return math.nan
    return math.sqrt(max(of["gap_square"] / of["gaps"] - gap_s * gap_s, 0.0)) / gap_s
