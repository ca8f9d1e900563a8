"""ServeGen requests as JSON lines: drawn by its generator from published client statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from telemetry.errors import RowError
from telemetry.readers.rows import Empty, Rows, TraceFormat, finish, numbers
from telemetry.readers.source import Source, parse_json
from telemetry.trace import Trace


def read(source: Source, *, empty_outputs: Empty = "drop") -> Trace:
    """Read realised requests; every row is marked as generated."""
    lines: list[int] = []
    columns: tuple[list[Any], list[Any], list[Any], list[Any]] = ([], [], [], [])
    times, prompts, outputs, clients = columns
    for number, text in source.lines():
        if not text.strip():
            continue
        item = parse_json(text, source.label, number)
        try:
            data = item["data"]
            times.append(item["timestamp"])
            prompts.append(data["input_tokens"])
            outputs.append(data["output_tokens"])
            clients.append(item.get("client_id", 0))
        except (TypeError, KeyError, AttributeError):
            raise RowError(source.label, number,
                           "timestamp, data.input_tokens or data.output_tokens is missing",
                           "drop the line or check --format") from None
        lines.append(number)
    where = source.label
    rows = Rows(where, lines, numbers(where, lines, "timestamp", times),
                numbers(where, lines, "input_tokens", prompts),
                numbers(where, lines, "output_tokens", outputs),
                tenant=numbers(where, lines, "client_id", clients).tolist())
    rows.notes.append("Rows are draws from published per-client statistics, not recorded requests.")
    trace = finish(rows, SERVEGEN, source, empty_outputs)
    return replace(trace, meta=replace(trace.meta, generated_from=0))


def _recognises(source: Source) -> bool:
    first = "" if source.is_tar or not source.head else source.head[0]
    return first.startswith("{") and '"data"' in first and '"input_tokens"' in first


SERVEGEN = TraceFormat(
    name="servegen", title="ServeGen requests (JSON lines)", zero="file",
    clock="seconds, zero as in the file", recognises=_recognises, read=read,
    source="https://github.com/alibaba/ServeGen", licence="Apache-2.0")
