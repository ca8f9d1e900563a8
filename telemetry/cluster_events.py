"""Nodes and instances that come and go, as events: what one is, and how a row becomes one.

A row is a JSON object: `unix_s`, `change` (arriving, present, leaving, gone or failed), `node`, and
where known `gpus`, `gpu`, `zone` and `until_unix_s`: when a leaving node will be taken away, or
when an arriving one should be there. Anything else in it is refused: a mistyped field that is
skipped would be a loss nobody hears of.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from telemetry.capacity_readers.form import safe_model
from telemetry.errors import RowError

MOST_BODY_BYTES = 256 * 2**10
MOST_ROWS = 1000  # of one body
MOST_LINE_BYTES = 4096
MOST_GPUS = 1024  # of one node
EARLIEST_UNIX_S, LATEST_UNIX_S = 1e9, 1e11
FARTHEST_AHEAD_S = 60.0  # clocks differ; a change announced for later is `leaving` with a time
_FIELDS = frozenset({"unix_s", "change", "node", "gpus", "gpu", "zone", "until_unix_s"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/\[\]@-]{0,127}", re.ASCII)
_REMEDY = "mend the row and send it again"


class Change(StrEnum):
    """What happened to a node."""

    ARRIVING = "arriving"  # asked for, not there yet
    PRESENT = "present"
    LEAVING = "leaving"  # somebody gave notice
    GONE = "gone"
    FAILED = "failed"  # gone, and nobody gave notice


@dataclass(frozen=True, slots=True)
class Node:
    """What stands there.

    Attributes:
        name: of a machine or an instance, as its source calls it.
        gpus: that it brings; gpu: their model, `any` where nobody says.
    """

    name: str
    gpus: int = 1
    gpu: str = "any"
    zone: str = ""


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """One change of one node.

    Attributes:
        until_unix_s: when a leaving node is taken away, an arriving one is expected; NaN unknown.
    """

    unix_s: float
    change: Change
    node: Node
    until_unix_s: float = math.nan


def events_of(body: bytes, where: str = "the body") -> tuple[ClusterEvent, ...]:
    """The events of a JSON list of rows, of one row, or of JSON lines.

    Raises:
        RowError: a row is malformed, with its number from 1; or there is too much of it all.
    """
    if len(body) > MOST_BODY_BYTES:
        raise RowError(where, 0, f"it is over {MOST_BODY_BYTES >> 10} KiB", "send fewer rows")
    text = body.decode("utf-8", "replace").strip()
    if text.startswith("["):
        rows = _parsed(text, where, 0)
        found = rows if isinstance(rows, list) else [rows]
    else:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) > MOST_ROWS:
            raise RowError(where, 0, f"it has over {MOST_ROWS} rows", "send fewer rows")
        found = [_parsed(line, where, number) for number, line in enumerate(lines, 1)]
    if len(found) > MOST_ROWS:
        raise RowError(where, 0, f"it has over {MOST_ROWS} rows", "send fewer rows")
    return tuple(event_of(row, where, number) for number, row in enumerate(found, 1))


def event_of(row: object, where: str, number: int) -> ClusterEvent:
    """One row as an event.

    Raises:
        RowError: it is none.
    """
    if not isinstance(row, Mapping):
        raise RowError(where, number, "the row is no JSON object", _REMEDY)
    if unknown := sorted(str(key)[:40] for key in row.keys() - _FIELDS):
        known = ", ".join(sorted(_FIELDS))
        raise RowError(where, number, f"there are {len(unknown)} fields besides {known}", _REMEDY)
    unix_s = _seconds(row.get("unix_s"), "unix_s", where, number)
    try:
        change = Change(str(row.get("change")))
    except ValueError:
        words = ", ".join(Change)
        raise RowError(where, number, f"change is none of {words}", _REMEDY) from None
    until_unix_s = math.nan
    if row.get("until_unix_s") is not None:
        until_unix_s = _seconds(row["until_unix_s"], "until_unix_s", where, number)
    return ClusterEvent(unix_s, change, _node(row, where, number), until_unix_s)


def row_of(event: ClusterEvent) -> dict[str, object]:
    """The row of an event; fields that are not known are left out."""
    node = event.node
    row: dict[str, object] = {"unix_s": event.unix_s, "change": event.change.value}
    row |= {"node": node.name, "gpus": node.gpus, "gpu": node.gpu}
    if node.zone:
        row["zone"] = node.zone
    if math.isfinite(event.until_unix_s):
        row["until_unix_s"] = event.until_unix_s
    return row


def plain_node(name: object, gpus: object, gpu: object, zone: object) -> Node | None:
    """What an API says of a node, if it can be taken; None otherwise."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        return None
    if isinstance(gpus, bool) or not isinstance(gpus, int) or not 1 <= gpus <= MOST_GPUS:
        return None
    plain = isinstance(zone, str) and bool(_NAME.fullmatch(zone))
    return Node(
        name, gpus, safe_model(gpu) if isinstance(gpu, str) else "any", str(zone) if plain else ""
    )


def _node(row: Mapping[str, object], where: str, number: int) -> Node:
    zone, gpu = row.get("zone", ""), row.get("gpu", "any")
    if not isinstance(gpu, str) or safe_model(gpu) != gpu:
        raise RowError(where, number, "gpu is no plain name of a GPU model", _REMEDY)
    if zone != "" and not (isinstance(zone, str) and _NAME.fullmatch(zone)):
        raise RowError(where, number, "zone is no plain name", _REMEDY)
    node = plain_node(row.get("node"), row.get("gpus", 1), gpu, zone)
    if node is None:
        raise RowError(
            where, number, f"node is no plain name, or gpus are not from 1 to {MOST_GPUS}", _REMEDY
        )
    return node


def _seconds(value: object, field: str, where: str, number: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(where, number, f"{field} is no number", _REMEDY)
    if not EARLIEST_UNIX_S <= value <= LATEST_UNIX_S:
        raise RowError(where, number, f"{field} is no Unix time in seconds", _REMEDY)
    return float(value)


def _parsed(text: str, where: str, number: int) -> object:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        raise RowError(where, number, "this is no JSON", _REMEDY) from None
    return found


def in_order(events: Sequence[ClusterEvent]) -> list[ClusterEvent]:
    """By time; those of one time as they came."""
    return sorted(events, key=lambda event: event.unix_s)
