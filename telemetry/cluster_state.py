"""The cluster now and before: a live state kept by events, and a capacity trace of its past.

Events may come late, twice or out of order, and a source that lists what it sees is heard as well:
what was on its last list and is not on this one has gone. A node whose notice has run out is gone,
whoever forgets to say so. Everything is bounded; what is too long ago stays as the state it left.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.capacity import CapacityTrace
from telemetry.cluster_events import Change, ClusterEvent, Node, in_order
from telemetry.errors import CapacityError
from telemetry.trace import TraceMeta

MOST_NODES = 20_000
MOST_EVENTS = 100_000  # of the past
_UP = frozenset({Change.PRESENT, Change.LEAVING})


@dataclass(frozen=True, slots=True)
class PoolState:
    """The nodes of one GPU model in one zone, in GPUs.

    Attributes:
        present: that serve now, the leaving ones included.
        leaving: of those, the ones under notice; grace_s: until the first of them goes, NaN
            where nobody said when.
        arriving: that were asked for.
    """

    gpu: str
    zone: str
    present: int
    leaving: int = 0
    grace_s: float = math.nan
    arriving: int = 0


@dataclass(slots=True)
class _Known:
    """The last that was heard of a node."""

    event: ClusterEvent
    source: str


class LiveCluster:
    """What is present, leaving and arriving; belongs to one thread."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._past: deque[ClusterEvent] = deque()
        self._began: dict[str, ClusterEvent] = {}  # before the first event of the past
        self._dropped_unix_s = -math.inf

    def take(self, events: Iterable[ClusterEvent], source: str = "") -> tuple[ClusterEvent, ...]:
        """Hear events; those that said something new.

        Args:
            source: of whoever lists all that it sees at times; a messenger has none, so that its
                notice leaves a node with the source that sees it.
        """
        return tuple(event for event in in_order(list(events)) if self._take(event, source))

    def see(self, source: str, nodes: Iterable[Node], unix_s: float) -> tuple[ClusterEvent, ...]:
        """Hear everything that a source sees now; the events that this amounts to.

        Nodes that this source saw before and no longer sees have failed, or gone if they were
        leaving.
        """
        seen = {node.name: node for node in nodes}
        events = [ClusterEvent(unix_s, Change.PRESENT, node) for node in seen.values()
                  if not self._is(node, Change.PRESENT, Change.LEAVING)]  # fmt: skip
        for name, known in self._known.items():
            if known.source == source and name not in seen and known.event.change in _UP:
                noticed = known.event.change is Change.LEAVING
                change = Change.GONE if noticed else Change.FAILED
                events.append(ClusterEvent(unix_s, change, known.event.node))
        return self.take(events, source)

    def pools(self, now_unix_s: float) -> tuple[PoolState, ...]:
        """GPUs by model and zone."""
        self._expire(now_unix_s)
        found: dict[tuple[str, str], PoolState] = {}
        for known in self._known.values():
            event, node = known.event, known.event.node
            at = found.get((node.gpu, node.zone), PoolState(node.gpu, node.zone, 0))
            if event.change is Change.ARRIVING:
                at = replace(at, arriving=at.arriving + node.gpus)
            elif event.change is Change.PRESENT:
                at = replace(at, present=at.present + node.gpus)
            elif event.change is Change.LEAVING:
                at = replace(
                    at, present=at.present + node.gpus, leaving=at.leaving + node.gpus,
                    grace_s=np.fmin(at.grace_s, event.until_unix_s - now_unix_s).item(),
                )  # fmt: skip
            else:
                continue
            found[node.gpu, node.zone] = at
        return tuple(found[key] for key in sorted(found))

    def nodes(self, now_unix_s: float) -> tuple[ClusterEvent, ...]:
        """The last event of every node that has not gone, by name."""
        self._expire(now_unix_s)
        alive = [k.event for k in self._known.values()
                 if k.event.change in _UP or k.event.change is Change.ARRIVING]  # fmt: skip
        return tuple(sorted(alive, key=lambda event: event.node.name))

    def trace(self, since_unix_s: float, until_unix_s: float) -> CapacityTrace:
        """The past as availability; time starts at `since_unix_s`.

        Raises:
            CapacityError: no node was there, or the stretch is empty or older than what is kept.
        """
        if since_unix_s < self._dropped_unix_s:
            raise CapacityError(
                f"Events before {self._dropped_unix_s:.0f} are no longer kept; ask for later ones."
            )
        self._expire(until_unix_s)
        lived = _lives([*self._began.values(), *self._past], since_unix_s, until_unix_s)
        if not lived or not until_unix_s > since_unix_s:
            raise CapacityError("No node was seen in that stretch; let a source of events run.")
        return _trace(lived, since_unix_s, until_unix_s)

    def _is(self, node: Node, *changes: Change) -> bool:
        known = self._known.get(node.name)
        return known is not None and known.event.node == node and known.event.change in changes

    def _take(self, event: ClusterEvent, source: str) -> bool:
        known = self._known.get(event.node.name)
        if known is not None:
            last = known.event
            same = (last.change, last.node) == (event.change, event.node)
            if event.unix_s < last.unix_s or (same and _as_soon(last, event)):
                known.source = source or known.source
                return False
            if event.change is Change.GONE and last.change is Change.FAILED:
                return False
            if event.change is Change.ARRIVING and last.change in _UP:
                return False
            if event.change is Change.FAILED and last.change is Change.LEAVING:
                event = replace(event, change=Change.GONE)
        elif len(self._known) >= MOST_NODES and not self._make_room():
            return False
        known_to = known.source if known is not None else ""
        self._known[event.node.name] = _Known(event, source or known_to)
        self._past.append(event)
        if len(self._past) > MOST_EVENTS:
            first = self._past.popleft()
            self._dropped_unix_s = first.unix_s
            self._began[first.node.name] = first
            if first.change not in _UP:
                del self._began[first.node.name]
        return True

    def _make_room(self) -> bool:
        """Forget a node that has gone; its events stay in the past."""
        gone = (n for n, k in self._known.items() if k.event.change in (Change.GONE, Change.FAILED))
        name = next(gone, None)
        return name is not None and self._known.pop(name) is not None

    def _expire(self, now_unix_s: float) -> None:
        for known in list(self._known.values()):
            event = known.event
            if event.change is Change.LEAVING and event.until_unix_s <= now_unix_s:
                # Clocks differ: a notice may have run out by the time it was given.
                gone_unix_s = max(event.until_unix_s, event.unix_s)
                self._take(ClusterEvent(gone_unix_s, Change.GONE, event.node), known.source)


def _as_soon(last: ClusterEvent, event: ClusterEvent) -> bool:
    both_unknown = math.isnan(last.until_unix_s) and math.isnan(event.until_unix_s)
    return both_unknown or last.until_unix_s == event.until_unix_s


@dataclass(frozen=True, slots=True)
class _Life:
    """One node from when it was there to when it was not; seconds from the stretch's start."""

    node: Node
    born_s: float
    died_s: float
    failed: bool


def _lives(events: Sequence[ClusterEvent], since: float, until: float) -> list[_Life]:
    """Lives that reach into the stretch; a node that becomes another one begins another life."""
    born: dict[str, ClusterEvent] = {}
    found: list[_Life] = []

    def end(name: str, unix_s: float, failed: bool) -> None:
        start = born.pop(name)
        if unix_s > max(since, start.unix_s):
            found.append(_Life(start.node, start.unix_s - since, unix_s - since, failed))

    for event in in_order(events):
        name = event.node.name
        if event.unix_s > until:
            break
        if event.change in _UP:
            if name in born and born[name].node != event.node:
                end(name, event.unix_s, failed=False)
            born.setdefault(name, event)
        elif name in born and event.change is not Change.ARRIVING:
            end(name, event.unix_s, failed=event.change is Change.FAILED)
    found += [_Life(e.node, e.unix_s - since, math.inf, failed=False) for e in born.values()]
    return [life for life in found if life.died_s > 0]


def _trace(lived: Sequence[_Life], since: float, until: float) -> CapacityTrace:
    """Lives laid into as few nodes of their kind as were ever there at once."""
    kinds = sorted({(life.node.zone, life.node.gpu, life.node.gpus) for life in lived})
    zones, models = sorted({kind[0] for kind in kinds}), sorted({kind[1] for kind in kinds})
    slots: list[tuple[str, str, int]] = []
    initial: list[bool] = []
    rows: list[tuple[float, int, bool, bool]] = []
    for kind in kinds:
        mine = [n for n in lived if (n.node.zone, n.node.gpu, n.node.gpus) == kind]
        free: list[int] = []
        dying: list[tuple[float, int]] = []
        for life in sorted(mine, key=lambda one: (one.born_s, one.died_s)):
            while dying and dying[0][0] <= life.born_s:
                heapq.heappush(free, heapq.heappop(dying)[1])
            if not free:
                heapq.heappush(free, len(slots))
                slots.append(kind)
                initial.append(False)
            slot = heapq.heappop(free)
            if life.born_s <= 0:
                initial[slot] = True
            else:
                rows.append((life.born_s, slot, True, False))
            if life.died_s <= until - since:
                heapq.heappush(dying, (life.died_s, slot))
                rows.append((life.died_s, slot, False, life.failed))
    # A slot that passes from one life to the next at one time stays up: the death comes first.
    rows.sort(key=lambda row: (row[0], row[2]))
    meta = TraceMeta(name="cluster", format="cluster_events", clock="seconds since its start")
    made = CapacityTrace.of(
        meta, "availability", span_s=until - since, initial_up=initial,
        time_s=[row[0] for row in rows], node=[row[1] for row in rows],
        up=[row[2] for row in rows], gpus=[kind[2] for kind in slots],
        zone=[zones.index(kind[0]) for kind in slots],
        model=[models.index(kind[1]) for kind in slots], models=models,
    )  # fmt: skip
    sudden = {(row[0], row[1]) for row in rows if row[3]}
    at = zip(made.time_s.tolist(), made.node.tolist(), made.up.tolist(), strict=True)
    return replace(
        made,
        unannounced=np.array([not up and (time, node) in sudden for time, node, up in at], bool),
    )
