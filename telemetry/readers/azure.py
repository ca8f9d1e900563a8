"""Azure LLM and LMM inference traces: CSV with a wall-clock timestamp and two token counts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from telemetry.errors import RowError
from telemetry.readers.rows import Empty, Rows, TraceFormat, csv_columns, finish, floats
from telemetry.readers.source import Source
from telemetry.trace import Trace

CLOCK = "wall clock to the fraction given (naive or UTC), read as seconds from the first arrival"
HEADER = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
LMM_HEADER = ("TIMESTAMP", "NumImages", "ContextTokens", "GeneratedTokens")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,9})?)(Z|[+-]\d\d:\d\d)?\Z",
                    re.ASCII)


def read(source: Source, *, empty_outputs: Empty = "drop") -> Trace:
    """Read a 2023 (naive, 7 digits) or 2024 (UTC offset, 6 digits or none) file."""
    return finish(_rows(source, HEADER), AZURE, source, empty_outputs)


def read_lmm(source: Source, *, empty_outputs: Empty = "drop") -> Trace:
    """Read a multimodal file; images count only through ``ContextTokens``."""
    rows = _rows(source, LMM_HEADER)
    rows.notes.append("Images are not modelled apart; ContextTokens is taken as the prompt.")
    return finish(rows, AZURE_LMM, source, empty_outputs)


def wall_clock_s(where: str, lines: Sequence[int], stamps: list[str]) -> NDArray[np.float64]:
    """ISO time stamps as seconds from the earliest; all naive or all UTC, to the nanosecond."""
    texts: list[str] = []
    zones: set[str | None] = set()
    for line, stamp in zip(lines, stamps, strict=True):
        match = _STAMP.match(stamp)
        if match is None or match[3] not in (None, "Z", "+00:00"):
            raise RowError(where, line, "the time stamp is not naive or UTC ISO time",
                           "convert the column to UTC")
        zones.add(None if match[3] is None else "UTC")
        texts.append(f"{match[1]}T{match[2]}")
    if len(zones) > 1:
        raise RowError(where, 0, "naive and UTC time stamps are mixed", "convert them all to UTC")
    try:
        times = np.array(texts, dtype="datetime64[ns]").astype(np.int64)
    except ValueError:
        raise RowError(where, 0, "a time stamp names no date of the calendar",
                       "drop or mend the line") from None
    zero = times.min() if len(times) else 0
    return np.asarray((times - zero) / 1e9)


def _rows(source: Source, header: tuple[str, ...]) -> Rows:
    lines, cells = csv_columns(source, HEADER, header)
    where = source.label
    return Rows(where, lines, wall_clock_s(where, lines, cells["TIMESTAMP"]),
                floats(where, lines, "ContextTokens", cells["ContextTokens"]),
                floats(where, lines, "GeneratedTokens", cells["GeneratedTokens"]))


AZURE = TraceFormat(
    name="azure", title="Azure LLM inference trace 2023 or 2024 (CSV)", clock=CLOCK,
    recognises=lambda source: source.begins_with(HEADER), read=read,
    source="https://github.com/Azure/AzurePublicDataset", licence="CC-BY-4.0")
AZURE_LMM = TraceFormat(
    name="azure_lmm", title="Azure multimodal inference trace (CSV)", clock=CLOCK,
    recognises=lambda source: source.begins_with(LMM_HEADER), read=read_lmm,
    source="https://github.com/Azure/AzurePublicDataset", licence="CC-BY-4.0")
