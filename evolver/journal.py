"""What happened in a run, as numbered events: for the terminal, the store and a later resume.

    run_started         title, objective, seed, windows {split: [names]}
    human_scored        name, active, and the fields of candidate_scored
    candidate_refused   proposer, idea, attempt, text, refusals [{line, code, reason, mend}]
    candidate_duplicate proposer, idea, attempt
    proposer_failed     proposer, reason, attempt, left_out (for the rest of the run)
    candidate_screened  proposer, idea, parents, score, promoted, fault, objectives
    candidate_scored    proposer, name, idea, parents, score, text, parameters, objectives, fault
    tuned               of, score_before, tried, and the fields of candidate_scored
    generation_done     best, best_score, best_human, best_human_score, evaluations, seconds,
                        share, tokens, price_usd, proposed, refused, duplicates, scored, faulted
    candidate_chosen    name, score, human, human_score (on the validation windows)
    sealed_opened       windows, humans
    run_finished        outcome, reason, gain, low, high, evaluations, seconds

`candidate` is the digest that an event is about, if any. Scores are geometric means relative to the
best human of each window: below 1 is better. Except for `seconds` (and
`share` under a limit in seconds), equal runs make equal events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from evolver.archive import Member
from evolver.task import Refusal, Results


class EventKind(StrEnum):
    """What an event is about."""

    RUN_STARTED = "run_started"
    HUMAN_SCORED = "human_scored"
    CANDIDATE_REFUSED = "candidate_refused"
    CANDIDATE_DUPLICATE = "candidate_duplicate"
    PROPOSER_FAILED = "proposer_failed"
    CANDIDATE_SCREENED = "candidate_screened"
    CANDIDATE_SCORED = "candidate_scored"
    TUNED = "tuned"
    GENERATION_DONE = "generation_done"
    CANDIDATE_CHOSEN = "candidate_chosen"
    SEALED_OPENED = "sealed_opened"
    RUN_FINISHED = "run_finished"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `data` holds plain JSON values only."""

    sequence: int
    kind: EventKind
    generation: int
    candidate: str | None
    data: Mapping[str, object]


class EventSink(Protocol):
    """Takes events as they happen: a terminal, a store, a list in a test."""

    def on_event(self, event: Event) -> None:
        """Take one event; called in order, from one thread. Raising ends the run."""


class Journal:
    """Numbers the events of one run and hands them to every sink."""

    def __init__(self, sinks: Sequence[EventSink] = ()) -> None:
        self._sinks = tuple(sinks)
        self._sequence = 0
        self.generation = 0

    def write(self, kind: EventKind, candidate: str | None = None, **data: object) -> None:
        """Record one event of the present generation."""
        event = Event(self._sequence, kind, self.generation, candidate, data)
        self._sequence += 1
        for sink in self._sinks:
            sink.on_event(event)


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
