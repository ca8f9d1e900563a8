"""Traces this project saved itself (``Trace.save``), read back as they were."""

from __future__ import annotations

from telemetry.readers.rows import TraceFormat
from telemetry.readers.source import Source
from telemetry.trace import Trace


def read(source: Source) -> Trace:
    """Load a saved trace; its notes and clock are its own."""
    return Trace.load(source.path)


SAVED = TraceFormat(
    name="saved", title="trace saved by this program (npz)", clock="seconds", zero="file",
    recognises=lambda source: source.path.suffix == ".npz", read=read)
