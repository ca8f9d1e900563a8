"""BurstGPT 1, 2 and 3: CSV in seconds from the first day's midnight; no output means failure."""

from __future__ import annotations

import numpy as np

from telemetry.readers.rows import Empty, Rows, TraceFormat, csv_columns, finish, floats
from telemetry.readers.source import Source
from telemetry.trace import Trace

CLOCK = "seconds from midnight of the first day, read as seconds from the first arrival"
HEADER = ("Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type")
SESSION_HEADER = ("Timestamp", "Session ID", "Elapsed time", *HEADER[1:])
_FABRICATED_TOKENS = 100


def read(source: Source, *, empty_outputs: Empty = "drop") -> Trace:
    """Read any of the three files; sessions are known in the third only, arrivals stay open."""
    header = SESSION_HEADER if source.begins_with(SESSION_HEADER) else HEADER
    wanted = ["Timestamp", "Request tokens", "Response tokens"]
    lines, cells = csv_columns(source, wanted + (["Session ID"] if header != HEADER else []),
                               header)
    time_s, prompt, output = (floats(source.label, lines, name, cells[name]) for name in wanted)
    rows = Rows(source.label, lines, time_s, prompt, output,
                session=_sessions(cells.get("Session ID")))
    if _looks_fabricated(rows):
        rows.notes.append("These rows look fabricated: exactly one request a second, all below "
                          f"{_FABRICATED_TOKENS} tokens; compare with the published file.")
    return finish(rows, BURSTGPT, source, empty_outputs)


def _sessions(cells: list[str] | None) -> list[str] | None:
    return cells if cells and any(cells) else None


def _looks_fabricated(rows: Rows) -> bool:
    steps = np.diff(rows.time_s)
    return bool(len(steps) > 10 and np.all(steps == 1)
                and max(rows.prompt_tokens.max(), rows.output_tokens.max()) < _FABRICATED_TOKENS)


BURSTGPT = TraceFormat(
    name="burstgpt", title="BurstGPT 1, 2 or 3 (CSV)", clock=CLOCK,
    recognises=lambda source: source.begins_with(HEADER) or source.begins_with(SESSION_HEADER),
    read=read, source="https://github.com/HPMLL/BurstGPT", licence="CC-BY-4.0")
