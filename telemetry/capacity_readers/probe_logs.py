"""Logs of single machines: ToaD's launch probes on GCP, and InfiniteHBD's faults in days."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import numpy as np

from telemetry.capacity import CapacityTrace
from telemetry.capacity_readers.form import CapacityFormat, safe_model
from telemetry.errors import ReadError, RowError
from telemetry.readers.source import Json, Source, parse_json
from telemetry.trace import opaque_codes

DAY_S = 86_400.0
_STAMP = re.compile(r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?)Z\] (.*)\Z", re.ASCII)
_CREATED = re.compile(r"Created instance (\S+) with (\d{1,3}) GPU\(s\) of type (\S+) in zone (\S+)")
_STATE = re.compile(r"Instance (\S+) (running|not running|creation failed)(?: in zone (\S+))?")
_DELETED = re.compile(r"Successfully deleted instance (\S+)")


@dataclass(slots=True)
class _Probe:
    gpus: int = 1
    model: str = "any"
    zone: str = ""
    created: bool = False
    events: list[tuple[float, bool]] = field(default_factory=list)


def read_toad(source: Source) -> CapacityTrace:
    """Read launch probes: a node is up from its creation until a probe finds it not running."""
    probes: dict[str, _Probe] = {}
    stamps: list[str] = []
    pending: list[tuple[str, int, bool]] = []
    unknown = 0
    for _number, line in source.lines():
        match = _STAMP.match(line)
        if match is None:
            unknown += bool(line.strip())
            continue
        change = _toad_change(match[2], probes)
        if change is None:
            unknown += 1
            continue
        pending.append((change[0], len(stamps), change[1]))
        stamps.append(match[1])
    if not pending:
        raise ReadError(f"{source.label} has no probe; check the file and --format.")
    times = _seconds(source, stamps)
    for name, at, up in pending:
        probes[name].events.append((float(times[at]), up))
    return _of_probes(source, list(probes.values()), float(times.max()), unknown)


def _toad_change(text: str, probes: dict[str, _Probe]) -> tuple[str, bool] | None:
    created, state, deleted = _CREATED.match(text), _STATE.match(text), _DELETED.match(text)
    if created:
        probe = probes.setdefault(created[1], _Probe())
        probe.gpus, probe.created = max(1, int(created[2])), True
        probe.model, probe.zone = created[3], created[4]
        return created[1], True
    if state:
        probe = probes.setdefault(state[1], _Probe())
        probe.zone = probe.zone or state[3] or ""
        return state[1], state[2] == "running"
    if deleted:
        probes.setdefault(deleted[1], _Probe())
        return deleted[1], False
    return None


def _seconds(source: Source, stamps: list[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    try:
        ticks = np.array(stamps, dtype="datetime64[us]").astype(np.int64)
    except ValueError:
        raise RowError(source.label, 0, "a time stamp names no date of the calendar",
                       "drop or mend the line") from None
    return np.asarray((ticks - ticks.min()) / 1e6)


def _of_probes(
    source: Source, probes: list[_Probe], span_s: float, unknown: int
) -> CapacityTrace:
    notes = ("A node is up from its creation until a probe finds it not running; probes are about "
             "15 minutes apart.",
             f"{sum(not probe.created for probe in probes)} nodes were never created: their size "
             "is taken as 1 GPU." if not all(probe.created for probe in probes) else "",
             f"{unknown} lines of other kinds were passed over." if unknown else "")
    models = list(dict.fromkeys(safe_model(probe.model) for probe in probes))
    events = [(time, at, up) for at, probe in enumerate(probes) for time, up in probe.events]
    return CapacityTrace.of(
        TOAD.meta(source, *notes), TOAD.kind, span_s=span_s, gap_s=0.0,
        initial_up=np.zeros(len(probes), np.bool_), models=models,
        gpus=[probe.gpus for probe in probes],
        model=[models.index(safe_model(probe.model)) for probe in probes],
        zone=opaque_codes([probe.zone for probe in probes]),
        time_s=[event[0] for event in events], node=[event[1] for event in events],
        up=[event[2] for event in events])


def read_infinitehbd(source: Source) -> CapacityTrace:
    """Read fault starts and ends; a node that ends a fault first was down from the start."""
    document = parse_json(source.text(), source.label)
    if not isinstance(document, list) or not document:
        raise ReadError(f"{source.label} holds no list of fault events; check --format.")
    events = [_fault(source.label, number, item) for number, item in enumerate(document, start=1)]
    ordered = sorted(events, key=lambda event: event[0])
    nodes = opaque_codes([name for _, name, _ in ordered])
    up = np.array([ended for _, _, ended in ordered])
    initial = np.ones(int(nodes.max()) + 1, np.bool_)
    first = np.unique(nodes, return_index=True)[1]
    initial[nodes[first]] = ~up[first]
    notes = ("Only nodes that ever fail are named in the log.",
             "" if ordered == events else "The file is not in order of time; it was sorted.")
    return CapacityTrace.of(
        INFINITEHBD.meta(source, *notes), INFINITEHBD.kind, span_s=ordered[-1][0],
        initial_up=initial, time_s=[event[0] for event in ordered], node=nodes, up=up, gpus=8)


def _fault(label: str, number: int, item: Json) -> tuple[float, str, bool]:
    try:
        name, day, what = item["node_id"], item["event_time"], item["event_type"]
        if type(day) not in (int, float) or not (math.isfinite(day) and day >= 0):
            raise ValueError
        if not isinstance(name, str) or what not in ("fault_start", "fault_end"):
            raise ValueError
        return day * DAY_S, name, what == "fault_end"
    except (KeyError, TypeError, ValueError):
        raise RowError(label, 0, f"event {number} lacks node_id, event_time in days or fault_start "
                       "or fault_end", "drop the event or download the file again") from None


TOAD = CapacityFormat(
    name="toad", title="ToaD launch probes on GCP (text)", kind="availability",
    clock="UTC, read as seconds from the first line",
    recognises=lambda source: not source.is_tar and bool(source.head) and (
        _STAMP.match(source.head[0]) is not None),
    read=read_toad, source="https://github.com/stanford-futuredata/training_on_a_dime",
    licence="MIT")
INFINITEHBD = CapacityFormat(
    name="infinitehbd", title="InfiniteHBD fault log (JSON)", kind="faults",
    clock="days from the start of the log",
    recognises=lambda source: not source.is_tar and '"node_id"' in "".join(source.head) and (
        '"event_time"' in "".join(source.head)),
    read=read_infinitehbd, source="https://github.com/stepfun-ai/InfiniteHBD-Trace",
    licence="Apache-2.0")
