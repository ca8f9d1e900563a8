"""Follows one request log over rotation, truncation and restarts: every whole line exactly once.

A file is known by a hash of its first line, not by its name or inode, so it is found again as
``NAME.1``, as a copy whose original was truncated, or packed as ``NAME.2.gz``. How far it was read
is a `Position`, which belongs beside the rows that were read.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from telemetry.readers.gateway_log import MOST_ROTATED, rotated_paths
from telemetry.readers.source import open_bytes
from telemetry.request_rows import MOST_LINE

CHUNK_BYTES = 2 * 2**20
GRACE_S = 2.0  # a rotated log still gets what its writer had in hand
MOST_MARK_BYTES = 4096
_UNPACKABLE = (gzip.BadGzipFile, EOFError, zlib.error)
_BROKEN = (OSError, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log was read, and what became of its lines.

    Attributes:
        mark: of the file that is read, empty before the first.
        offset: in its bytes, unpacked.
        done: marks of files that were read to their end, newest last.
        rows, flaws, other: lines that became requests, were wrong, or asked no model for anything.
        gaps: files that vanished, or could not be unpacked, before they were read to their end.
    """

    mark: str = ""
    offset: int = 0
    done: tuple[str, ...] = ()
    rows: int = 0
    flaws: int = 0
    other: int = 0
    gaps: int = 0

    @classmethod
    def of(cls, stored: object) -> Position:
        """As it was stored; a new one for what is none."""
        if not isinstance(stored, Mapping) or set(stored) != set(asdict(cls())):
            return cls()
        counts = [stored[name] for name in ("offset", "rows", "flaws", "other", "gaps")]
        words = [stored["mark"], *(stored["done"] if isinstance(stored["done"], list) else [0])]
        if not all(type(one) is int and one >= 0 for one in counts):
            return cls()
        if not all(isinstance(one, str) for one in words):
            return cls()
        return cls(**{**stored, "done": tuple(stored["done"])})

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"done": list(self.done)}

    def ended(self) -> Position:
        """The file is read to its end."""
        done = (*self.done, self.mark)[-2 * MOST_ROTATED :]
        return replace(self, mark="", offset=0, done=done)


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines, and the position behind them."""

    data: bytes
    position: Position


class LogTail:
    """One log.

    Args:
        path: it need not be there yet.
        position: where to go on.

    Attributes:
        position: behind the last piece that was `taken`.
    """

    def __init__(self, path: str | Path, position: Position | None = None) -> None:
        self.path = Path(path)
        self.position = position or Position()
        self._file: IO[bytes] | None = None
        self._missed = False

    def read(self) -> Piece | None:
        """The next whole lines, about `CHUNK_BYTES` of them; None when there are none now."""
        for _ in range(2 * MOST_ROTATED):
            file = self._file or self._found()
            if file is None:
                return None
            data = self._chunk(file)
            if data:
                offset = self.position.offset + len(data)
                return Piece(data, replace(self.position, offset=offset))
            if data is None or not self._ended(file):
                return None
        return None

    def taken(self, position: Position) -> None:
        """The piece up to there is in good hands."""
        self.position = position

    def close(self) -> None:
        """Give the file back; `read` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _found(self) -> IO[bytes] | None:
        """The file to read, opened: the one of the position, or the oldest that was not read."""
        marks, position = self._marks(), self.position
        if position.mark and position.mark not in marks:
            if not marks or not self._missed:  # it may be on its way from one name to another
                self._missed = True
                return None
            self.position = replace(position.ended(), gaps=position.gaps + 1)
        self._missed = False
        if not self.position.mark:
            unread = [mark for mark in reversed(marks) if mark not in self.position.done]
            if not unread:
                return None
            self.position = replace(self.position, mark=unread[0], offset=0)
        try:
            self._file = open_bytes(marks[self.position.mark])
        except OSError:
            return None  # renamed meanwhile; it is found at the next turn
        return self._file

    def _marks(self) -> dict[str, Path]:
        """Files of the log that have a line, newest first."""
        marks: dict[str, Path] = {}
        older = rotated_paths(self.path)[-MOST_ROTATED:] if self.path.parent.is_dir() else []
        for path in (self.path, *reversed(older)):
            marks.setdefault(_mark_of(path), path)
        marks.pop("", None)
        return marks

    def _chunk(self, file: IO[bytes]) -> bytes | None:
        """Whole lines at the position; empty at the end, None when the file is another by now."""
        try:
            file.seek(self.position.offset)
            data = file.read(CHUNK_BYTES)
            if data and not data.endswith(b"\n"):
                data += file.readline(MOST_LINE)
            packed = isinstance(cast("object", file), gzip.GzipFile)
            if not packed and _mark(file) != self.position.mark:
                self.close()  # truncated below us: what was read may be new
                return None
        except _UNPACKABLE:
            return self._before_damage(file)
        except OSError:
            self.close()
            return None
        end = data.rfind(b"\n") + 1
        return data if not end and len(data) > MOST_LINE else data[:end]

    def _before_damage(self, file: IO[bytes]) -> bytes | None:
        """Whole lines of a packed file before it breaks off; None when there are no more."""
        data = b""
        with contextlib.suppress(*_BROKEN):
            file.seek(self.position.offset)
            while len(data) < CHUNK_BYTES and (more := file.read(MOST_MARK_BYTES)):
                data += more
        whole = data[: data.rfind(b"\n") + 1]
        if whole:
            return whole
        if time.time() - os.fstat(file.fileno()).st_mtime >= GRACE_S:  # nobody packs it still
            self.position = replace(self.position.ended(), gaps=self.position.gaps + 1)
        self.close()
        return None

    def _ended(self, file: IO[bytes]) -> bool:
        """Whether the file is over, as there is a newer one and nobody writes to it."""
        if _mark_of(self.path) == self.position.mark:
            return False
        marks = list(self._marks())
        mine = self.position.mark
        newer = marks[: marks.index(mine)] if mine in marks else marks
        late_s = time.time() - os.fstat(file.fileno()).st_mtime
        if late_s < GRACE_S or not set(newer) - set(self.position.done):
            return False
        file.seek(self.position.offset)
        torn = bool(file.read(1))
        self.position = replace(self.position.ended(), flaws=self.position.flaws + torn)
        self.close()
        return True


def _mark_of(path: Path) -> str:
    try:
        with open_bytes(path) as file:
            return _mark(file)
    except _BROKEN:
        return ""


def _mark(file: IO[bytes]) -> str:
    """Hash of a file's first line; empty while it has none."""
    file.seek(0, io.SEEK_SET)
    start = file.read(MOST_MARK_BYTES)
    line, end, _ = start.partition(b"\n")
    if not end and len(start) < MOST_MARK_BYTES:
        return ""
    return hashlib.blake2b(line, digest_size=8).hexdigest()
