"""Closes segments: frames become a Parquet file, and what a killed writer left becomes whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from telemetry.requests import Requests
from telemetry.segments.arrow import META, arrow, table_of
from telemetry.segments.manifest import (
    WAITING,
    Manifest,
    Segment,
    adopted,
    load,
    numbered,
    replace_file,
)
from telemetry.segments.open_file import read_frames

ZSTD_LEVEL = 3
GROUP_ROWS = 65_536


def seal(
    folder: Path, number: int, requests: Requests, positions: Mapping[str, Any], now_s: float
) -> Segment:
    """Write rows as a closed segment, in order of arrival.

    Raises:
        OSError: the disk does not take it.
    """
    rows = requests.take(np.argsort(requests.arrived_unix_s, kind="stable"))
    since_s, until_s = (float(one) for one in rows.arrived_unix_s[[0, -1]])
    segment = Segment(number, len(rows), 0, "", since_s, until_s, now_s)
    own = {**asdict(segment), "positions": dict(positions)}
    pa, _, parquet, _ = arrow()
    table = table_of(rows).replace_schema_metadata({META: json.dumps(own)})
    sink = pa.BufferOutputStream()
    parquet.write_table(
        table, sink, compression="zstd", compression_level=ZSTD_LEVEL, row_group_size=GROUP_ROWS
    )
    data = sink.getvalue().to_pybytes()
    replace_file(folder / segment.name, data)
    return replace(segment, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def listed(folder: Path) -> Manifest:
    """The manifest, and every closed segment that it does not name."""
    manifest = load(folder)
    segments, positions = list(manifest.segments), dict(manifest.positions)
    named = {one.number for one in segments}
    for number, path in numbered(folder, "parquet").items():
        if number not in named:
            segment, own = adopted(path, number)
            segments.append(segment)
            positions |= own if number > manifest.last else {}
    return replace(
        manifest, segments=tuple(sorted(segments, key=lambda one: one.number)), positions=positions
    )


def recovered(folder: Path, now_s: float) -> tuple[Manifest, int]:
    """What a folder holds after open files became segments, and how many bytes of them were torn.

    Raises:
        OSError: the folder cannot be read or written.
    """
    for waiting in folder.glob(f"*{WAITING}"):
        waiting.unlink()
    manifest, torn_bytes = listed(folder), 0
    done = {one.number for one in manifest.segments}
    for number, path in numbered(folder, "open").items():
        if number not in done:
            frames = read_frames(path)
            torn_bytes += frames.torn_bytes
            positions = positions_of(frames.notes, manifest.positions)
            manifest = replace(manifest, positions=positions)
            if len(frames.requests):
                segment = seal(folder, number, frames.requests, positions, now_s)
                manifest = replace(manifest, segments=(*manifest.segments, segment))
        path.unlink()
    return replace(manifest, damage=""), torn_bytes


def positions_of(notes: tuple[dict[str, Any], ...], before: Mapping[str, Any]) -> dict[str, Any]:
    """How far sources were read, by the newest note that says so of each."""
    positions = dict(before)
    for note in notes:
        told = note.get("positions")
        positions |= told if isinstance(told, dict) else {}
    return positions
