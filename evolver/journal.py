"""What happened in a run, as numbered events: for the terminal, the store and a later resume.

    run_started         title, objective, regime, seed, windows {split: [names]}, units {split:
                        number}, rungs [names], arms, evaluation_cost
    human_scored        active, and the fields of candidate_scored
    candidate_refused   proposer, ask, idea, attempt, text, refusals [{line, code, reason, mend}]
    candidate_unusable  proposer, ask, attempt, reason (no candidate could be read in the answer)
    candidate_duplicate proposer, ask, idea, attempt, twin, how ("text" or "behaviour")
    proposer_failed     proposer, ask, reason, attempt, left_out (for the rest of the run)
    answered            answers, tokens, price_usd: a wave of proposals was judged
    evaluated           rung, jobs, cost: a chunk of jobs was scored
    candidate_dropped   proposer, ask, idea, attempt, name, parents, rung, reason ("fault", "twin",
                        "alike", "slower", "hopeless", "budget"), score, bar (of its
                        parent there), fault, objectives, text, parameters
    candidate_scored    proposer (of the structure), arm, ask, name, idea, parents, score,
                        parent_score, gain, text, parameters, objectives, fault, breaks (the
                        guardrail that it breaks on the training windows; null when it breaks
                        none), niche, island
    tuned               of, score_before, tried, and the fields of candidate_scored
    generation_done     best, best_score, best_human, best_human_score, evaluations, share, tokens,
                        price_usd, proposed, refused, unusable, duplicates, failed, dropped, scored,
                        faulted, arms {proposer: {asked, scored, gain, share, evaluations, tokens,
                        price_usd}}
    finalist            name, score, varied (score on the variants; none if it was not tried)
    candidate_chosen    name, score, human, human_score (on the validation windows)
    sealed_opened       windows, humans
    run_finished        outcome, reason, gain, low, high, tried, finalists, rivals [{name, roles,
                        gain, low, high, windows, p_value}], gates [{name, passed, sentence}],
                        evaluations, tokens, price_usd

`candidate` is the digest that an event is about, if any. Scores are geometric means relative to the
best human of each window: below 1 is better. `gain` is the logarithm of the parent's score over the
candidate's. `ask` names the try: GENERATION.PLACE.TRY.

Time moves with events only: `seconds` of an event is when it was written, and nothing in a run
reads a clock besides. So a run is a function of its inputs and of the times, results and answers
that its record holds: replaying the record gives the same events, and then the run goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from evolver.archive import Member
from evolver.errors import RecordStale
from evolver.task import Refusal, Results


class EventKind(StrEnum):
    """What an event is about."""

    RUN_STARTED = "run_started"
    HUMAN_SCORED = "human_scored"
    CANDIDATE_REFUSED = "candidate_refused"
    CANDIDATE_UNUSABLE = "candidate_unusable"
    CANDIDATE_DUPLICATE = "candidate_duplicate"
    PROPOSER_FAILED = "proposer_failed"
    ANSWERED = "answered"
    EVALUATED = "evaluated"
    CANDIDATE_DROPPED = "candidate_dropped"
    CANDIDATE_SCORED = "candidate_scored"
    TUNED = "tuned"
    GENERATION_DONE = "generation_done"
    FINALIST = "finalist"
    CANDIDATE_CHOSEN = "candidate_chosen"
    SEALED_OPENED = "sealed_opened"
    RUN_FINISHED = "run_finished"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, `seconds` into the run; `data` holds plain JSON values only."""

    sequence: int
    kind: EventKind
    generation: int
    candidate: str | None
    data: Mapping[str, object]
    seconds: float = 0.0
    replayed: bool = False  # it is in the record already


class EventSink(Protocol):
    """Takes events as they happen: a terminal, a store, a list in a test."""

    def on_event(self, event: Event) -> None:
        """Take one event; called in order, from one thread. Raising ends the run."""


class Journal:
    """Numbers and times the events of one run and hands them to every sink.

    Args:
        sinks: who is told.
        recorded: events of the same run before it was interrupted, in order.
        clock: gives seconds; replaced in tests.

    Attributes:
        seconds: when the latest event was written: the run's only notion of time.
    """

    def __init__(
        self,
        sinks: Sequence[EventSink] = (),
        recorded: Sequence[Event] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sinks = tuple(sinks)
        self._recorded = tuple(recorded)
        self._clock = clock
        self._started_s = clock()
        self._resumed_at_s = self._recorded[-1].seconds if self._recorded else 0.0
        self._sequence = 0
        self.generation = 0
        self.seconds = 0.0

    @property
    def replaying(self) -> bool:
        """Whether the next event is in the record."""
        return self._sequence < len(self._recorded)

    @property
    def live_seconds(self) -> float:
        """What the clock says; for deadlines of waits only, never for a decision."""
        return self._resumed_at_s + self._clock() - self._started_s

    def write(self, kind: EventKind, candidate: str | None = None, **data: object) -> None:
        """Record one event of the present generation.

        Raises:
            RecordStale: the record says that something else happened here.
        """
        event = Event(self._sequence, kind, self.generation, candidate, data)
        event = self._as_recorded(event) if self.replaying else self._timed(event)
        self._sequence += 1
        self.seconds = event.seconds
        for sink in self._sinks:
            sink.on_event(event)

    def _timed(self, event: Event) -> Event:
        return replace(event, seconds=max(self.live_seconds, self.seconds))

    def _as_recorded(self, event: Event) -> Event:
        known = self._recorded[self._sequence]
        if timeless(known) != timeless(event):
            raise RecordStale(
                f"Event {event.sequence} of the record is {known.kind}, and this version makes "
                f"{event.kind} differently: a run goes on only with the version that began it."
            )
        return replace(event, seconds=known.seconds, replayed=True)


def timeless(event: Event) -> tuple[object, ...]:
    """What equal runs have equal: everything but the time, as the store keeps it."""
    data = json.loads(json.dumps(dict(event.data)))
    return (event.sequence, event.kind, event.generation, event.candidate, data)


class EventList:
    """A sink that keeps everything in memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def of(self, kind: EventKind) -> list[Event]:
        """The events of one kind, in order."""
        return [event for event in self.events if event.kind is kind]


def refusals_as_data(refusals: Sequence[Refusal]) -> list[dict[str, int | str]]:
    """Refusals as plain JSON values."""
    return [{"line": r.line, "code": r.code, "reason": r.reason, "mend": r.mend} for r in refusals]


def scored_as_data(member: Member) -> dict[str, object]:
    """A scored member as plain JSON values."""
    return {
        "proposer": member.origin,
        "name": member.name,
        "idea": member.idea,
        "parents": list(member.parents),
        "score": member.score,
        "text": member.text,
        "parameters": dict(member.parameters),
        "objectives": objectives_as_data(member.results),
        "fault": first_fault(member.results),
        "breaks": member.breaks or None,
    }


def objectives_as_data(results: Results) -> dict[str, float]:
    """The objective of each window."""
    return {window: results[window].objective for window in sorted(results)}


def first_fault(results: Results) -> str | None:
    """The first fault in the order of window names, None when there was none."""
    for window in sorted(results):
        if results[window].fault is not None:
            return f"{window}: {results[window].fault}"
    return None
