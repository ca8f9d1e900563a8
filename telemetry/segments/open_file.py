"""The open segment: frames of rows, each with a checksum, appended and made durable at once.

A frame is a header (magic, lengths of note and rows, checksum of both), a note in JSON and one
Arrow record batch. A process that is killed leaves whole frames and at most one torn one, behind
which nothing is ever written.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetry.requests import Requests
from telemetry.segments.arrow import arrow, requests_of, table_of
from telemetry.segments.limits import MOST_FILE_BYTES, MOST_FRAME_BYTES

MAGIC = b"EVS1"
_HEADER = struct.Struct("<4sIII")
MOST_NOTE_BYTES = 4 * 2**20


class OpenSegment:
    """A file of frames that is being written.

    Attributes:
        path: of the file; size: bytes of whole frames; rows: in them.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.rows = path, 0, 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def add(self, requests: Requests, note: Mapping[str, Any]) -> None:
        """Append rows with a note, durably.

        Raises:
            OSError: the disk did not take it, and holds nothing of it.
        """
        frame = memoryview(_frame(requests, note))
        try:
            at = self.size
            while frame:
                written = os.pwrite(self._file, frame, at)
                at, frame = at + written, frame[written:]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size, self.rows = at, self.rows + len(requests)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class Frames:
    """What an open file holds.

    Attributes:
        requests: of all whole frames.
        notes: one a frame.
        torn_bytes: behind the last whole frame.
    """

    requests: Requests
    notes: tuple[dict[str, Any], ...]
    torn_bytes: int


def read_frames(path: Path) -> Frames:
    """All whole frames of a file, up to the first that is torn or damaged.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MOST_FILE_BYTES)
        size = os.fstat(file.fileno()).st_size
    parts: list[Requests] = []
    notes: list[dict[str, Any]] = []
    at = 0
    for requests, note, end in _whole(data):
        parts.append(requests)
        notes.append(note)
        at = end
    return Frames(Requests.join(parts), tuple(notes), max(size, len(data)) - at)


def _frame(requests: Requests, note: Mapping[str, Any]) -> bytes:
    batch = table_of(requests).to_batches()[0] if len(requests) else None
    rows = batch.serialize().to_pybytes() if batch is not None else b""
    words = json.dumps(note).encode()
    check = zlib.crc32(rows, zlib.crc32(words))
    return _HEADER.pack(MAGIC, len(words), len(rows), check) + words + rows


def _whole(data: bytes) -> Iterator[tuple[Requests, dict[str, Any], int]]:
    at = 0
    while at + _HEADER.size <= len(data):
        magic, words_bytes, rows_bytes, check = _HEADER.unpack_from(data, at)
        begin, middle = at + _HEADER.size, at + _HEADER.size + words_bytes
        at = middle + rows_bytes
        if magic != MAGIC or at > len(data) or words_bytes > MOST_NOTE_BYTES:
            return
        words, rows = memoryview(data)[begin:middle], memoryview(data)[middle:at]
        if rows_bytes > MOST_FRAME_BYTES or zlib.crc32(rows, zlib.crc32(words)) != check:
            return
        try:
            note = json.loads(bytes(words))
            yield _rows(rows), note if isinstance(note, dict) else {}, at
        except (ValueError, RecursionError):  # pyarrow's errors of contents are ValueErrors
            return


def _rows(data: memoryview) -> Requests:
    if not data:
        return Requests.none()
    pa, ipc, _, schema = arrow()
    batch = ipc.read_record_batch(pa.py_buffer(data), schema)
    batch.validate(full=True)
    return requests_of(pa.Table.from_batches([batch]))
