"""The search of the demo as it happens, one calm line for each thing worth seeing."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evolver.cli.screen import STYLES, Screen
from evolver.journal import Event, EventKind
from sandbox.report import Tone, plain

IDEA_COLUMNS = 58
INDENT = 22
REFUSALS_SHOWN = 4
TEXT_COLUMNS = 76


@dataclass(slots=True)
class SearchView:
    """An event sink that prints to stdout.

    Attributes:
        baselines_shown: they have a line each.
        best: the best score of a candidate so far, against the best baseline of each window.
        baselines: scores of what people wrote, tuned ones included.
        parents: digests that each scored candidate was made from, by its digest.
        texts: name and source of what people wrote, by digest.
        refusals: codes of the refusals that were shown.
    """

    screen: Screen
    baselines_shown: bool = True
    best: float = 1.0
    baselines: dict[str, float] = field(default_factory=dict)
    parents: dict[str, Sequence[str]] = field(default_factory=dict)
    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)

    def on_event(self, event: Event) -> None:
        """Take one event of the run."""
        data: Mapping[str, Any] = event.data
        if event.candidate is not None and "parents" in data:
            self.parents[event.candidate] = data["parents"]
        match event.kind:
            case EventKind.HUMAN_SCORED:
                self.texts[str(event.candidate)] = str(data["name"]), str(data["text"])
                self._human("baseline", str(data["name"]), data["score"])
            case EventKind.TUNED if str(data["of"]) in self.baselines:
                self._human("tuned", f"{data['of']}, constants tuned", data["score"])
            case EventKind.CANDIDATE_SCORED | EventKind.TUNED:
                self._candidate(data)
            case EventKind.CANDIDATE_REFUSED:
                self._refused(data)
            case EventKind.GENERATION_DONE:
                self._generation(event.generation, data)
            case EventKind.SEALED_OPENED:
                self._line("proof", "opening the windows that the search did not see")

    def _human(self, kind: str, name: str, score: float) -> None:
        self.baselines[name] = score
        if self.baselines_shown:
            self._line(kind, name, f"{against(score):>8}")

    def _candidate(self, data: Mapping[str, Any]) -> None:
        score, idea = float(data["score"]), str(data["idea"])
        leads = score < min(self.best, *self.baselines.values())
        self.best = min(self.best, score)
        kind = "tuned" if "of" in data else "candidate"
        result = f"{against(score):>8}" + ("  best so far" if leads else "")
        if data["fault"] is not None:
            result = "failed a decision"
        self._line(kind, idea, result, Tone.GOOD if leads else Tone.PLAIN)

    def _refused(self, data: Mapping[str, Any]) -> None:
        first = data["refusals"][0]
        if first["code"] in self.refusals or len(self.refusals) >= REFUSALS_SHOWN:
            return  # the generation's line counts them all
        self.refusals.append(first["code"])
        self._line("refused", str(data["idea"]), " ", Tone.BAD)
        said = f"line {first['line']}: {first['reason']} {first['mend']}"
        for line in textwrap.wrap(plain(said), TEXT_COLUMNS):
            self.screen.out.print(" " * INDENT + line, style=STYLES[Tone.DIM], soft_wrap=True)

    def forebear(self, digest: str) -> tuple[str, str] | None:
        """Name and source of the policy of a person that a candidate descends from."""
        seen = set[str]()
        while digest not in self.texts:
            seen.add(digest)
            known = [parent for parent in self.parents.get(digest, ()) if parent not in seen]
            if not known:
                return None
            digest = known[0]
        return self.texts[digest]

    def _generation(self, number: int, data: Mapping[str, Any]) -> None:
        rival = min(self.baselines, key=self.baselines.__getitem__)
        self._line(
            f"generation {number}",
            f"{data['proposed']} proposed, {data['refused']} refused, {data['scored']} scored; best"
            f" {against(self.best)}, baseline {against(self.baselines[rival])}",
            "",
            Tone.STRONG,
        )

    def _line(self, kind: str, text: str, result: str = "", tone: Tone = Tone.PLAIN) -> None:
        spent_s = time.monotonic() - self.started_s
        if result and len(text) > IDEA_COLUMNS:
            text = text[: IDEA_COLUMNS - 1] + "…"
        line = f"{spent_s:4.0f} s  {kind:<13} {text:<{IDEA_COLUMNS}} {result}"
        self.screen.out.print(plain(line.rstrip()), style=STYLES[tone], soft_wrap=True)


def against(score: float) -> str:
    """A score as a change of the mean end-to-end time."""
    return f"{100 * (score - 1.0):+.1f} %"
