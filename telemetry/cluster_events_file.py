"""Follows a file of cluster events (JSON lines) that somebody else appends to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from telemetry.cluster_events import FARTHEST_AHEAD_S, MOST_LINE_BYTES, ClusterEvent, event_of
from telemetry.errors import RowError, TelemetryError
from telemetry.readers.source import parse_json

MOST_BYTES = 4 * 2**20  # a poll; the rest comes with the next
MOST_HISTORY_BYTES = 64 * 2**20  # of a file that is long already when it is first read


class EventFile:
    """Reads what was appended since the last poll; belongs to one thread.

    A line is taken once it has its line feed. Lines that are no events are counted and skipped, and
    those dated ahead: whatever happened to their node before that time would be late news. A
    file that is replaced or cut short is read from its start again: events that are known already
    say nothing new to a `LiveCluster`.

    Args:
        clock: wall-clock seconds.

    Attributes:
        refused: lines that were no events; complaint: why the last one was none.
        present: whether the file could be read at the last poll.
    """

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = Path(path), clock
        self._place: tuple[int, int] | None = None  # device and inode
        self._at = 0
        self._line = 0
        self.refused = 0
        self.complaint = ""
        self.present = False

    def poll(self) -> tuple[ClusterEvent, ...]:
        """The events that came since; none where there is no file."""
        try:
            with self._path.open("rb") as raw:
                told = os.fstat(raw.fileno())
                self._begin((told.st_dev, told.st_ino), told.st_size)
                raw.seek(self._at)
                text = raw.read(MOST_BYTES)
        except OSError:
            self.present = False
            return ()
        self.present = True
        whole, feed, rest = text.rpartition(b"\n")
        if not feed and len(rest) < MOST_BYTES:
            return ()
        self._at += len(whole) + len(feed) if feed else len(rest)
        return self._events(whole if feed else rest)

    def _begin(self, place: tuple[int, int], size: int) -> None:
        if self._place is None:
            self._at = max(0, size - MOST_HISTORY_BYTES)
        elif place != self._place or size < self._at:
            self._at = self._line = 0
        self._place = place

    def _events(self, text: bytes) -> tuple[ClusterEvent, ...]:
        found = []
        for line in text.split(b"\n"):
            self._line += 1
            if not line.strip():
                continue
            try:
                found.append(self._event(line))
            except TelemetryError as error:
                self.refused += 1
                self.complaint = str(error)
        return tuple(found)

    def _event(self, line: bytes) -> ClusterEvent:
        row = parse_json(
            line[: MOST_LINE_BYTES + 1].decode("utf-8", "replace"), self._path.name, self._line
        )
        event = event_of(row, self._path.name, self._line)
        if event.unix_s > self._clock() + FARTHEST_AHEAD_S:
            remedy = "set the writer's clock right"
            raise RowError(self._path.name, self._line, "it has not happened yet", remedy)
        return event
