"""How numbers and verdicts of a run are said, the same in every table."""

from __future__ import annotations

import math

from evolver.run_history import RunHistory, Spent, words
from sandbox.report import Tone

VERDICTS = {
    "improved": ("A better policy was found.", Tone.GOOD),
    "no_change": ("No better policy was proved.", Tone.STRONG),
    "not_enough_evidence": ("Nothing could be proved.", Tone.STRONG),
    "failed": ("The run failed.", Tone.BAD),
    "stopped": ("The run was stopped.", Tone.STRONG),
}


def verdict_word(verdict: str | None) -> str:
    """A verdict for a table."""
    return verdict.replace("_", " ") if verdict else "unfinished"


def headline(history: RunHistory) -> tuple[str, Tone]:
    """The verdict as a sentence."""
    if history.verdict is None:
        return "This run has not finished.", Tone.STRONG
    known = VERDICTS.get(history.verdict)
    return known or (f"The run ended as {verdict_word(history.verdict)}.", Tone.STRONG)


def why(history: RunHistory) -> str:
    """The reason of the verdict, or what to do with a run that has none."""
    summary = history.run.summary or {}
    if history.verdict is None:
        at = f"{number(history.spent.evaluations, 'evaluation')}, {duration(history.spent.seconds)}"
        return f"Its record ends after {at}; resume it with: {resume(history.run.id)}"
    error = words(summary.get("error"))
    said = words(history.outcome.get("reason")) or words(summary.get("reason"))
    return said or (f"It ended with {error}." if error else "No reason was recorded.")


def pruned(history: RunHistory) -> tuple[str, ...]:
    """That a run's details are gone, where they are."""
    at = history.run.pruned_at
    if at is None:
        return ()
    return (
        f"Its details were removed on {at:%Y-%m-%d} (evolver store prune): the verdict, what it "
        "cost and its generations are kept; who was tried, and what models said, is gone.",
    )


def resume(run: str) -> str:
    """The command that goes on with a run."""
    return f"evolver evolve --resume {run[:12]}"


def change(score: float) -> str:
    """A score as a change of the objective against the best human of each window."""
    if not math.isfinite(score):
        return "-"
    return f"{score - 1.0:+.1%}".replace("-0.0%", "+0.0%")


def share(value: float | None) -> str:
    """A share or a gain in percent; a dash where it is unknown."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.1%}"


def dollars(value: float) -> str:
    """An amount of money; small ones keep their cents' parts."""
    return f"${value:.2f}" if value >= 1 or value == 0 else f"${value:.3f}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def number(count: float, what: str) -> str:
    """A count with its noun, one or many."""
    shown = f"{count:,.0f}"
    return f"{shown} {what}" if shown == "1" else f"{shown} {what}s"


def spent(value: Spent) -> str:
    """All of what was spent, in one line."""
    said = [number(value.evaluations, "evaluation"), duration(value.seconds)]
    if value.tokens:
        said += [f"{value.tokens:,} tokens", dollars(value.price_usd)]
    return ", ".join(said)


def short(text: str, most: int = 72) -> str:
    """The first line of foreign text, cut with a mark."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
