"""The end of a gateway's request log: the last hour, read from behind, however long the log is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from telemetry.errors import ReadError, TelemetryError
from telemetry.readers.gateway_log import GATEWAY_LOG, Lines, rotated_parts, take_lines
from telemetry.readers.source import GZIP_MAGIC, Source, open_bytes, open_source, parse_json
from telemetry.request_traces import answered_tokens, trace_of
from telemetry.requests import CLIENT_ERROR, Requests
from telemetry.trace import Trace

HOUR_S = 3600.0
CHUNK_BYTES = 4 << 20
MOST_BYTES = 512 << 20  # of lines; more than an hour of ten thousand requests a second


@dataclass(frozen=True, slots=True)
class LastStretch:
    """What a gateway recorded last.

    Attributes:
        trace: the requests; began_at: when its second 0 was.
    """

    trace: Trace
    began_at: datetime


def read_last(path: str | Path, span_s: float = HOUR_S) -> LastStretch:
    """The requests that arrived in the last `span_s` seconds of a log, up to its last line.

    A log that was rotated lately goes on in the files it was rotated to.

    Raises:
        TelemetryError: there is no such log, or its end cannot be read.
    """
    source = open_source(path)
    parts: list[tuple[Source, list[str]]] = []
    ended_s, left_bytes = math.nan, MOST_BYTES
    for part in (source, *reversed(rotated_parts(source))):
        lines = _end_of(part, span_s, ended_s, left_bytes)
        parts.append((part, lines))
        left_bytes -= sum(map(len, lines))
        if math.isnan(ended_s):
            ended_s = _first_end(reversed(lines))
        if left_bytes <= 0 or _first_end(lines) < ended_s - span_s:
            break
    found = Lines()
    for part, lines in reversed(parts):
        take_lines(found, enumerate(lines, start=1), f"the end of {part.label}")
    requests = found.requests
    trace = trace_of(requests, name=source.name, format=GATEWAY_LOG.name)
    return _cut(trace, requests, ended_s - span_s)


def _cut(trace: Trace, requests: Requests, from_s: float) -> LastStretch:
    """The stretch itself: what ended in it may have arrived long before."""
    counts = (answered_tokens(requests) > 0) & (requests.outcome != CLIENT_ERROR)
    began_s = float(requests.arrived_unix_s[counts].min())
    skipped_s = max(from_s - began_s, 0.0)
    if skipped_s > trace.span_s:
        raise ReadError("Nothing arrived in the last stretch of the log: serve requests first.")
    if skipped_s > 0.0:
        trace = trace.slice(skipped_s, math.nextafter(trace.span_s, math.inf))
    return LastStretch(trace, datetime.fromtimestamp(began_s + skipped_s, UTC))


def _end_of(part: Source, span_s: float, ended_s: float, most_bytes: int) -> list[str]:
    """The last lines of a file, until one ended `span_s` before the last of all."""
    with part.path.open("rb") as probe:
        if probe.read(2) == GZIP_MAGIC:
            return [line for _, line in part.lines()]
    chunks: list[bytes] = []
    at, total = 0, 0
    for chunk, at in _backwards(part):  # noqa: B007 - where the last one begins counts below
        chunks.append(chunk)
        total += len(chunk)
        lines = chunk.decode("ascii", "replace").split("\n")
        if math.isnan(ended_s):
            ended_s = _first_end(reversed(lines))
        if total >= most_bytes or _first_end(lines) < ended_s - span_s:
            break
    text = b"".join(reversed(chunks)).decode("ascii", "replace")
    return text.split("\n")[0 if at == 0 else 1 :]


def _first_end(lines: Iterable[str]) -> float:
    """When the first request ended of lines that are whole; NaN without one."""
    return next((end for end in map(_end_s, lines) if end is not None), math.nan)


def _backwards(part: Source) -> Iterator[tuple[bytes, int]]:
    """Chunks of a file from its end, each with where it begins."""
    with open_bytes(part.path) as raw:
        at = raw.seek(0, 2)
        if at == 0:
            yield b"", 0
        while at > 0:
            size = min(CHUNK_BYTES, at)
            at -= size
            raw.seek(at)
            yield raw.read(size), at


def _end_s(line: str) -> float | None:
    """When the request of a line ended; None for what is no whole line."""
    try:
        item = parse_json(line, "", 0)
        end = float(item["arrived_unix_s"]) + float(item.get("e2e_s") or 0.0)
    except (TelemetryError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return end if math.isfinite(end) else None
