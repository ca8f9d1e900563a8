"""Plain CSV traces in seconds: the LMSYS arena extract of VTC, and Vidur's length files."""

from __future__ import annotations

from telemetry.readers.rows import Empty, Rows, TraceFormat, csv_columns, finish, floats
from telemetry.readers.source import Source
from telemetry.trace import Trace

LMSYS_HEADER = ("req_id", "adapter_dir", "prompt_len", "output_len", "req_time")
VIDUR_HEADER = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")
CLOCK = "seconds, zero as in the file"


def read_lmsys(source: Source, *, empty_outputs: Empty = "drop") -> Trace:
    """Read the arena extract; each adapter is one tenant."""
    rows = _rows(source, LMSYS_HEADER, ("req_time", "prompt_len", "output_len"), "adapter_dir")
    rows.notes.append("Arrivals were rescaled in time by the publishers of this trace.")
    return finish(rows, LMSYS, source, empty_outputs)


def read_vidur(source: Source, *, empty_outputs: Empty = "drop") -> Trace:
    """Read arrivals with prefill and decode lengths."""
    return finish(_rows(source, VIDUR_HEADER, VIDUR_HEADER, None), VIDUR, source, empty_outputs)


def _rows(
    source: Source, header: tuple[str, ...], wanted: tuple[str, str, str], tenant: str | None
) -> Rows:
    lines, cells = csv_columns(source, [*wanted, *([tenant] if tenant else [])], header)
    time_s, prompt, output = (floats(source.label, lines, name, cells[name]) for name in wanted)
    return Rows(source.label, lines, time_s, prompt, output,
                tenant=cells[tenant] if tenant else None)


LMSYS = TraceFormat(
    name="lmsys_vtc", title="LMSYS arena lengths from the VTC artifact (CSV)", clock=CLOCK,
    zero="file", recognises=lambda source: source.begins_with(LMSYS_HEADER), read=read_lmsys,
    source="https://github.com/Ying1123/VTC-artifact", licence="Apache-2.0 (lengths and times)")
VIDUR = TraceFormat(
    name="vidur", title="Vidur trace (CSV)", clock=CLOCK, zero="file",
    recognises=lambda source: source.begins_with(VIDUR_HEADER), read=read_vidur,
    source="https://github.com/microsoft/vidur", licence="MIT")
