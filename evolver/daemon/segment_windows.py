"""The requests of the last hours: logs of gateways, tailed into segments that survive a kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from evolver.daemon.protocols import Stretch
from telemetry.errors import ReadError
from telemetry.request_times import observed
from telemetry.segments import Collector, SegmentLimits, SegmentWriter, read

MOST_POLLS = 64  # of one turn
SAME_SHARE = 0.01  # of a span, after which what was read is read again


class SegmentWindows:
    """Takes in what is new at each turn; only who leads does, as a folder has one writer.

    Args:
        folder: of the segments.
        logs: of gateways, JSON lines; they need not be there yet.
        clock_speed: engine seconds that pass in one second.
    """

    def __init__(
        self,
        folder: Path,
        logs: Sequence[Path],
        clock_speed: float = 1.0,
        limits: SegmentLimits | None = None,
    ) -> None:
        self._folder, self._logs = folder, tuple(logs)
        # What a turn takes in, the same turn reads.
        self._limits = replace(limits or SegmentLimits(), flush_s=0.0)
        self._speed = clock_speed
        self._collector: Collector | None = None
        self._read: tuple[float, float, Stretch | None] | None = None

    def collect(self, now_unix_s: float) -> None:
        """Take in what was logged since.

        Raises:
            SegmentError: the disk takes nothing, or another process writes there.
        """
        if self._collector is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._collector = Collector(SegmentWriter(self._folder, self._limits), self._logs)
        for _ in range(MOST_POLLS):  # a log that is long already
            if not self._collector.poll(now_unix_s):
                break

    def last(self, span_s: float, now_unix_s: float) -> Stretch | None:
        """What arrived in the last `span_s` seconds.

        Raises:
            TelemetryError: it cannot be read.
        """
        if self._read is not None:
            at_unix_s, span_before_s, stretch = self._read
            age_s = now_unix_s - at_unix_s
            if span_before_s == span_s and 0.0 <= age_s < SAME_SHARE * span_s:
                return stretch
        found = self._fresh(span_s, now_unix_s)
        self._read = (now_unix_s, span_s, found)
        return found

    def close(self) -> None:
        """Let another process write there."""
        collector, self._collector = self._collector, None
        if collector is not None:
            collector.close()
            collector.writer.close()

    def _fresh(self, span_s: float, now_unix_s: float) -> Stretch | None:
        if not self._folder.is_dir():
            return None
        requests = read(self._folder, now_unix_s - span_s, now_unix_s)
        try:
            seen = observed(requests)
        except ReadError:  # no answered request yet
            return None
        known = seen.e2e_s[~np.isnan(seen.e2e_s)]
        return Stretch(
            seen.faster(self._speed).trace,
            seen.began_unix_s,
            seen.began_unix_s + seen.trace.span_s,
            float(known.mean()) if len(known) else 0.0,
            requests.notes,
            requests,
        )
