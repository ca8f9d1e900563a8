"""Sampled spot availability as JSON: SkyPilot's archives, and ADRS copies of inverse meaning.

Both have the shape ``{"metadata": {"gap_seconds": g}, "data": [...]}``. In SkyPilot's a value is
the number of instances AVAILABLE; in the ADRS (can't-be-late) copies 1 means PREEMPTED. Nothing
in a single file tells them apart, so that its polarity must be declared.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from telemetry.capacity import CapacityTrace, of_counts
from telemetry.capacity_readers.form import MAX_NODES, CapacityFormat
from telemetry.errors import FormatError, ReadError, RowError
from telemetry.readers.source import Json, Source, parse_json, printable

Polarity = Literal["available", "preempted"]
CLOCK = "ticks of gap_seconds from the first sample"
_MEMBER = re.compile(r"(?:.*/)?([a-z0-9-]+)_([a-z0-9]{2,12})_(\d{1,2})\.json\Z", re.ASCII)
_ADRS_MARKS = ("generator", "original_trace")


def read_archive(source: Source, *, polarity: Polarity | None = None) -> CapacityTrace:
    """Read an archive with one series a zone and GPU shape, cut to the shortest series."""
    series: list[tuple[tuple[str, str, int], float, NDArray[np.int64]]] = []
    for member in source.members(lambda name: name.endswith(".json")):
        document = member.json()
        if polarity is None and _has_adrs_marks(document):
            raise FormatError(_undeclared(source.label))
        match = _MEMBER.match(member.name)
        key = (match[1], match[2], int(match[3])) if match else (member.name, "any", 1)
        series.append((key, *_series(document, member.label)))
    return _build(SKYPILOT, source, series, polarity or "available",
                  "" if polarity else "A value is the number of instances available, as SkyPilot "
                  "publishes it; declare polarity=preempted for ADRS copies.")


def read_single(source: Source, *, polarity: Polarity | None = None) -> CapacityTrace:
    """Read one series; its polarity must be declared."""
    if polarity is None:
        raise FormatError(_undeclared(source.label))
    return _single(SPOT_JSON, source, polarity)


def read_adrs(source: Source) -> CapacityTrace:
    """Read an ADRS copy: 1 means preempted."""
    return _single(ADRS, source, "preempted")


def _single(form: CapacityFormat, source: Source, polarity: Polarity) -> CapacityTrace:
    document = parse_json(source.text(), source.label)
    gap, data = _series(document, source.label)
    return _build(form, source, [(("", "any", 1), gap, data)], polarity,
                  f"A value means {polarity}, as declared.")


def _build(
    form: CapacityFormat, source: Source,
    series: list[tuple[tuple[str, str, int], float, NDArray[np.int64]]], polarity: Polarity,
    note: str,
) -> CapacityTrace:
    if polarity not in ("available", "preempted"):
        raise FormatError(f"polarity is {polarity!r}; give available or preempted.")
    gaps = {gap for _, gap, _ in series}
    if len(gaps) != 1:
        raise ReadError(f"{source.label} has no series, or series of different gap_seconds; "
                        "read them one by one.")
    series.sort(key=lambda item: item[0])
    gap, ticks = gaps.pop(), min(len(data) for *_, data in series)
    longest = max(len(data) for *_, data in series)
    counts = [_available(data[:ticks], polarity) for *_, data in series]
    zones = sorted({zone for (zone, _, _), *_ in series})
    models = sorted({model for (_, model, _), *_ in series})
    kept = [at for at, values in enumerate(counts) if values.max() > 0]
    if not kept:
        raise ReadError(f"{source.label} has no instance at any time; check the polarity.")
    notes = (note, "Which instance is lost is not recorded: the last one up leaves first."
             if max(values.max() for values in counts) > 1 else "",
             f"Series of up to {longest} ticks were cut to the shortest one, {ticks} ticks."
             if longest > ticks else "")
    keys = [series[at][0] for at in kept]
    times = np.asarray(np.arange(ticks) * gap, np.float64)
    return of_counts(
        form.meta(source, *notes), form.kind, [times] * len(kept),
        [counts[at] for at in kept], span_s=ticks * gap, gap_s=gap, models=models,
        zone=[zones.index(key[0]) for key in keys], model=[models.index(key[1]) for key in keys],
        gpus=[max(1, key[2]) for key in keys])


def _available(data: NDArray[np.int64], polarity: Polarity) -> NDArray[np.int64]:
    if polarity == "available":
        return data
    if data.max() > 1:
        raise ReadError("A count above 1 cannot mean preempted; declare polarity=available.")
    return 1 - data


def _series(document: Json, label: str) -> tuple[float, NDArray[np.int64]]:
    try:
        gap, data = float(document["metadata"]["gap_seconds"]), document["data"]
        good = all(type(value) is int and 0 <= value <= MAX_NODES for value in data)
        if not (good and data and 0 < gap < 1e7):
            raise ValueError
        return gap, np.array(data, np.int64)
    except (KeyError, TypeError, ValueError):
        raise RowError(label, 0, "metadata.gap_seconds or data is missing or no list of counts",
                       "download the file again or check --format") from None


def _has_adrs_marks(document: Json) -> bool:
    return isinstance(document, dict) and any(mark in document for mark in _ADRS_MARKS)


def _undeclared(label: str) -> str:
    return (f"{printable(label)} does not say whether a value means available or preempted, and "
            "published copies differ; pass --polarity available, --polarity preempted or "
            "--format adrs.")


def _has_shape(source: Source) -> bool:
    return bool(source.head) and '"gap_seconds"' in source.head[0] + "".join(source.head[1:])


SKYPILOT = CapacityFormat(
    name="skypilot", title="SkyPilot spot availability (tar of JSON)", kind="availability",
    clock=CLOCK, recognises=lambda source: source.is_tar and _has_shape(source),
    read=read_archive, source="https://github.com/skypilot-org/spot-traces",
    licence="none stated in the repository")
SPOT_JSON = CapacityFormat(
    name="spot_json", title="one spot series (JSON), polarity to be declared",
    kind="availability", clock=CLOCK,
    recognises=lambda source: not source.is_tar and _has_shape(source), read=read_single)
ADRS = CapacityFormat(
    name="adrs", title="ADRS copy of a spot series (JSON), 1 means preempted",
    kind="availability", clock=CLOCK, recognises=lambda _source: False, read=read_adrs,
    source="https://github.com/UCB-ADRS/ADRS-Leaderboard", licence="none stated")
