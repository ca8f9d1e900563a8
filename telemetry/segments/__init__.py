"""Requests on disk: what gateways logged, as compressed columns in files that survive a kill.

Reading guide:

1. `requests.py` one level up - `Requests`, the columns; `request_rows.py` - from lines to columns.
2. `writer` - `SegmentWriter`: an open file of checked frames, durable every second, that becomes a
   Parquet file with zstd; the oldest go first when the folder is full or they are old.
3. `reader` - `read`, by time, through whatever is torn, missing or damaged, which it names.
4. `log_tail`, `collector` - JSON lines of gateways into segments: each line once, whatever is
   rotated, truncated or killed in between.
5. `request_traces.py` one level up - `trace_of` and `timings_of`: what simulators and fits take.

    writer = SegmentWriter(folder, SegmentLimits(most_bytes=2**30))
    writer.append(parse_rows(rows).requests)
    writer.tick(time.time())            # at least once a second
    writer.close()
    trace = trace_of(read(folder, since_unix_s, until_unix_s))

Needs pyarrow: pip install 'evolver[daemon]'.
"""

from __future__ import annotations

from telemetry.request_rows import parse_lines, parse_rows
from telemetry.request_traces import timings_of, trace_of
from telemetry.requests import Requests
from telemetry.segments.collector import Collector
from telemetry.segments.limits import SegmentLimits
from telemetry.segments.reader import read
from telemetry.segments.writer import SegmentWriter

__all__ = [
    "Collector",
    "Requests",
    "SegmentLimits",
    "SegmentWriter",
    "parse_lines",
    "parse_rows",
    "read",
    "timings_of",
    "trace_of",
]
