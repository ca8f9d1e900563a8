"""A run of the search as it happens: what was tried, what was refused and why, who leads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evolver.archive import VETERAN
from evolver.budget import Limits
from evolver.cli.evolve_lines import Moment, live_lines
from evolver.cli.run_words import change, number
from evolver.cli.screen import Live, Screen
from evolver.journal import Event, EventKind
from evolver.run_accounts import Earned, earned
from evolver.run_history import RunHistory
from evolver.run_reader import Reader
from policy_store.records import Run
from sandbox.report import plain

if TYPE_CHECKING:
    from rich.text import Text

REFUSALS_SHOWN = 3
RUNGS = {
    "baselines": "scoring what people wrote",
    "veterans": "scoring winners of earlier runs",
    "variants": "trying the best under other conditions",
    "validation": "choosing on the validation windows",
    "sealed": "proving the best on sealed windows",
    "predictions": "trying it with worse predictions",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """An event as the store will have it."""

    kind: str
    payload: Mapping[str, object]
    at: datetime


def _nobody() -> Reader:
    return Reader(Run("", "evolve", {}, datetime.now(UTC), None, None, None))


@dataclass(slots=True)
class EvolveView:
    """An event sink and a `Progress` for people; unwatched, it writes a line per generation.

    Events and progress may come from several threads while the screen is drawn from another.
    """

    screen: Screen
    limits: Limits
    live: Live = field(default_factory=lambda: Live(None))
    phase: str = "scoring what people wrote"
    refusals: deque[str] = field(default_factory=lambda: deque(maxlen=REFUSALS_SHOWN))
    failures: set[str] = field(default_factory=set)
    replayed: int = 0
    replaying: bool = False
    earned: list[Earned] = field(default_factory=list)  # added up once a generation
    _reader: Reader = field(default_factory=_nobody)
    _asking: tuple[str, float] | None = None  # what, since when
    _scoring: tuple[str, float] | None = None
    _waiting: tuple[str, float] | None = None  # why, until when
    _event_s: float = 0.0
    _event_at_s: float = field(default_factory=time.monotonic)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    @contextmanager
    def on(cls, screen: Screen, limits: Limits) -> Iterator[EvolveView]:
        """The view for the length of a run."""
        view = cls(screen, limits)
        with screen.live(view) as live:
            view.live = live
            yield view

    @property
    def history(self) -> RunHistory:
        """The run so far."""
        return self._reader.history

    def on_event(self, event: Event) -> None:
        """Take one event of the run."""
        with self._lock:
            notes, warnings = self._take(event)
        # said without the lock: who draws holds the screen's and waits for this one
        self.screen.note(*notes)
        for sentence in warnings:
            self.screen.warn(sentence)

    def _take(self, event: Event) -> tuple[list[str], list[str]]:
        """What is to be said about an event, as notes and as warnings."""
        data: Mapping[str, Any] = event.data
        self._read(event)
        if event.replayed:
            self.replayed, self.replaying = self.replayed + 1, True
            return [], []
        notes, warnings = self._went_through(), []
        match event.kind:
            case EventKind.RUN_STARTED:
                notes.append(_windows(self.history.windows))
            case EventKind.HUMAN_SCORED if data["proposer"] == VETERAN:
                here = change(data["score"])
                notes.append(f"{data['name']} won in an earlier run like this; here {here}")
            case EventKind.CANDIDATE_REFUSED:
                self._refused(data)
            case EventKind.PROPOSER_FAILED:
                warnings = self._failed(data)
            case EventKind.ANSWERED:
                self._asking = None
            case EventKind.EVALUATED:
                self._scoring = None
            case EventKind.GENERATION_DONE:
                self.phase = f"searching, generation {event.generation + 1}"
                self.earned = earned(self.history)
                if not self.live.shown:
                    notes.append(_line(event.generation, data))
        return notes, warnings

    def asking(self, proposer: str, place: int, of: int) -> None:
        """A proposer is asked."""
        with self._lock:
            since = self._asking[1] if self._asking else time.monotonic()
            self._asking = f"asking {proposer}, {place} of {of}", since

    def scoring(self, done: int, of: int, rung: str) -> None:
        """Policies are scored."""
        with self._lock:
            since = self._scoring[1] if self._scoring and done else time.monotonic()
            self._scoring = f"scored {done} of {of} ({rung})", since
            if rung in RUNGS:
                self.phase = RUNGS[rung]
            elif not self.history.generations:
                self.phase = "tuning what people wrote"

    def waiting(self, reason: str, seconds: float) -> None:
        """Nothing can be done for some seconds."""
        with self._lock:
            self._waiting = reason, time.monotonic() + seconds

    def lines(self) -> list[str]:
        """What is drawn now."""
        with self._lock:
            phase, doing = self.phase, self._doing()
            seconds = self._event_s + time.monotonic() - self._event_at_s
            if self.replaying:
                phase, seconds = f"replaying the record, {self.replayed} events", self._event_s
            now = Moment(phase, seconds, doing, tuple(self.refusals), self.earned)
            return list(live_lines(self.history, self.limits, now))

    def __rich__(self) -> Text:
        """The lines, drawn anew with each refresh, so that the clock moves while a model thinks."""
        from rich.text import Text

        return Text(plain("\n".join(self.lines())), no_wrap=True, overflow="ellipsis")

    def _doing(self) -> list[str]:
        now_s = time.monotonic()
        going_on = [pair for pair in (self._asking, self._scoring) if pair is not None]
        said = [f"{what}, for {now_s - since:.0f} s" for what, since in going_on]
        if self._waiting is not None and self._waiting[1] > now_s:
            said.append(f"{self._waiting[0]}, {self._waiting[1] - now_s:.0f} s more")
        return said

    def _read(self, event: Event) -> None:
        payload = {
            "sequence": event.sequence, "generation": event.generation,
            "candidate": event.candidate, "seconds": event.seconds, **event.data,
        }  # fmt: skip
        self._reader.take(_Row(event.kind.value, payload, datetime.now(UTC)))
        self._event_s, self._event_at_s = event.seconds, time.monotonic()

    def _went_through(self) -> list[str]:
        """Said once, when a resumed run has come to the end of its record."""
        if not self.replaying:
            return []
        self.replaying = False
        return [f"went through {number(self.replayed, 'recorded event')} again; the run goes on"]

    def _refused(self, data: Mapping[str, Any]) -> None:
        first = data["refusals"][0]
        said = f"line {first['line']}: {first['reason']} {first['mend']}"
        if said not in self.refusals:
            self.refusals.append(said)

    def _failed(self, data: Mapping[str, Any]) -> list[str]:
        """Said once for each reason, and once when a proposer is left out."""
        said = [f"{data['proposer']}: {data['reason']}"]
        if data["left_out"]:
            said.append(f"{data['proposer']} is left out from here on.")
        new = [sentence for sentence in said if sentence not in self.failures]
        self.failures.update(new)
        return new


def _windows(count: Mapping[str, int]) -> str:
    return (
        f"{number(count.get('training', 0), 'window')} to search on, "
        f"{count.get('validation', 0)} to choose on, {count.get('sealed', 0)} sealed for the proof"
    )


def _line(generation: int, data: Mapping[str, Any]) -> str:
    return (
        f"generation {generation}: best {change(data['best_score'])} "
        f"({data['best_human']} {change(data['best_human_score'])}); so far {data['proposed']} "
        f"proposed, {data['refused']} refused, {data['scored']} scored"
    )
