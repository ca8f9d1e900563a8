"""The result of a run for people: verdict, effects with intervals, gates, and the diff."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from pathlib import Path

from evolver.budget import Limits
from evolver.cli.evolve_view import EvolveView
from evolver.cli.run_report import baselines, proposers
from evolver.cli.run_words import VERDICTS, number, spent
from evolver.evolution import Evolution
from evolver.loop import RunResult
from evolver.run_history import Spent
from evolver.verdict import Effect, Outcome, Verdict
from evolver.written import written
from sandbox.changes import changes
from sandbox.report import Cell, Report, Tone


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
    said, tone = VERDICTS[verdict.outcome.value]
    report = Report(f"Evolution run {evolution.run[:12]}")
    report.say("", said, tone=tone).say(verdict.reason)
    baselines(report, view.history)
    _effects(report, verdict)
    if evolution.policy is not None:
        _candidate(report, evolution)
    proposers(report, view.history)
    report.say("", _spent(result), tone=Tone.DIM)
    proposed = (
        f"filed as {evolution.policy[:12]}, waiting for approval"
        if evolution.policy
        else ("nothing is proposed")
    )
    if evolution.close_up:
        report.say(evolution.close_up, tone=Tone.DIM)
    return report.say(f"run {evolution.run[:12]}: {proposed}", tone=Tone.DIM)


def _spent(result: RunResult) -> str:
    """What was tried, and what it took."""
    tally = result.tally
    tried = (
        f"{number(result.generations, 'generation')}, {number(tally.proposed, 'candidate')} "
        f"proposed, {tally.refused} refused, {tally.scored} scored in full"
    )
    return f"{tried}; " + spent(
        Spent(result.evaluations, result.seconds, result.tokens, result.price_usd)
    )


def next_steps(evolution: Evolution, trace: Path | None, view: EvolveView) -> list[str]:
    """The commands that make sense after this verdict."""
    verdict, look = evolution.result.verdict, f"evolver run show {evolution.run[:12]}"
    if evolution.policy is not None:
        short = evolution.policy[:12]
        return [
            f"evolver policy show {short}",
            f'evolver policy approve {short} --note "why"',
            f'evolver policy activate {short} --note "why"',
            look,
        ]
    if verdict.outcome is Outcome.NOT_ENOUGH:
        return ["evolver evolve LONGER_TRACE", look]
    again = f"evolver evolve {trace or 'TRACE'} ... {_more(view.limits)}"
    modelled = set(view.history.arms) - {"mutator", "tuner"}
    return [look, again if modelled else f"{again} --model PROVIDER/NAME"]


def _more(limits: Limits) -> str:
    """Five times the budget, of each kind that was limited."""
    given = {
        "seconds": limits.seconds, "evaluations": limits.evaluations, "tokens": limits.tokens,
        "usd": limits.price_usd,
    }  # fmt: skip
    return " ".join(f"--budget-{name} {5 * value:g}" for name, value in given.items() if value)


def _effects(report: Report, verdict: Verdict) -> None:
    if not verdict.effects:
        return
    report.grid(
        ("against", ">less time", ">95 % interval", ">p", ">sealed windows"),
        [_effect(effect) for effect in verdict.effects],
        f"the proof, on windows that the search did not see, of the best of {verdict.tried} "
        f"candidates tried and {verdict.finalists} finalists",
    )
    _gates(report, verdict)


def _gates(report: Report, verdict: Verdict) -> None:
    """Broken guardrails in full; the kept ones, too, where a person has to decide."""
    # against several rivals one gate has several sentences: the broken one counts
    broken = {gate.name: gate for gate in verdict.gates if not gate.passed}
    kept = {gate.name: gate for gate in verdict.gates if gate.name not in broken}
    for gate in broken.values():
        report.say(f"guardrail broken: {gate.sentence}", tone=Tone.BAD)
    if verdict.outcome is Outcome.IMPROVED:
        for gate in kept.values():
            report.say(f"guardrail kept: {gate.sentence}", tone=Tone.DIM)
    elif kept:
        names = ", ".join(name.replace("_", " ") for name in kept)
        report.say(f"guardrails kept: {names}", tone=Tone.DIM)


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
    report.heading(f"Against {human.name}").say(changes(before, after).sentence())
    report.code(diff_text(before, after, human.name, winner.name), "diff")


def diff_text(before: str, after: str, old: str, new: str) -> str:
    """A unified diff of two canonical sources; says so when they are equal."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), old, new, lineterm="", n=3
    )
    return "\n".join(lines) or "the sources are equal"
