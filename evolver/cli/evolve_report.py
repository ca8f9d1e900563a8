"""The result of a run for people: verdict, effects with intervals, gates, and the diff."""

from __future__ import annotations

import difflib
from dataclasses import asdict

from evolver.cli.evolve_view import EvolveView
from evolver.cli.run_words import VERDICTS
from evolver.evolution import Evolution
from evolver.report import Cell, Report, Tone
from evolver.verdict import Effect, Verdict
from evolver.written import written


def document_of(evolution: Evolution) -> dict[str, object]:
    """The JSON document, without its schema."""
    result, verdict = evolution.result, evolution.result.verdict
    effect = verdict.effect
    return {
        "verdict": verdict.outcome.value,
        "policy": evolution.policy,
        "best_human": verdict.best_human.name,
        "effect": None if effect is None else {
            "metric": "objective_s", "relative": effect.gain, "low": effect.low,
            "high": effect.high, "windows": effect.windows, "sealed": True,
            "against": effect.rival.name,
        },
        "evaluations": result.evaluations,
        "seconds": result.seconds,
        "tokens": result.tokens,
        "price_usd": result.price_usd,
        "rivals": [rival.as_data() for rival in verdict.effects],
        "tried": verdict.tried,
        "finalists": verdict.finalists,
        "run": evolution.run,
        "reason": verdict.reason,
        "generations": result.generations,
        "candidates": asdict(result.tally),
        "evidence": evolution.evidence.digest if evolution.evidence else None,
        "notes": list(evolution.windows.notes),
    }  # fmt: skip


def report_of(evolution: Evolution, view: EvolveView) -> Report:
    """Everything a person needs to decide on."""
    result, verdict = evolution.result, evolution.result.verdict
    report = Report(f"Evolution run {evolution.run[:12]}")
    headline, tone = VERDICTS[verdict.outcome.value]
    report.say("", headline, tone=tone)
    report.say(verdict.reason)
    _baselines(report, view)
    _effects(report, verdict)
    if evolution.policy is not None:
        _candidate(report, evolution)
    tally = result.tally
    spent = (
        f"{result.generations} generations, {tally.proposed} candidates proposed, {tally.refused} "
        f"refused, {tally.scored} scored in full; {result.evaluations:.0f} evaluations in "
        f"{result.seconds:.0f} s"
    )
    if result.tokens:
        spent += f", {result.tokens:,} tokens, ${result.price_usd:.2f}"
    report.say("", spent, tone=Tone.DIM)
    proposed = f"filed as {evolution.policy[:12]}, waiting for approval" if evolution.policy else (
        "nothing is proposed")
    return report.say(f"run {evolution.run[:12]}: {proposed}", tone=Tone.DIM)


def _baselines(report: Report, view: EvolveView) -> None:
    """Baselines and the best candidate on the windows of the search."""
    ranked = sorted(view.baselines, key=lambda pair: pair[1])
    rows: list[list[str | Cell]] = [[name, f"{score - 1:+.1%}"] for name, score in ranked]
    if view.history:
        best = min(view.history)
        rows.insert(0, [Cell("best candidate", Tone.STRONG), Cell(f"{best - 1:+.1%}", Tone.STRONG)])
    title = "on the windows of the search, against the best baseline of each window"
    report.grid(("policy", ">end-to-end time"), rows, title)


def _effects(report: Report, verdict: Verdict) -> None:
    if not verdict.effects:
        return
    report.grid(
        ("against", ">less time", ">95 % interval", ">p", ">sealed windows"),
        [_effect(effect) for effect in verdict.effects],
        f"the proof, on windows that the search did not see, of the best of {verdict.tried} "
        f"candidates tried and {verdict.finalists} finalists",
    )
    # against several rivals one gate has several sentences: the broken one counts
    gates = {gate.name: gate for gate in verdict.gates}
    broken = {gate.name: gate for gate in verdict.gates if not gate.passed}
    for gate in {**gates, **broken}.values():
        kept = "kept" if gate.passed else "broken"
        report.say(f"guardrail {kept}: {gate.sentence}", tone=Tone.DIM if gate.passed else Tone.BAD)


def _effect(effect: Effect) -> tuple[str | Cell, ...]:
    tone = Tone.GOOD if effect.proved else Tone.PLAIN
    return (
        effect.against, Cell(f"{effect.gain:.1%}", tone),
        f"{effect.low:.1%} .. {effect.high:.1%}", f"{effect.p_value:.2g}", f"{effect.windows}",
    )  # fmt: skip


def _candidate(report: Report, evolution: Evolution) -> None:
    verdict = evolution.result.verdict
    winner, human = verdict.winner, verdict.best_human
    if winner is None:
        return
    if winner.idea:
        report.heading("What is new").say(winner.idea)
    before = written(human.text, human.parameters).canonical
    after = written(winner.text, winner.parameters).canonical
    report.heading(f"Against {human.name}")
    report.code(diff_text(before, after, human.name, winner.name), "diff")


def diff_text(before: str, after: str, old: str, new: str) -> str:
    """A unified diff of two canonical sources; says so when they are equal."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), old, new, lineterm="", n=3
    )
    return "\n".join(lines) or "the sources are equal"
