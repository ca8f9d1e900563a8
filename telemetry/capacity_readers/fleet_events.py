"""Spot fleets as add and remove events in milliseconds: Bamboo, Parcae and SpotServe."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence

from telemetry.capacity import CapacityTrace
from telemetry.capacity_readers.form import CapacityFormat, lives, lives_of_changes
from telemetry.errors import FormatError, ReadError, RowError
from telemetry.readers.source import Json, Source, parse_json, text_of
from telemetry.trace import TraceMeta

CLOCK = "milliseconds from the start of the file"
_MS = 1e-3
_Change = tuple[float, str, bool]


def read_bamboo(source: Source) -> CapacityTrace:
    """Read ``time_ms,add|remove,node`` lines."""
    changes: list[_Change] = []
    for number, line in source.lines():
        cells = next(csv.reader([line]), [])
        if not cells:
            continue
        if len(cells) != 3 or cells[1] not in ("add", "remove") or not cells[0].isdecimal():
            raise RowError(source.label, number, "this is no line of milliseconds, add or remove, "
                           "and a node", "drop or mend the line")
        changes.append((int(cells[0]) * _MS, cells[2], cells[1] == "add"))
    changes, note = _in_order(changes)
    return _build(BAMBOO.meta(source, note), changes, changes[-1][0] if changes else 0.0)


def read_parcae(source: Source, *, segment: str | None = None) -> CapacityTrace:
    """Read one segment: ``[time_ms, "add"|"remove"|..., {"nodes": [...]}]`` a line.

    Args:
        segment: text that the wanted member's name contains, such as ``hh``; the first by default.
    """
    name, text, others = _segment(source, segment)
    changes: list[_Change] = []
    last = step = 0.0
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            time, what, nodes = _event(source.label, number, parse_json(line, source.label, number))
            step, last = max(step, time - last), max(last, time)
            if what in ("add", "remove"):
                changes.extend((time, node, what == "add") for node in nodes)
    changes, note = _in_order(changes)
    chosen = (f"Segment {name} was read, the archive also has {', '.join(others)}; choose with "
              "segment=." if others else "")
    return _build(PARCAE.meta(source, chosen, note), changes, last + step)


def _segment(source: Source, segment: str | None) -> tuple[str, str, list[str]]:
    if not source.is_tar:
        return source.label, source.text(), []
    members = sorted(source.members(lambda name: name.endswith((".txt", ".json", ".jsonl"))),
                     key=lambda member: member.name)
    names = [member.label.rsplit("/", 1)[-1] for member in members]
    wanted = [at for at, name in enumerate(names) if segment is None or segment in name]
    if not wanted or (segment is not None and len(wanted) > 1):
        raise FormatError(f"{source.label} has {len(wanted)} segments named like {segment!r}; "
                          f"give segment= one of {', '.join(names)}.")
    at = wanted[0]
    return (names[at], text_of(members[at].data, members[at].label),
            [name for name in names if name != names[at]])


def _event(label: str, number: int, item: Json) -> tuple[float, str, list[str]]:
    try:
        time, what, detail = item
        nodes = detail["nodes"]
        if type(time) not in (int, float) or not (math.isfinite(time) and time >= 0):
            raise ValueError
        if not isinstance(what, str) or not all(isinstance(node, str) for node in nodes):
            raise TypeError
        return time * _MS, what, nodes
    except (TypeError, ValueError, KeyError):
        raise RowError(label, number, "this is no [milliseconds, event, {nodes: [...]}] list",
                       "drop or mend the line") from None


def _in_order(changes: list[_Change]) -> tuple[list[_Change], str]:
    ordered = sorted(changes, key=lambda change: change[0])
    return ordered, "" if ordered == changes else (
        "The file is not in order of time; its events were sorted.")


def _build(meta: TraceMeta, changes: Sequence[_Change], span_s: float) -> CapacityTrace:
    if not changes or span_s <= 0:
        raise ReadError("The file has no event after its start; check it and --format.")
    born = lives(*lives_of_changes(changes))
    machines = len({name for _, name, _ in changes})
    if machines > born.slots:
        meta = meta.noting(f"{machines} machines were laid into {born.slots} slots, the most that "
                           "were there at once.")
    return CapacityTrace.of(meta, "availability", span_s=span_s, initial_up=born.initial_up,
                            time_s=born.time_s, node=born.node, up=born.up)


def _looks_like_bamboo(source: Source) -> bool:
    return not source.is_tar and any(_bamboo_cells(source.head))


def _bamboo_cells(head: Sequence[str]) -> Iterator[bool]:
    for line in head[:1]:
        cells = line.split(",")
        yield len(cells) == 3 and cells[0].isdecimal() and cells[1] in ("add", "remove")


def _looks_like_parcae(source: Source) -> bool:
    first = source.head[0] if source.head else ""
    return first.startswith("[") and '"nodes"' in first


BAMBOO = CapacityFormat(
    name="bamboo", title="Bamboo spot fleet (CSV)", kind="availability", clock=CLOCK,
    recognises=_looks_like_bamboo, read=read_bamboo,
    source="https://github.com/uclasystem/bamboo", licence="MIT")
PARCAE = CapacityFormat(
    name="parcae", title="Parcae or SpotServe fleet segment (lists)", kind="availability",
    clock=CLOCK, recognises=_looks_like_parcae, read=read_parcae,
    source="https://github.com/JF-D/Parcae", licence="MIT")
