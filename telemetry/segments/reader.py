"""Reads requests of a stretch of time from a folder, whatever is torn, missing or damaged there."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from telemetry.errors import ReadError
from telemetry.requests import Requests
from telemetry.segments.arrow import SCHEMA_VERSION, UNREADABLE, arrow, requests_of
from telemetry.segments.closing import listed
from telemetry.segments.limits import MOST_FILE_BYTES, MOST_FILE_ROWS
from telemetry.segments.manifest import Manifest, Segment, load, numbered
from telemetry.segments.open_file import read_frames

MOST_ROWS = 20_000_000
MOST_INFLATED_BYTES = 8 * 2**30


@dataclass(slots=True)
class _Found:
    """What was read so far."""

    since_s: float
    until_s: float
    most_rows: int
    parts: list[Requests] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: int = 0
    rows: int = 0

    def add(self, requests: Requests) -> None:
        """Keep what lies in the stretch."""
        times = requests.arrived_unix_s
        inside = (times >= self.since_s) & (times < self.until_s)
        kept = requests if inside.all() else requests.take(inside)
        self.rows += len(kept)
        if self.rows > self.most_rows:
            raise ReadError(
                f"Over {self.most_rows:,} requests lie in that stretch of time: shorten it."
            )
        self.parts.append(kept)

    def skip(self, name: str, why: str) -> None:
        """A file that should have been read."""
        self.skipped += 1
        self.notes.append(f"{name} was skipped: {why}.")


def read(
    folder: str | Path, since_unix_s: float = 0.0, until_unix_s: float = math.inf, *,
    most_rows: int = MOST_ROWS,
) -> Requests:  # fmt: skip
    """The requests with ``since_unix_s <= arrived_unix_s < until_unix_s``, sorted by arrival.

    A segment that is missing or damaged is named in `notes`, skipped and counted in
    `skipped_segments`. A writer may be at work.

    Raises:
        ReadError: there is no such folder, or there are too many requests.
        SegmentError: pyarrow is missing.
    """
    arrow()
    place = Path(folder)
    if not place.is_dir():
        raise ReadError(f"There is no folder {place}; check the path.")
    found = _Found(since_unix_s, until_unix_s, most_rows)
    # In this order nothing is missed: what is closed meanwhile is in the manifest as well.
    opened = {number: _open_part(path, found) for number, path in numbered(place, "open").items()}
    manifest = load(place)
    if manifest.damage:
        found.notes.append(manifest.damage)
        manifest = listed(place)
    _read_closed(place, manifest, found)
    closed = {one.number for one in manifest.segments}
    for number, part in opened.items():
        if number not in closed and part is not None:
            found.add(part)
    requests = Requests.join(found.parts)
    order = np.argsort(requests.arrived_unix_s, kind="stable")
    return requests.take(order).noting(*found.notes, skipped_segments=found.skipped)


def _read_closed(place: Path, manifest: Manifest, found: _Found) -> None:
    for segment in manifest.segments:
        if segment.rows == 0:
            found.skip(segment.name, "it was damaged when it was found")
        elif segment.until_unix_s >= found.since_s and segment.since_unix_s < found.until_s:
            try:
                found.add(_rows_of(place, segment, found))
            except FileNotFoundError:
                if segment.number in {one.number for one in load(place).segments}:
                    found.skip(segment.name, "the file is missing")
            except UNREADABLE as error:
                found.skip(segment.name, _words(error))


def _words(error: Exception) -> str:
    """Why a file cannot be read; nothing of its contents is quoted."""
    if isinstance(error, _Damaged):
        return str(error)
    return f"it cannot be read ({type(error).__name__})"


class _Damaged(ValueError):
    """A segment is not what its manifest says."""


def _rows_of(place: Path, segment: Segment, found: _Found) -> Requests:
    with (place / segment.name).open("rb") as file:
        data = file.read(min(segment.bytes, MOST_FILE_BYTES) + 1)
    if len(data) != segment.bytes:
        raise _Damaged("its length is not the manifest's")
    if hashlib.sha256(data).hexdigest() != segment.sha256:
        raise _Damaged("its digest is not the manifest's")
    if segment.schema > SCHEMA_VERSION:
        raise _Damaged("a newer version wrote it")
    pa, _, parquet, _ = arrow()
    file = parquet.ParquetFile(pa.BufferReader(data))
    footer = file.metadata
    inflated = sum(footer.row_group(k).total_byte_size for k in range(footer.num_row_groups))
    if footer.num_rows > MOST_FILE_ROWS or inflated > MOST_INFLATED_BYTES:
        raise _Damaged("it holds more than any segment")
    groups = [k for k in range(footer.num_row_groups) if _overlaps(footer.row_group(k), found)]
    return requests_of(file.read_row_groups(groups)) if groups else Requests.none()


def _overlaps(group: Any, found: _Found) -> bool:  # noqa: ANN401
    """Whether a row group may hold arrivals of the stretch."""
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema == "arrived_unix_s" and column.statistics is not None:
            seen = column.statistics
            return bool(seen.max >= found.since_s and seen.min < found.until_s)
    return True


def _open_part(path: Path, found: _Found) -> Requests | None:
    for _ in range(2):
        try:
            frames = read_frames(path)
        except FileNotFoundError:
            return None  # closed meanwhile
        except OSError as error:
            found.skip(path.name, _words(error))
            return None
        if not frames.torn_bytes:
            return frames.requests
        time.sleep(0.05)  # a writer may be in the middle of a frame
    found.notes.append(f"The last {frames.torn_bytes} bytes of {path.name} were torn.")
    return frames.requests
