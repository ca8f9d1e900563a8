"""What a folder of segments holds, in one file that is replaced as a whole.

The manifest names every closed segment. One that is lost is made again from the segments, each of
which says the same of itself.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from telemetry.segments.arrow import META, SCHEMA_VERSION, UNREADABLE, arrow
from telemetry.segments.limits import MOST_FILE_BYTES, MOST_FILE_ROWS

NAME = "manifest.json"
WAITING = ".tmp"
MOST_BYTES = 64 * 2**20
SEGMENT = re.compile(r"requests-(\d{8})\.(parquet|open)")


@dataclass(frozen=True, slots=True)
class Segment:
    """A closed segment.

    Attributes:
        number: in order of their making.
        rows: in it, 0 when it was damaged when found; bytes, sha256: of the file.
        since_unix_s, until_unix_s: first and last arrival, both included.
        closed_unix_s: when it was closed.
        schema: version of its columns.
    """

    number: int
    rows: int
    bytes: int
    sha256: str
    since_unix_s: float
    until_unix_s: float
    closed_unix_s: float
    schema: int = SCHEMA_VERSION

    @property
    def name(self) -> str:
        """Of its file."""
        return f"requests-{self.number:08d}.parquet"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The closed segments, oldest first.

    Attributes:
        positions: how far each source was read when the last of them was closed.
        damage: what could not be read of the manifest itself, in a sentence; empty for nothing.
    """

    segments: tuple[Segment, ...] = ()
    positions: Mapping[str, Any] = field(default_factory=dict)
    damage: str = ""

    @property
    def last(self) -> int:
        """The highest number."""
        return max((one.number for one in self.segments), default=0)

    @property
    def bytes(self) -> int:
        """Of all files named."""
        return sum(one.bytes for one in self.segments)


def load(folder: Path) -> Manifest:
    """The manifest of a folder; an empty one that says why when it cannot be read."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return Manifest(damage="There is no manifest: the segments were listed by their files.")
    try:
        if len(data) > MOST_BYTES:
            raise ValueError("too large")
        document = json.loads(data)
        segments = tuple(sorted(map(_segment, document["segments"]), key=lambda one: one.number))
        positions = document["positions"]
        if not isinstance(positions, dict):
            raise TypeError("no positions")
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return Manifest(damage="The manifest is damaged: the segments were listed by their files.")
    return Manifest(segments, positions)


def save(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest, durably or not at all."""
    document = {
        "schema": SCHEMA_VERSION,
        "segments": [{"name": one.name, **asdict(one)} for one in manifest.segments],
        "positions": manifest.positions,
    }
    replace_file(folder / NAME, json.dumps(document, indent=1).encode())


def replace_file(path: Path, data: bytes) -> None:
    """Write a file under another name, durably, and rename it."""
    waiting = path.with_name(path.name + WAITING)
    try:
        with waiting.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        waiting.replace(path)
    except OSError:
        waiting.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was renamed or removed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def numbered(folder: Path, kind: str) -> dict[int, Path]:
    """Files of a kind, `parquet` or `open`, by number, oldest first."""
    found = {
        int(match[1]): path for path in folder.iterdir()
        if (match := SEGMENT.fullmatch(path.name)) and match[2] == kind
    }  # fmt: skip
    return dict(sorted(found.items()))


def adopted(path: Path, number: int) -> tuple[Segment, dict[str, Any]]:
    """A segment that no manifest names, by what it says of itself, and its positions."""
    _, _, parquet, _ = arrow()
    size = path.stat().st_size
    try:
        if size > MOST_FILE_BYTES:
            raise ValueError("too large")
        data = path.read_bytes()
        footer = parquet.read_metadata(_buffer(data))
        own = json.loads(footer.metadata[META])
        segment = _segment({
            **own, "number": number, "rows": footer.num_rows, "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        })  # fmt: skip
        positions = own.get("positions")
        return segment, positions if isinstance(positions, dict) else {}
    except UNREADABLE:
        seen_s = path.stat().st_mtime
        return Segment(number, 0, size, "", 0.0, 0.0, seen_s), {}


def _buffer(data: bytes) -> Any:  # noqa: ANN401
    return arrow().pa.BufferReader(data)


def _segment(item: Mapping[str, Any]) -> Segment:
    """A segment as a hostile file describes it; raises what `load` takes for damage."""
    values = {one.name: item[one.name] for one in fields(Segment)}
    times = [values[name] for name in ("since_unix_s", "until_unix_s", "closed_unix_s")]
    counts = [values[name] for name in ("number", "rows", "bytes", "schema")]
    if not all(type(one) is int and one >= 0 for one in counts):
        raise ValueError("no counts")
    if not all(type(one) in (int, float) and math.isfinite(one) for one in times):
        raise ValueError("no times")
    if values["rows"] > MOST_FILE_ROWS or values["number"] > 99_999_999:
        raise ValueError("too many")
    if type(values["sha256"]) is not str:
        raise TypeError("no digest")
    return Segment(**values)
