"""The requests of the last hour, from the end of a gateway's request log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evolver.daemon.protocols import Stretch
from telemetry.errors import ReadError
from telemetry.readers.gateway_tail import read_last
from telemetry.trace import Trace


class GatewayWindows:
    """Reads the log from behind, each time that it has changed.

    Args:
        path: of the log; it need not be there yet.
        clock_speed: engine seconds that pass in one second.
    """

    def __init__(self, path: Path, clock_speed: float = 1.0) -> None:
        self._path, self._speed = path, clock_speed
        self._stamp: tuple[int, int] | None = None
        self._span_s = 0.0
        self._last: Stretch | None = None

    def collect(self, now_unix_s: float) -> None:
        """The gateway keeps the log; there is nothing to take in."""

    def last(self, span_s: float, now_unix_s: float) -> Stretch | None:
        """What arrived in the last `span_s` seconds up to the log's last line.

        Raises:
            TelemetryError: the log cannot be read.
        """
        del now_unix_s
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        stamp = (found.st_mtime_ns, found.st_size)
        if stamp != self._stamp or span_s != self._span_s:
            self._last = self._read(span_s)
            self._stamp, self._span_s = stamp, span_s
        return self._last

    def _read(self, span_s: float) -> Stretch | None:
        try:
            stretch = read_last(self._path, span_s)
        except ReadError:  # no answered request yet
            return None
        began = stretch.began_at.timestamp()
        until = began + stretch.trace.span_s
        return Stretch(faster(stretch.trace, self._speed), began, until)


def faster(trace: Trace, speed: float) -> Trace:
    """A trace by a clock that goes `speed` times as fast as the one it was seen by."""
    if speed == 1.0:
        return trace
    told = f"Times are {speed:g} times those of the log, as the clock of its engines was so fast."
    return replace(
        trace, arrival_s=trace.arrival_s * speed, think_s=trace.think_s * speed,
        span_s=trace.span_s * speed,
    ).noting(told)  # fmt: skip
