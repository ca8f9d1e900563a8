"""Readers of native capacity files: one small file a family, and the table that finds them.

A format declares its kind: availability, demand and faults are never read as one another; see
`telemetry.capacity.as_availability` for the explicit conversion.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from telemetry.capacity import CapacityTrace
from telemetry.capacity_readers.cluster_tables import DLRM, HELIOS, HOURLY
from telemetry.capacity_readers.fleet_events import BAMBOO, PARCAE
from telemetry.capacity_readers.form import CapacityFormat
from telemetry.capacity_readers.probe_logs import INFINITEHBD, TOAD
from telemetry.capacity_readers.spot_counts import ADRS, SKYPILOT, SPOT_JSON
from telemetry.errors import FormatError
from telemetry.readers.source import Source, open_source

__all__ = ["CAPACITY_FORMATS", "CapacityFormat", "capacity_options", "read_capacity"]

CAPACITY_FORMATS: dict[str, CapacityFormat] = {
    form.name: form for form in (
        ADRS, BAMBOO, DLRM, HELIOS, HOURLY, INFINITEHBD, PARCAE, SKYPILOT, SPOT_JSON, TOAD)
}


def read_capacity(
    path: str | Path, format: str | None = None, **options: object
) -> CapacityTrace:
    """Read a capacity file in any known format.

    Args:
        path: a file, plain, gzip or tar; it is never unpacked to disk.
        format: a name in `CAPACITY_FORMATS`; without it the file must be recognised.
        options: of that format's reader, such as ``polarity`` or ``segment``.

    Raises:
        FormatError: unknown or ambiguous format, undeclared polarity, or an unknown option.
        ReadError: a damaged or empty file; RowError: a malformed row, with its line.
    """
    source = open_source(path)
    form = _named(format) if format else _recognised(source)
    known = capacity_options(form.name)
    for option in options:
        if option not in known:
            raise FormatError(f"The {form.name} format has no option {option!r}; "
                              f"it has {', '.join(known) or 'none'}.")
    return form.read(source, **options)


def capacity_options(format: str) -> dict[str, object]:
    """The options of a format's reader and their defaults."""
    parameters = inspect.signature(_named(format).read).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _named(name: str) -> CapacityFormat:
    if name not in CAPACITY_FORMATS:
        raise FormatError(f"There is no capacity format {name!r}; "
                          f"give one of {', '.join(sorted(CAPACITY_FORMATS))}.")
    return CAPACITY_FORMATS[name]


def _recognised(source: Source) -> CapacityFormat:
    found = [form for form in CAPACITY_FORMATS.values() if form.recognises(source)]
    if len(found) == 1:
        return found[0]
    if found:
        raise FormatError(f"{source.label} could be {' or '.join(form.name for form in found)}; "
                          "name the capacity format.")
    raise FormatError(f"{source.label} is in no capacity format that is known here; name one of "
                      f"{', '.join(sorted(CAPACITY_FORMATS))}.")
