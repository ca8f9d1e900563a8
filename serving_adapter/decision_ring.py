"""Keeps the full inputs of the latest decisions on disk, in bounded bytes, for replays.

    STATE/decisions/BOOT-SEGMENT.ring     frames of up to some thousand decisions each

A decision hands its input to a queue and goes on; a thread compresses what came and writes it, so a
process that is killed loses the last second at most. Inputs of one process share most of their
rows, and a frame has each once. What the thread has no time for is dropped and counted: serving
comes first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from policy_store.files import open_file
from serving_adapter.decision import DecisionInput
from serving_adapter.decision_frames import packed, unpacked

KEPT_BYTES = 64 << 20
SEGMENTS = 16
WAITING_BYTES = 32 << 20
FRAME_BYTES = 4 << 20
FLUSH_S = 0.25
MOST_WAIT_S = 0.75
CLOSE_S = 5.0  # a disk that hangs keeps nobody from stopping
MAGIC = b"EDR3"
MOST_UNIX_S = 1e11
_FRAME = struct.Struct("<4sIIIQQd")  # magic, compressed, raw, crc, first, last number, Unix time
_NAME = re.compile(r"([0-9a-f]{12})-(\d{6})\.ring")

_log = logging.getLogger("evolver.host")


class Kept(NamedTuple):
    """A decision input with the process that made it, and about when."""

    boot: str
    unix_s: float
    given: DecisionInput

    @property
    def id(self) -> str:
        """What the answer to the client and the request log call it."""
        return f"{self.boot}-{self.given.number}"


class DecisionRing:
    """The latest decision inputs of one process, while `running`.

    Args:
        folder: shared by the processes of a host.
        boot: names this one.
        living: the boots of processes whose files are their own business.
        max_bytes: that this process keeps, and that all together keep of processes that have gone.

    Attributes:
        dropped: inputs that were not kept.
    """

    def __init__(
        self,
        folder: Path,
        boot: str,
        living: Callable[[], set[str]],
        max_bytes: int = KEPT_BYTES,
    ) -> None:
        self.dropped = 0
        self._folder, self._boot, self._living, self._max_bytes = folder, boot, living, max_bytes
        self._queue: SimpleQueue[tuple[DecisionInput, int]] = SimpleQueue()
        self._put_bytes = self._taken_bytes = 0  # each has one writer, so no lock
        self._segment, self._segment_bytes = 0, 0
        self._open = False
        self._failed = False

    def add(self, given: DecisionInput) -> None:
        """Keep one; takes a microsecond, and never waits."""
        rows = given.rows
        size = len(given.request) + len(given.memory)
        size += len(rows) if isinstance(rows, bytes) else rows.own_bytes
        if not self._open or self._put_bytes - self._taken_bytes > WAITING_BYTES:
            self.dropped += 1
            return
        self._put_bytes += size
        self._queue.put((given, size))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Write until left, and then what is still there."""
        stop = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(stop,), name="evolver-decisions", daemon=True
        )
        self._open = True
        thread.start()
        try:
            yield
        finally:
            self._open = False
            stop.set()
            thread.join(CLOSE_S)

    def _run(self, stop: threading.Event) -> None:
        wait_s, last = FLUSH_S, False
        while not last:
            last = stop.wait(wait_s)
            began_s = time.thread_time()
            while batch := self._batch():
                self._guarded_write(batch)
            # A fifth of a processor at most, as long as the queue is not the worse for it.
            wait_s = min(MOST_WAIT_S, max(FLUSH_S, 4 * (time.thread_time() - began_s)))

    def _batch(self) -> list[DecisionInput]:
        batch, size = [], 0
        with contextlib.suppress(Empty):
            while size < FRAME_BYTES:
                given, its_bytes = self._queue.get_nowait()
                self._taken_bytes += its_bytes
                size += its_bytes
                batch.append(given)
        return batch

    def _guarded_write(self, batch: list[DecisionInput]) -> None:
        """A disk that refuses costs the inputs, and nothing else."""
        try:
            self._write(_frame_of(batch, time.time()))
            self._failed = False
        except (OSError, ValueError, struct.error) as error:
            self.dropped += len(batch)
            if not self._failed:
                _log.error("decision inputs are not kept: %s", error)
            self._failed = True

    def _write(self, frame: bytes) -> None:
        if not self._segment or self._segment_bytes + len(frame) > self._max_bytes // SEGMENTS:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._segment, self._segment_bytes = self._segment + 1, 0
            self._prune()
        name = f"{self._boot}-{self._segment:06d}.ring"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        handle = os.open(self._folder / name, flags, 0o600)
        try:
            os.write(handle, frame)
        finally:
            os.close(handle)
        self._segment_bytes += len(frame)

    def _prune(self) -> None:
        """Make room for one more segment."""
        others = self._living() | {self._boot}
        mine, gone = [], []
        for path, boot in segments_in(self._folder):
            if boot == self._boot:
                mine.append(path)
            elif boot not in others:
                gone.append(path)
        _keep_newest(mine, self._max_bytes - self._max_bytes // SEGMENTS)
        _keep_newest(gone, self._max_bytes)


def segments_in(folder: Path) -> list[tuple[Path, str]]:
    """The files of a ring and the process each is of, oldest first."""
    found = []
    with contextlib.suppress(OSError):
        matches = map(_NAME.fullmatch, os.listdir(folder))
        found = [(folder / match[0], match[1]) for match in matches if match is not None]
    return sorted(found, key=lambda one: (_changed(one[0]), one[0].name))


def newest(folder: Path, count: int) -> list[Kept]:
    """The latest inputs that are kept, newest first."""
    found: list[Kept] = []
    for path, boot in reversed(segments_in(folder)):
        for unix_s, _, raw in reversed(list(_frames(path))):
            found += (Kept(boot, unix_s, given) for given in reversed(unpacked(raw())))
            if len(found) >= count:
                break
        if len(found) >= count:
            break
    return sorted(found, key=lambda one: (one.unix_s, one.given.number), reverse=True)[:count]


def kept_inputs(folder: Path, boot: str, number: int) -> list[Kept]:
    """What policies were asked for one decision, in the order in which they were asked."""
    for path, of in segments_in(folder):
        if of != boot:
            continue
        for unix_s, (first, last), raw in _frames(path):
            if first <= number <= last:
                return [Kept(boot, unix_s, one) for one in unpacked(raw()) if one.number == number]
    return []


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _frames(path: Path) -> Iterator[tuple[float, tuple[int, int], Callable[[], bytes]]]:
    """Time, numbers and contents of each whole frame; a torn end is where a process was killed."""
    try:
        with open_file(path) as file:
            content = file.read(KEPT_BYTES)
    except OSError:
        return
    at = 0
    while at + _FRAME.size <= len(content):
        magic, packed, raw, crc, first, last, unix_s = _FRAME.unpack_from(content, at)
        start, at = at + _FRAME.size, at + _FRAME.size + packed
        body = content[start:at]
        whole = magic == MAGIC and zlib.crc32(body) == crc and 0 <= unix_s < MOST_UNIX_S
        if not whole or raw > 4 * FRAME_BYTES:
            return
        yield unix_s, (first, last), partial(_inflated, body, raw)


def _inflated(body: bytes, raw_bytes: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(body, raw_bytes)
    except zlib.error:  # no process of ours wrote that
        return b""


def _frame_of(batch: list[DecisionInput], unix_s: float) -> bytes:
    raw = packed(batch)
    body = zlib.compress(raw, 1)
    first, last = batch[0].number, batch[-1].number
    return _FRAME.pack(MAGIC, len(body), len(raw), zlib.crc32(body), first, last, unix_s) + body


def _keep_newest(paths: list[Path], room_bytes: int) -> None:
    """Remove the oldest beyond so many bytes; `paths` is oldest first."""
    for path in reversed(paths):
        with contextlib.suppress(OSError):
            room_bytes -= path.stat().st_size
            if room_bytes < 0:
                path.unlink(missing_ok=True)
