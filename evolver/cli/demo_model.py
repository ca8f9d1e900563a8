"""The demo's search by a language model: recorded answers, or a model that is asked now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from evolver.budget import Limits
from evolver.cli.demo_pages import page
from evolver.cli.demo_scene import Scale
from evolver.cli.demo_view import SearchView, against
from evolver.cli.screen import Screen
from evolver.evolution import Evolution, evolve
from evolver.model_settings import ModelSettings
from evolver.problem import Problem
from evolver.recorded_rows import EXCHANGE
from evolver.recordings import exchange_of, read_recording, write_recording
from evolver.run_start import Writers
from evolver.verdict import Outcome
from policy_store import PolicyStore
from sandbox.report import Cell, Report, Tone

if TYPE_CHECKING:
    from evolver.loop import RunResult

RECORDING = Path(str(resources.files("evolver").joinpath("recorded", "demo.json")))
RECORD_ANEW = "evolver demo --model openai/NAME --api-base URL --record evolver/recorded/demo.json"
TUNER = "tuner"  # moves constants in both searches, and writes nothing


@dataclass(frozen=True, slots=True)
class ModelAct:
    """How the demo's model is asked.

    Attributes:
        model: to ask now; None takes the recorded answers.
        record: where to keep what it answers.
    """

    model: ModelSettings | None = None
    record: Path | None = None

    def writers(self) -> Writers:
        """The model alone: the mutator had its turn.

        Raises:
            RecordStale: the recorded answers cannot be read.
        """
        if self.model is not None:
            return Writers((self.model,), mutator=False)
        recording = read_recording(RECORDING)
        models = tuple(ModelSettings(name) for name in recording.models)
        return Writers(models, mutator=False, recording=recording)

    def search(
        self, screen: Screen, scene: Problem, scale: Scale, store: PolicyStore, writers: Writers
    ) -> tuple[Evolution, SearchView]:
        """The evolution by the model, told as it happens."""
        view = SearchView(screen, baselines_shown=False)
        live = writers.recording is None
        limits = Limits(
            evaluations=scale.model_evaluations, seconds=None if live else scale.seconds
        )
        evolution = evolve(scene, limits, store, writers=writers, sinks=(view,), remember=False)
        if self.record is not None:
            self._keep(store, evolution, scene)
        return evolution, view

    def _keep(self, store: PolicyStore, evolution: Evolution, scene: Problem) -> None:
        rows = store.runs.events(evolution.run)
        exchanges = [exchange_of(row.payload) for row in rows if row.kind == EXCHANGE]
        if self.record is not None:
            self.record.parent.mkdir(parents=True, exist_ok=True)
            write_recording(self.record, f"the demo's search on {scene.trace.meta.name}", exchanges)


def opening(writers: Writers, scale: Scale) -> Report:
    """Who writes now, and when it answered."""
    recording, model = writers.recording, writers.models[0].model
    if recording is None:
        about = f"Now {model} writes: it is asked as you watch."
    else:
        about = (
            f"Now a language model writes. Its answers are recorded: {model} gave them on "
            f"{recording.date} through an OpenAI-compatible endpoint. What it wrote is verified, "
            "simulated and judged now, like everything else."
        )
    report = page(4, "The same, by a model", about)
    if recording is not None and recording.stale:
        report.say("The prompts have changed since, so it answered to older ones.", tone=Tone.BAD)
    return report.say("", f"It has {scale.model_evaluations:.0f} evaluations.", tone=Tone.DIM)


def beside(runs: Sequence[tuple[str, Evolution]]) -> Report:
    """The searches side by side."""
    rows = [_row(who, evolution.result) for who, evolution in runs]
    columns = ("who wrote", ">texts", ">not legal", ">evaluations", ">on its windows", "on sealed")
    title = "the two searches, each with a budget and a proof of its own"
    return Report("side by side").grid(columns, rows, title)


def _row(who: str, result: RunResult) -> list[Cell]:
    best = min(member.score for member in result.members)
    verdict = result.verdict
    proved = verdict.outcome is Outcome.IMPROVED
    effect = verdict.effect
    said = "no gain proved"
    if proved and effect is not None:
        low, gain, high = (100 * value for value in (effect.low, effect.gain, effect.high))
        said = f"{gain:.1f} % better ({low:.1f} to {high:.1f})"
    written = sum(account.asked for arm, account in result.arms.items() if arm != TUNER)
    unfit = result.tally.refused + result.tally.unusable
    return [
        Cell(who), Cell(f"{written}"), Cell(f"{unfit}"),
        Cell(f"{result.evaluations:.0f}"), Cell(against(best)),
        Cell(said, Tone.GOOD if proved else Tone.PLAIN),
    ]  # fmt: skip


def better(runs: Sequence[tuple[str, Evolution]]) -> int:
    """Which of them goes on to approval: proved, and by the larger lower bound."""

    def rank(index: int) -> tuple[bool, float]:
        evolution = runs[index][1]
        effect = evolution.result.verdict.effect
        return (evolution.policy is not None, effect.low if effect else -1.0)

    return max(range(len(runs)), key=rank)
