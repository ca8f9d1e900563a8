"""Which requests an engine computes, as far as a door can tell that hears of no token in between.

An engine takes requests in the order in which they come, as many at a time as it has seats, and all
at once where nobody has said how many those are. Where its metrics tell its queue, they are right.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from serving_adapter.instance_rows import Flight
from serving_adapter.instances import InstanceTable


@dataclass(slots=True)
class _Batch:
    """What is inside one engine, in the order in which it came; None seats are as many as come."""

    seats: int | None = None
    running: dict[Flight, None] = field(default_factory=dict)
    queued: OrderedDict[Flight, None] = field(default_factory=OrderedDict)


class Seats:
    """Tells the table of requests that begin; of one event loop."""

    def __init__(self, table: InstanceTable) -> None:
        self._table = table
        self._batches: dict[int, _Batch] = {}

    def stated(self, instance_id: int, seats: int | None) -> None:
        """How many requests an engine computes at a time; None where nobody says."""
        self._batches[instance_id] = _Batch(seats)

    def forget(self, instance_id: int) -> None:
        """The engine has gone; what was inside may still leave."""
        self._batches.pop(instance_id, None)

    def sent(self, flight: Flight) -> None:
        """A request was dispatched, after all that are inside."""
        batch = self._batches.get(flight.instance_id)
        if batch is not None:
            batch.queued[flight] = None
            self._fill(batch)

    def left(self, flight: Flight) -> None:
        """A request has left its engine, which makes room for the next."""
        batch = self._batches.get(flight.instance_id)
        if batch is not None:
            batch.running.pop(flight, None)
            batch.queued.pop(flight, None)
            self._fill(batch)

    def _fill(self, batch: _Batch) -> None:
        while batch.queued and (batch.seats is None or len(batch.running) < batch.seats):
            flight, _ = batch.queued.popitem(last=False)
            batch.running[flight] = None
            self._table.begun(flight)
