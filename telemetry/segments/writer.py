"""Writes requests to a folder: durable every second, closed into Parquet, bounded on disk."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from telemetry.errors import SegmentError
from telemetry.requests import Requests
from telemetry.segments.arrow import arrow
from telemetry.segments.closing import positions_of, recovered, seal
from telemetry.segments.limits import FRAME_ROWS, MOST_WAITING_ROWS, SegmentLimits
from telemetry.segments.manifest import Manifest, save
from telemetry.segments.open_file import OpenSegment, read_frames

LOCK = "writer.lock"
ROW_BYTES = 256  # of a row in the open file without its blocks, rounded up

_log = logging.getLogger("evolver.telemetry")


class SegmentWriter:
    """The one writer of a folder; `append` rows, `tick` at least once a second, `close`.

    A process that is killed loses what it appended since the last second's end; what closed
    segments hold, and what it flushed, stays. One thread at a time may call it.

    Args:
        folder: made where it is not.
        limits: of segments and of the folder.

    Attributes:
        folder, limits: as given.
        torn_bytes: that a writer before left behind in mid-write.

    Raises:
        SegmentError: the folder cannot be written, another writer has it, or pyarrow is missing.
    """

    def __init__(self, folder: str | Path, limits: SegmentLimits | None = None) -> None:
        arrow()
        self.folder, self.limits = Path(folder), limits or SegmentLimits()
        self._waiting: list[tuple[Requests, Mapping[str, Any]]] = []
        self._waiting_rows = 0
        self._open: OpenSegment | None = None
        self._opened_s = self._flushed_s = time.time()
        self._positions: dict[str, Any] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.folder)
        except OSError as error:
            raise _refused(self.folder, error) from error
        try:
            self._manifest, self.torn_bytes = recovered(self.folder, self._opened_s)
            self._next = self._manifest.last + 1
            self._keep(self._manifest)
            self._prune(self._opened_s)
        except BaseException as error:
            os.close(self._lock)  # or no writer of this process ever gets it again
            if isinstance(error, OSError):
                raise _refused(self.folder, error) from error
            raise
        self._positions = dict(self._manifest.positions)
        if self.torn_bytes:
            _log.warning("a writer was killed in mid-write: %d bytes were torn", self.torn_bytes)

    @property
    def positions(self) -> Mapping[str, Any]:
        """How far each source was read, as `append` was told; after a kill, as is durable."""
        return self._positions

    @property
    def bytes(self) -> int:
        """Of all segments on the disk, the open one included."""
        return self._manifest.bytes + (self._open.size if self._open else 0)

    def append(self, rows: Requests, positions: Mapping[str, Any] | None = None) -> None:
        """Take rows, to be durable after the next second's `tick`.

        Args:
            rows: any number, in any order.
            positions: how far sources are read with these rows, plain JSON by name of the source;
                they become durable together with the rows, or neither does.

        Raises:
            SegmentError: the disk has taken nothing for too long; these rows were not taken.
        """
        if self._waiting_rows + len(rows) > MOST_WAITING_ROWS:
            raise SegmentError(
                f"{self._waiting_rows:,} requests wait for the disk of "
                f"{self.folder}: make room on it."
            )
        self._waiting.append((rows, dict(positions or {})))
        self._waiting_rows += len(rows)
        self._positions |= positions or {}

    def tick(self, now_unix_s: float | None = None) -> None:
        """Make durable what has waited for a second, close what is large or old, drop the oldest.

        Raises:
            SegmentError: the disk does not take it; it is kept, and tried again at the next tick.
        """
        now_s = time.time() if now_unix_s is None else now_unix_s
        try:
            if not 0 <= now_s - self._flushed_s < self.limits.flush_s:  # clocks are set back, too
                self._flush(now_s)
            if self._open is not None and self._is_full(now_s):
                self._close_segment(now_s)
                self._prune(now_s)
        except OSError as error:
            raise _refused(self.folder, error) from error

    def close(self, now_unix_s: float | None = None) -> None:
        """Make everything durable, close the open segment and leave the folder to others.

        Raises:
            SegmentError: the disk does not take it.
        """
        now_s = time.time() if now_unix_s is None else now_unix_s
        try:
            self._flush(now_s)
            if self._open is not None:
                self._close_segment(now_s)
            self._prune(now_s)
        except OSError as error:
            raise _refused(self.folder, error) from error
        finally:
            os.close(self._lock)

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def _flush(self, now_s: float) -> None:
        while self._waiting:
            count, rows, positions = self._next_frame()
            if self._open is None:
                path = self.folder / f"requests-{self._next:08d}.open"
                self._open, self._opened_s = OpenSegment(path), now_s
                self._next += 1
            self._open.add(rows, {"positions": positions})
            del self._waiting[:count]
            self._waiting_rows -= len(rows)
            if self._waiting and self._is_full(now_s):
                self._close_segment(now_s)
                self._prune(now_s)
        self._flushed_s = now_s

    def _next_frame(self) -> tuple[int, Requests, dict[str, Any]]:
        """As many waiting batches as make one frame; a batch with a position is never parted."""
        first, positions = self._waiting[0]
        most = self._most_rows(first)
        if not positions and len(first) > most:
            rows = np.arange(len(first))
            self._waiting[:1] = [(first.take(rows[:most]), {}), (first.take(rows[most:]), {})]
        count, taken, told = 0, 0, dict[str, Any]()
        for requests, positions in self._waiting:
            if count and taken + len(requests) > min(most, self._most_rows(requests)):
                break
            count, taken, told = count + 1, taken + len(requests), told | dict(positions)
        return count, Requests.join([rows for rows, _ in self._waiting[:count]]), told

    def _most_rows(self, requests: Requests) -> int:
        widest = int(np.diff(requests.block_offsets).max(initial=0))
        return max(1, min(FRAME_ROWS, self.limits.segment_bytes // 4 // (ROW_BYTES + 8 * widest)))

    def _is_full(self, now_s: float) -> bool:
        opened, limits = self._open, self.limits
        if opened is None:
            return False
        large = opened.size >= limits.segment_bytes or opened.rows >= limits.segment_rows
        return large or not 0 <= now_s - self._opened_s < limits.segment_s

    def _close_segment(self, now_s: float) -> None:
        """The open file becomes a segment; killed anywhere in here, the next writer ends it."""
        opened = self._open
        if opened is None:
            return
        number = self._next - 1
        frames = read_frames(opened.path)
        positions = positions_of(frames.notes, self._manifest.positions)
        segments = self._manifest.segments
        if len(frames.requests):
            segments += (seal(self.folder, number, frames.requests, positions, now_s),)
        self._keep(Manifest(segments, positions))
        opened.close()
        self._open = None
        opened.path.unlink()

    def _keep(self, manifest: Manifest) -> None:
        save(self.folder, manifest)
        self._manifest = manifest

    def _prune(self, now_s: float) -> None:
        """Drop the oldest segments, so that the open one has room to grow and to be closed."""
        limits, kept = self.limits, list(self._manifest.segments)
        room = limits.most_bytes - 2 * limits.segment_bytes
        left = self._manifest.bytes
        while kept and (left > room or now_s - kept[0].closed_unix_s > limits.most_age_s):
            left -= kept.pop(0).bytes
        gone = self._manifest.segments[: len(self._manifest.segments) - len(kept)]
        if not gone:
            return
        self._keep(replace(self._manifest, segments=tuple(kept)))
        for segment in gone:  # killed here, the next writer finds them and drops them again
            (self.folder / segment.name).unlink(missing_ok=True)
        _log.info("dropped the %d oldest segments of requests", len(gone))


def _locked(folder: Path) -> int:
    """A descriptor that keeps other writers out for as long as this process lives."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SegmentError(
            f"Another process writes to {folder}: give each collector a folder of its own."
        ) from None
    return descriptor


def _refused(folder: Path, error: OSError) -> SegmentError:
    why = error.strerror or type(error).__name__
    return SegmentError(
        f"Segments cannot be written to {folder} ({why}): make room or name another folder."
    )
