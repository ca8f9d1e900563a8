"""Reads what an engine measured per request: one JSON object a line, numbers only.

Each line has `input_toks` and `output_toks` (whole numbers from 1), `queued_ts` (when the engine
took the request; without it `arrival_time` on the same clock), `first_token_ts` and
`last_token_ts`, all in seconds of one monotonic clock. Other keys are skipped and never kept.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.errors import ReadError, RowError
from telemetry.trace import Trace, TraceMeta

Floats = NDArray[np.float64]

MOST_BYTES = 256 * 2**20
MOST_ROWS = 1_000_000
MOST_LINE = 64 * 2**10
MOST_TOKENS = 2**20
MOST_SPAN_S = 1e6
FEWEST_ROWS = 20
_REMEDY = "export the engine's timings again or drop the line"


@dataclass(frozen=True, slots=True)
class EngineTimings:
    """Requests in order of arrival with what the engine measured, arrays of shape (n,).

    Attributes:
        trace: arrivals and lengths.
        ttft_s: from arrival to the first token.
        e2e_s: from arrival to the last token.
    """

    trace: Trace
    ttft_s: Floats
    e2e_s: Floats

    def __len__(self) -> int:
        return len(self.ttft_s)

    @property
    def tpot_s(self) -> Floats:
        """Mean gap between later tokens; NaN for a single token."""
        later = np.where(self.trace.output_tokens > 1, self.trace.output_tokens - 1.0, np.nan)
        return np.asarray((self.e2e_s - self.ttft_s) / later)


def read_timings(path: str | Path) -> EngineTimings:
    """Read a file of per-request timings.

    Raises:
        ReadError: too large, too few rows, or times that span too long.
        RowError: a malformed row, with its line.
    """
    file = Path(path)
    rows: list[tuple[float, float, float, float, float]] = []
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ReadError(f"{file.name} is over {MOST_BYTES >> 20} MiB; give a part of it.")
        with file.open("rb") as lines:
            for line, text in enumerate(iter(lambda: lines.readline(MOST_LINE + 1), b""), 1):
                if len(text) > MOST_LINE:
                    raise RowError(file.name, line, "the line is too long", _REMEDY)
                if text.strip():
                    rows.append(_row(file.name, line, text))
                if len(rows) > MOST_ROWS:
                    raise ReadError(f"{file.name} has over {MOST_ROWS:,} rows; give a part of it.")
    except OSError as error:
        raise ReadError(f"{file.name} cannot be read: {error.strerror}; check the path.") from None
    return _timings(file.name, rows)


def _row(where: str, line: int, text: bytes) -> tuple[float, float, float, float, float]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise RowError(where, line, "the line is not JSON", _REMEDY) from None
    if not isinstance(row, dict):
        raise RowError(where, line, "the line is no JSON object", _REMEDY)
    prompt, output = (_tokens(where, line, row, key) for key in ("input_toks", "output_toks"))
    start = "queued_ts" if "queued_ts" in row else "arrival_time"
    keys = (start, "first_token_ts", "last_token_ts")
    arrival, first, last = (_number(where, line, row, key) for key in keys)
    if not arrival < first <= last:
        raise RowError(where, line, f"{', '.join(keys)} are not in order", _REMEDY)
    return arrival, prompt, output, first - arrival, last - arrival


def _number(where: str, line: int, row: dict[str, Any], key: str) -> float:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(where, line, f"{key} is no number", _REMEDY)
    if not math.isfinite(value) or abs(value) > 1e12:
        raise RowError(where, line, f"{key} is out of range", _REMEDY)
    return float(value)


def _tokens(where: str, line: int, row: dict[str, Any], key: str) -> float:
    value = _number(where, line, row, key)
    if value != int(value) or not 1 <= value <= MOST_TOKENS:
        raise RowError(where, line, f"{key} is no whole number from 1 to {MOST_TOKENS}", _REMEDY)
    return value


def _timings(where: str, rows: list[tuple[float, float, float, float, float]]) -> EngineTimings:
    if len(rows) < FEWEST_ROWS:
        raise ReadError(f"{where} has {len(rows)} requests; give at least {FEWEST_ROWS}.")
    table = np.array(rows)
    table = table[np.argsort(table[:, 0], kind="stable")]
    arrival = table[:, 0] - table[0, 0]
    if arrival[-1] > MOST_SPAN_S or table[:, 4].max() > MOST_SPAN_S:
        raise ReadError(f"{where} spans over {MOST_SPAN_S:g} s; give seconds of one clock.")
    trace = Trace.of(
        TraceMeta(name="timings", format="engine_timings", clock="the engine's monotonic clock"),
        arrival_s=arrival,
        prompt_tokens=table[:, 1].astype(np.int64),
        output_tokens=table[:, 2].astype(np.int64),
    )
    return EngineTimings(trace, table[:, 3].copy(), table[:, 4].copy())
