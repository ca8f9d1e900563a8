"""What the record of an interrupted run holds, for the loop to go through again and go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evolver.journal import Event
from evolver.task import WindowResult


@dataclass(frozen=True, slots=True)
class History:
    """Empty for a run that begins.

    Attributes:
        events: in order, from the first.
        results: by digest and window; some may have come after the last event.
    """

    events: tuple[Event, ...] = ()
    results: Mapping[tuple[str, str], WindowResult] = field(default_factory=dict)
