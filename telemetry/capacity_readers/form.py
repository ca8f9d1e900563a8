"""What a capacity format declares, and the ways its rows become nodes."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry.capacity import CapacityKind, CapacityTrace
from telemetry.errors import ReadError
from telemetry.readers.source import Source
from telemetry.trace import TraceMeta

MAX_NODES = 1_000_000


@dataclass(frozen=True, slots=True)
class CapacityFormat:
    """One native capacity format.

    Attributes:
        name: what ``--format`` takes; title: one phrase for people.
        kind: what its numbers mean: availability, demand or faults.
        clock: unit and zero of its clock.
        recognises, read: as for request formats; ``read(source, **options) -> CapacityTrace``.
        source, licence: where such files are published and under which terms.
    """

    name: str
    title: str
    kind: CapacityKind
    clock: str
    recognises: Callable[[Source], bool]
    read: Callable[..., CapacityTrace]
    source: str = ""
    licence: str = ""

    def meta(self, source: Source, *notes: str) -> TraceMeta:
        """The record of origin for one file."""
        return TraceMeta(name=source.name, format=self.name, clock=self.clock, source=self.source,
                         licence=self.licence).noting(*notes)


def safe_model(name: str) -> str:
    """A GPU model's name as written when it is plain, else ``any``: a file chose these bytes."""
    return name if re.fullmatch(r"[A-Za-z0-9-]{1,32}", name, re.ASCII) else "any"


@dataclass(frozen=True, slots=True)
class Lives:
    """Machines with a birth and a death, laid into as few slots as were ever in use at once.

    Attributes:
        slots: how many slots there are; initial_up: which are taken at time 0.
        time_s, node, up: the events.
    """

    slots: int
    initial_up: NDArray[np.bool_]
    time_s: NDArray[np.float64]
    node: NDArray[np.int64]
    up: NDArray[np.bool_]


def lives(births_s: Sequence[float], deaths_s: Sequence[float]) -> Lives:
    """Lay lives into slots; a birth takes the lowest free slot, deaths at its time come first.

    Births before 0 count as present at 0; a death of infinity never comes.
    """
    free: list[int] = []
    dying: list[tuple[float, int]] = []
    events: list[tuple[float, int, bool]] = []
    slots = 0
    for birth, death in sorted(zip(births_s, deaths_s, strict=True)):
        while dying and dying[0][0] <= birth:
            heapq.heappush(free, heapq.heappop(dying)[1])
        if not free:
            heapq.heappush(free, slots)
            slots += 1
        slot = heapq.heappop(free)
        events.append((birth, slot, True))
        if np.isfinite(death):
            heapq.heappush(dying, (death, slot))
            events.append((death, slot, False))
    if not 0 < slots <= MAX_NODES:
        raise ReadError("The file has no machine, or more than a million; check --format.")
    initial = np.zeros(slots, np.bool_)
    initial[[slot for time, slot, up in events if up and time <= 0]] = True
    later = sorted(event for event in events if event[0] > 0 or not event[2])
    return Lives(slots, initial, np.array([event[0] for event in later]),
                 np.array([event[1] for event in later], np.int64),
                 np.array([event[2] for event in later], np.bool_))


def lives_of_changes(changes: Sequence[tuple[float, str, bool]]) -> tuple[list[float], list[float]]:
    """Births and deaths out of (time, name, added) rows in order of time.

    A removal of an unknown machine makes one that was there from the start; a second addition of
    a present machine changes nothing.
    """
    births: list[float] = []
    deaths: list[float] = []
    present: dict[str, int] = {}
    for time, name, added in changes:
        if added and name not in present:
            present[name] = len(births)
            births.append(time)
            deaths.append(float("inf"))
        elif not added and name in present:
            deaths[present.pop(name)] = time
        elif not added:
            births.append(0.0)
            deaths.append(time)
    return births, deaths
