"""A whole run as one page: the report, every scored candidate in a figure, sources folded away."""

from __future__ import annotations

from evolver.cli.evolve_report import diff_text
from evolver.cli.run_report import run_report, source_title
from evolver.cli.run_words import number
from evolver.run_accounts import family, gain_over, lineage, reasons
from evolver.run_history import Rejected, RunHistory, Scored
from sandbox.report import Report, Series

SCORED_SHOWN, REJECTED_SHOWN = 60, 30  # sources: of the best, and of each reason
MOST_CHARACTERS = 20_000  # of one source


def run_page(history: RunHistory) -> Report:
    """What `run show` says, and the sources behind it."""
    report = run_report(history)
    _everyone(report, history)
    _winner(report, history)
    _sources(report, history)
    _rejected(report, history)
    return report


def _everyone(report: Report, history: RunHistory) -> None:
    """Every scored candidate against the evaluations at its time; the winner's line apart."""
    fit = [one for one in history.scored if not one.fault]
    if not fit:
        return
    line = family(history)
    kin = sorted((one for one in fit if one.digest in line), key=lambda one: one.spent.evaluations)
    report.heading("Everyone who was scored", "gain over the best policy as people wrote it")
    series = [
        Series("the winner and its ancestors", tuple(_dot(history, one) for one in kin)),
        Series("all others", tuple(_dot(history, one) for one in fit if one.digest not in line),
               dots=True),
    ]  # fmt: skip
    report.curves("gain against evaluations", "evaluations", series)


def _dot(history: RunHistory, one: Scored) -> tuple[float, float]:
    return one.spent.evaluations, max(gain_over(history.untuned, one.score), -1.0)


def _winner(report: Report, history: RunHistory) -> None:
    """Against the human policy that it descends from, else the best one."""
    line, winner = lineage(history), history.winner
    human = line[0].scored if line and line[0].scored.human else history.tuned
    if winner is None or human is None:
        return
    report.heading(f"{winner.name} against {human.name}")
    if winner.idea:
        report.say(winner.idea)
    before, after = _cut(human.text), _cut(winner.text)
    report.code(diff_text(before, after, human.name, winner.name), "diff")
    moved = {
        name: value
        for name, value in winner.parameters.items()
        if human.parameters.get(name) != value
    }
    rows = [(name, f"{value:g}", _value(human, name)) for name, value in sorted(moved.items())]
    if rows:
        report.grid(("constant", f">{winner.name}", f">{human.name}"), rows)


def _value(human: Scored, name: str) -> str:
    return f"{human.parameters[name]:g}" if name in human.parameters else "-"


def _sources(report: Report, history: RunHistory) -> None:
    ranked = sorted((*history.baselines, *history.scored), key=lambda one: one.score)
    shown = ranked[:SCORED_SHOWN]
    if not shown:
        return
    left = f", the best {len(shown)} of {len(ranked)}" if len(ranked) > len(shown) else ""
    report.heading("Sources", f"as they were scored, best first{left}")
    for one in shown:
        inside = Report("").say(_origin(one))
        if one.fault:
            inside.say(f"failed: {one.fault}")
        report.fold(source_title(one), inside.code(_cut(one.text)))


def _origin(one: Scored) -> str:
    by = "written by people" if one.human else f"by {one.proposer}"
    parents = f", from {', '.join(parent[:12] for parent in one.parents)}" if one.parents else ""
    constants = ", ".join(f"{name} = {value:g}" for name, value in sorted(one.parameters.items()))
    return f"{one.digest[:12]}, {by}{parents}; {constants or 'no constants'}"


def _rejected(report: Report, history: RunHistory) -> None:
    found = [reason for reason in reasons(history, REJECTED_SHOWN) if _told(reason.examples)]
    if not found:
        return
    report.heading("What came to nothing", "one of each different reason")
    for reason in found:
        inside = Report("")
        for one in reason.examples:
            inside.say(f"{one.proposer}: {one.reason}")
            if one.text:
                inside.fold(one.idea or "its text", Report("").code(_cut(one.text)))
        by = ", ".join(f"{name} {count}" for name, count in reason.proposers)
        report.fold(f"{reason.kind}, {reason.code}: {number(reason.count, 'time')} ({by})", inside)


def _told(examples: tuple[Rejected, ...]) -> bool:
    return any(one.text or one.reason for one in examples)


def _cut(text: str) -> str:
    left = len(text) - MOST_CHARACTERS
    return text if left <= 0 else f"{text[:MOST_CHARACTERS]}\n# and {left:,} more characters"
