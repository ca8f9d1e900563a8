"""From the request logs of one or more gateways into segments, each line once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from telemetry.errors import SegmentError
from telemetry.segments.fast_lines import parse_block
from telemetry.segments.log_tail import LogTail, Piece, Position
from telemetry.segments.writer import SegmentWriter

POLL_S = 0.25
MOST_PIECES = 16  # of one log at one poll, so that others have their turn

_log = logging.getLogger("evolver.telemetry")


class Collector:
    """Tails logs into a writer's folder; where it stands is kept with the rows.

    Killed at any moment and started again, it goes on where the durable rows end. One thread at a
    time may call it.

    Args:
        writer: of the folder; the caller closes it.
        logs: files of JSON lines as gateways write them; they need not be there yet.
    """

    def __init__(self, writer: SegmentWriter, logs: Sequence[str | Path]) -> None:
        self.writer = writer
        self._tails = {
            name: LogTail(name, Position.of(writer.positions.get(name)))
            for name in dict.fromkeys(str(Path(log).absolute()) for log in logs)
        }

    @property
    def positions(self) -> Mapping[str, Position]:
        """How far each log was read, and what became of its lines."""
        return {name: tail.position for name, tail in self._tails.items()}

    def poll(self, now_unix_s: float | None = None) -> int:
        """Take what is new, and tick the writer; how many requests there were.

        Raises:
            SegmentError: the disk takes nothing; nothing more was read, and nothing is lost.
        """
        rows = 0
        for name, tail in self._tails.items():
            for _ in range(MOST_PIECES):
                self.writer.tick(now_unix_s)
                piece = tail.read()
                if piece is None:
                    break
                rows += self._take(name, tail, piece)
        self.writer.tick(now_unix_s)
        return rows

    def run(self, stop: threading.Event, every_s: float = POLL_S) -> None:
        """Poll until told to stop; a full disk is waited for."""
        failing = False
        while not stop.wait(every_s):
            try:
                self.poll()
                failing = False
            except SegmentError as error:
                if not failing:
                    _log.error("%s", error)
                failing = True

    def close(self) -> None:
        """Give the logs back."""
        for tail in self._tails.values():
            tail.close()

    def _take(self, name: str, tail: LogTail, piece: Piece) -> int:
        parsed = parse_block(piece.data)
        before = piece.position
        position = replace(
            before,
            rows=before.rows + len(parsed.requests),
            flaws=before.flaws + len(parsed.flaws),
            other=before.other + parsed.other,
        )
        if parsed.flaws and not before.flaws:
            _log.warning("a line of a request log is none: %s", parsed.flaws[0].problem)
        self.writer.append(parsed.requests, {name: position.document()})
        tail.taken(position)
        return len(parsed.requests)
