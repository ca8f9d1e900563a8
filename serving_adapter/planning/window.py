"""The window that a planner is shown, as a live host makes it with the simulator's own summariser.

A `Tally` counts what one process sees; its sums can be carried anywhere and be added to those of
others (`MergedSums`), since a window is the difference of two readings (`WindowRows`). What is
counted and how stands in `sandbox.summary`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sandbox import contract, summary, summary_forecast, summary_window
from sandbox.records import new_rows
from sandbox.request_spec import SloSpec
from sandbox.summary import BINS, COUNTERS, OUTPUT_BINS, PROMPT_BINS, WIDTH
from serving_adapter.activation import Rows
from serving_adapter.request_log import RequestOutcome

Sums: TypeAlias = npt.NDArray[np.int64]
"""(classes, WIDTH): counters that only grow; row 0 is all classes together."""

MOST_SOURCES = 4096
_AT = {name: place for place, name in enumerate(COUNTERS)}
_AT |= {f"prompt_bin_{k}": PROMPT_BINS + k for k in range(BINS)}
_AT |= {f"output_bin_{k}": OUTPUT_BINS + k for k in range(BINS)}
_OF_ONE_PROCESS = ("gap_count", "gap_us", "gap_square_high", "gap_square_low")


class Tally:
    """Counts requests by class (0 is all); belongs to one thread.

    Args:
        slos: what each class is promised, class 1 first.
    """

    def __init__(self, slos: Sequence[SloSpec] = (SloSpec(),)) -> None:
        classes = 1 + min(len(slos), contract.MAX_CLASSES - 1)
        self._sums = [[0] * WIDTH for _ in range(classes)]
        self._latest_s = [math.nan] * classes
        self._slos = tuple(slos)

    @property
    def sums(self) -> Sums:
        """What was counted so far; a copy."""
        return np.array(self._sums, np.int64)

    def arrived(self, now_s: float, prompt_tokens: int, class_id: int = 1) -> None:
        """A request came in; -1 tokens when its length is not known."""
        summary.count_arrival(self._sums, self._latest_s, class_id, now_s, prompt_tokens)

    def ended(
        self,
        outcome: RequestOutcome,
        *,
        class_id: int = 1,
        prompt_tokens: int = -1,
        cached_tokens: int = -1,
        output_tokens: int = -1,
        queue_s: float = math.nan,
        ttft_s: float = math.nan,
        e2e_s: float = math.nan,
    ) -> None:
        """A request has ended; only those answered in full count as finished.

        Args:
            outcome: how.
            class_id: as at its arrival.
            prompt_tokens, output_tokens: -1 where not known.
            cached_tokens: of the prompt found in a prefix cache when it began; likewise.
            queue_s: until it first entered a batch, which only engines know; NaN elsewhere.
            ttft_s, e2e_s: from arrival; NaN when there was none.
        """
        if outcome is RequestOutcome.REJECTED:
            summary.count_rejected(self._sums, class_id)
        elif outcome is RequestOutcome.OK:
            slo = self._slos[class_id - 1]
            summary.count_finished(
                self._sums,
                class_id,
                prompt_tokens,
                cached_tokens,
                output_tokens,
                queue_s,
                ttft_s,
                e2e_s,
                slo.ttft_s,
                slo.tpot_s,
                slo.e2e_s,
            )

    def preempted(self, times: int, class_id: int = 1) -> None:
        """Engines have preempted requests so often since they were looked at last."""
        summary.count_preempted(self._sums, class_id, times)

    def counters(self) -> dict[str, int]:
        """The sums of all classes by name, without bins that are empty: what a replica reports."""
        row = self._sums[0]
        return {name: row[at] for name, at in _AT.items() if at < PROMPT_BINS or row[at]}


class MergedSums:
    """Adds up the counters of sources that come, go and start again from zero."""

    def __init__(self) -> None:
        self.sums: Sums = np.zeros((1, WIDTH), np.int64)
        self._latest: dict[str, Sums] = {}

    def take(self, reported: Mapping[str, Mapping[str, float]]) -> None:
        """Counters by source; what is no finite number is left out, gaps are not comparable."""
        present: dict[str, Sums] = {}
        for source, counters in list(reported.items())[:MOST_SOURCES]:
            seen = np.zeros(WIDTH, np.int64)
            for name, value in counters.items():
                if name in _AT and name not in _OF_ONE_PROCESS and 0 <= value < 2**53:
                    seen[_AT[name]] = int(value)
            before = self._latest.get(source, np.zeros(WIDTH, np.int64))
            again = bool((seen < before).any())
            self.sums[0] += seen if again else seen - before
            present[source] = seen
        self._latest = present


class WindowRows:
    """A `contract.Window` that is closed at every monitoring point.

    Attributes:
        window: the row; what no counter tells is for its owner to fill in.
        smooth: mean tokens of prompt and answer by class, smoothed; NaN before any.
    """

    def __init__(self) -> None:
        self.window: Rows = new_rows(contract.Window, 1)
        self._closed: list[list[int]] = []
        self._outlook: list[list[float]] = []

    @property
    def smooth(self) -> list[tuple[float, float]]:
        """By class; nothing is known before the first window."""
        return [
            (row[summary_forecast.PROMPT_TOKENS], row[summary_forecast.OUTPUT_TOKENS])
            for row in self._outlook
        ]

    def close(
        self,
        sums: Sums,
        now_s: float,
        queued: Sequence[int] = (),
        kv_used: Iterable[float] = (),
    ) -> None:
        """End the window that began at the previous call; the first call only begins one.

        Args:
            sums: so far; their number of rows never changes.
            now_s: since the first call.
            queued: requests that wait, by class, class 0 first; -1 and left out where not known.
            kv_used: each engine's share of KV in use; NaN where not known.
        """
        w, now = self.window[0], sums.tolist()
        if not self._closed:
            self._closed = now
            self._outlook = [summary_forecast.new_row() for _ in now]
            w["now_s"] = now_s
        w["span_s"], w["now_s"], w["n_classes"] = now_s - w["now_s"], now_s, len(now)
        w["classes"][: len(now)]["queued_requests"] = -1
        rows = zip(w["classes"], now, self._closed, self._outlook, strict=False)
        for class_id, (v, counted, closed, outlook) in enumerate(rows):
            v["class_id"] = class_id
            summary_window.fill_class(v, counted, closed, outlook, now_s, float(w["span_s"]))
        for v, count in zip(w["classes"], queued, strict=False):
            v["queued_requests"] = count
        self._closed = now
        summary_window.clear_pressure(w)
        engines = sum(summary_window.see_pressure(w, used) for used in kv_used)
        summary_window.close_pressure(w, engines)
