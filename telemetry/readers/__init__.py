"""Readers of native request traces: one small file a family, and the table that finds them.

Start with `read_trace`; a reader is a `rows.TraceFormat`, which declares clock, zero, block size
and hash scope, and `rows.finish` is where every flat table of rows becomes a `Trace`.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from telemetry.errors import FormatError
from telemetry.readers.azure import AZURE, AZURE_LMM
from telemetry.readers.burstgpt import BURSTGPT
from telemetry.readers.columns_csv import LMSYS, VIDUR
from telemetry.readers.gateway_log import GATEWAY_LOG
from telemetry.readers.genai import GENAI_LORA, GENAI_QPS
from telemetry.readers.hashed_jsonl import MOONCAKE, QWEN
from telemetry.readers.lmcache import LMCACHE
from telemetry.readers.rows import TraceFormat
from telemetry.readers.saved import SAVED
from telemetry.readers.servegen import SERVEGEN
from telemetry.readers.servegen_native import SERVEGEN_NATIVE
from telemetry.readers.source import Source, open_source
from telemetry.readers.weka import WEKA
from telemetry.trace import Trace

__all__ = ["TRACE_FORMATS", "TraceFormat", "read_trace", "trace_options"]

TRACE_FORMATS: dict[str, TraceFormat] = {
    form.name: form for form in (
        AZURE, AZURE_LMM, BURSTGPT, GATEWAY_LOG, GENAI_LORA, GENAI_QPS, LMCACHE, LMSYS, MOONCAKE,
        QWEN, SAVED, SERVEGEN, SERVEGEN_NATIVE, VIDUR, WEKA)
}


def read_trace(path: str | Path, format: str | None = None, **options: object) -> Trace:
    """Read a request trace in any known format.

    Args:
        path: a file, plain, gzip or tar; it is never unpacked to disk.
        format: a name in `TRACE_FORMATS`; without it the file must be recognised without doubt.
        options: of that format's reader, see `trace_options`.

    Raises:
        FormatError: unknown or ambiguous format, or an option it does not have.
        ReadError: a damaged or empty file; RowError: a malformed row, with its line.
    """
    source = open_source(path)
    form = _named(format) if format else _recognised(source)
    known = trace_options(form.name)
    for option in options:
        if option not in known:
            raise FormatError(f"The {form.name} format has no option {option!r}; "
                              f"it has {', '.join(known) or 'none'}.")
    return form.read(source, **options)


def trace_options(format: str) -> dict[str, Any]:
    """The options of a format's reader and their defaults."""
    parameters = inspect.signature(_named(format).read).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _named(name: str) -> TraceFormat:
    if name not in TRACE_FORMATS:
        raise FormatError(f"There is no trace format {name!r}; "
                          f"give --format one of {', '.join(sorted(TRACE_FORMATS))}.")
    return TRACE_FORMATS[name]


def _recognised(source: Source) -> TraceFormat:
    found = [form for form in TRACE_FORMATS.values() if form.recognises(source)]
    if len(found) == 1:
        return found[0]
    if found:
        raise FormatError(f"{source.label} could be {' or '.join(form.name for form in found)}; "
                          "say which with --format.")
    raise FormatError(f"{source.label} is in no request format that is known here; capacity files "
                      "go with --capacity, others need --format "
                      f"({', '.join(sorted(TRACE_FORMATS))}).")
