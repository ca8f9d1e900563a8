"""A run of the search as it happens: what was tried, what was refused and why, who leads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from evolver.budget import Limits
from evolver.cli.screen import Live, Screen
from evolver.founders import VETERAN
from evolver.journal import Event, EventKind
from evolver.report import plain

REFUSALS_SHOWN = 3
BAR = 24


@dataclass(slots=True)
class EvolveView:
    """An event sink for people; where nobody watches, it writes a line per generation.

    Attributes:
        history: best score against the best human, by generation; below 1 is better.
        baselines: name and score of each human policy.
    """

    screen: Screen
    limits: Limits
    live: Live
    history: list[float] = field(default_factory=list)
    baselines: list[tuple[str, float]] = field(default_factory=list)
    phase: str = "scoring and tuning what people wrote"
    generation: Mapping[str, Any] = field(default_factory=dict)
    refusals: deque[str] = field(default_factory=lambda: deque(maxlen=REFUSALS_SHOWN))
    failures: set[str] = field(default_factory=set)
    best: tuple[str, float] | None = None
    started_s: float = field(default_factory=time.monotonic)

    @classmethod
    @contextmanager
    def on(cls, screen: Screen, limits: Limits) -> Iterator[EvolveView]:
        """The view for the length of a run."""
        with screen.live("") as live:
            yield cls(screen, limits, live)

    def on_event(self, event: Event) -> None:
        """Take one event of the run."""
        data: Mapping[str, Any] = event.data
        match event.kind:
            case EventKind.RUN_STARTED:
                self._started(data["windows"])
            case EventKind.HUMAN_SCORED if data["proposer"] == VETERAN:
                self._veteran(str(data["name"]), _number(data["score"]))
            case EventKind.HUMAN_SCORED:
                self.baselines.append((str(data["name"]), _number(data["score"])))
            case EventKind.CANDIDATE_REFUSED:
                self._refused(data)
            case EventKind.PROPOSER_FAILED:
                self._failed(data)
            case EventKind.CANDIDATE_SCORED:
                self._leads(str(data["idea"]), _number(data["score"]))
            case EventKind.TUNED:
                self._tuned(data)
            case EventKind.GENERATION_DONE:
                self._generation(event)
            case EventKind.CANDIDATE_CHOSEN:
                self.phase = "proving the best on sealed windows"
        self._draw()

    def _started(self, windows: Mapping[str, Any]) -> None:
        count = {split: len(names) for split, names in windows.items()}
        self.screen.note(
            f"{count['training']} windows to search on, {count['validation']} to choose on, "
            f"{count['sealed']} sealed for the proof"
        )

    def _veteran(self, name: str, score: float) -> None:
        self.screen.note(f"{name} won in an earlier run like this; here {_against(score)}")
        self._leads(name, score)

    def _refused(self, data: Mapping[str, Any]) -> None:
        first = data["refusals"][0]
        said = f"line {first['line']}: {first['reason']} {first['mend']}"
        if said not in self.refusals:
            self.refusals.append(said)

    def _failed(self, data: Mapping[str, Any]) -> None:
        """Said once for each reason, and once when a proposer is left out."""
        said = [f"{data['proposer']}: {data['reason']}"]
        if data["left_out"]:
            said.append(f"{data['proposer']} failed too often and is left out from here on.")
        for sentence in said:
            if sentence not in self.failures:
                self.failures.add(sentence)
                self.screen.warn(sentence)

    def _tuned(self, data: Mapping[str, Any]) -> None:
        """Before the search begins it is the baselines that get their constants tuned."""
        if any(name == data["of"] for name, _ in self.baselines):
            self.baselines.append((f"{data['of']}, tuned", _number(data["score"])))
        else:
            self._leads(str(data["idea"]), _number(data["score"]))

    def _leads(self, idea: str, score: float) -> None:
        if self.best is None or score < self.best[1]:
            self.best = (idea, score)

    def _generation(self, event: Event) -> None:
        self.phase = "searching"
        self.generation = event.data
        self.history.append(_number(event.data["best_score"]))
        if not self.live.shown:
            self.screen.note(self._line(event.generation, event.data))

    def _line(self, number: int, data: Mapping[str, Any]) -> str:
        return (
            f"generation {number}: {data['proposed']} proposed, {data['refused']} refused, "
            f"{data['scored']} scored; best {_against(_number(data['best_score']))} "
            f"({data['best_human']} {_against(_number(data['best_human_score']))})"
        )

    def _draw(self) -> None:
        if self.live.shown:
            from rich.text import Text

            self.live.update(Text(plain("\n".join(self._lines()))))

    def _lines(self) -> Iterator[str]:
        spent_s = time.monotonic() - self.started_s
        share = min(_number(self.generation.get("share", 0.0)), 1.0)
        if self.limits.seconds is not None:
            share = min(spent_s / self.limits.seconds, 1.0)
        full = round(share * BAR)
        yield f"{self.phase}  {'━' * full}{'╌' * (BAR - full)}  {spent_s:.0f} s"
        if self.baselines:
            name, score = min(self.baselines, key=lambda pair: pair[1])
            yield f"best baseline    {_against(score):>8}  {name}"
        if self.best is not None:
            yield f"best candidate   {_against(self.best[1]):>8}  {self.best[0][:70]}"
        data = self.generation
        if data:
            yield (
                f"candidates       {data['proposed']} proposed, {data['refused']} refused, "
                f"{data['duplicates']} known already, {data['scored']} scored in full"
            )
            if data["tokens"]:
                yield f"model            {data['tokens']:,} tokens, ${data['price_usd']:.2f}"
        for said in self.refusals:
            yield f"refused          {said[:80]}"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _against(score: float) -> str:
    """A score against the best human of each window, as a change of the objective."""
    return f"{score - 1.0:+.1%}"
