"""Runs side by side: what differed, how they went, and what they took to reach the same gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from evolver.cli.run_report import AXES, moves, points
from evolver.cli.run_words import dollars, duration, headline, share, verdict_word
from evolver.run_accounts import GAINS, reached, searched
from evolver.run_history import RunHistory, mapping, number_or_none, words
from sandbox.identity import canonical_json, text_digest
from sandbox.report import Cell, Report, Series

LETTERS = "ABCDEFGHIJKLMNOP"
NEAR = 0.02  # how far apart loads may be that are compared
GROUND = ("trace", "cluster", "load", "windows", "capacity", "mode")  # gains compare on equal ones


def compare_report(histories: Sequence[RunHistory]) -> Report:
    """The runs as A, B, C, ..."""
    report = Report("Runs compared")
    report.grid(
        ("", "run", "verdict", ">in search", ">proved", ">evals", ">time", ">cost"),
        [_row(letter, one) for letter, one in zip(LETTERS, histories, strict=False)],
    )
    differing = differences(histories)
    _said(report, histories, differing)
    _curves(report, histories)
    _reached(report, histories)
    return report


def _row(letter: str, history: RunHistory) -> tuple[str | Cell, ...]:
    return (
        Cell(letter), history.run.id[:12],
        Cell(verdict_word(history.verdict), headline(history)[1]), share(searched(history)),
        share(number_or_none(history.outcome.get("gain"))), f"{history.spent.evaluations:.0f}",
        duration(history.spent.seconds), dollars(history.spent.price_usd),
    )  # fmt: skip


def differences(histories: Sequence[RunHistory]) -> list[tuple[str, tuple[str, ...]]]:
    """What the runs were given that is not the same for all, as text to show."""
    given = [_given(history) for history in histories]
    names = list(dict.fromkeys(name for one in given for name in one))
    rows = [(name, tuple(one.get(name, "-") for one in given)) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _given(history: RunHistory) -> dict[str, str]:
    config = history.run.config
    cluster = mapping(config.get("cluster"))
    name, limits = words(cluster.get("name")), history.limits
    allowed = (
        [f"{key} {value:g}" for key, value in asdict(limits).items() if value] if limits else ()
    )
    return {
        "trace": words(config.get("trace"))[:12] or "-",
        "name": history.trace,
        "cluster": f"{name} {text_digest(canonical_json(cluster))[:8]}".strip() if cluster else "-",
        "load": _load(mapping(config.get("load"))),
        "windows": ", ".join(f"{count} {split}" for split, count in history.windows.items()),
        "capacity": words(config.get("capacity"))[:8] or "-",
        "mode": words(config.get("mode")) or "-",
        "seed": f"{config.get('seed', '-')}",
        "model": words(config.get("model")) or f"{config.get('model') or 'none'}",
        "limits": ", ".join(allowed) or "-",
    }


def _load(load: Mapping[str, object]) -> str:
    offered, share = number_or_none(load.get("offered_rps")), number_or_none(load.get("load"))
    if offered is None:
        return "-"
    of = "as recorded" if share is None else f"{share:.0%} of capacity"
    return f"{offered:.3f} requests/s, {of}"


def _alike(histories: Sequence[RunHistory]) -> bool:
    """One trace at one share of what the fleet serves, which each seed measures a little apart."""
    loads = [mapping(history.run.config.get("load")) for history in histories]
    offered = [number_or_none(load.get("offered_rps")) or 0.0 for load in loads]
    shares = {number_or_none(load.get("load")) for load in loads}
    names = {history.trace for history in histories}
    near = min(offered) > 0 and max(offered) <= (1.0 + NEAR) * min(offered)
    return len(names) == 1 and len(shares) == 1 and near


def _said(
    report: Report, histories: Sequence[RunHistory], differing: list[tuple[str, tuple[str, ...]]]
) -> None:
    apart = [name for name, _ in differing if name in GROUND]
    if not differing:
        sentence = "They were given the same."
    elif not apart:
        sentence = "Same trace, cluster and load: their gains can be compared."
    elif set(apart) <= {"trace", "load"} and _alike(histories):
        sentence = f"Same trace and cluster, loads within {NEAR:.0%}: their gains can be compared."
    else:
        sentence = f"They differ in {', '.join(apart)}: their gains are not of the same thing."
    report.say("", sentence)
    if differing:
        rows = [(name, *(value[:40] for value in values)) for name, values in differing]
        report.grid(("given", *LETTERS[: len(histories)]), rows)


def _curves(report: Report, histories: Sequence[RunHistory]) -> None:
    about = "gain over the best policy as people wrote it, on the windows of the search"
    report.heading("Best so far", about)
    for axis in AXES:
        series = [
            Series(f"{letter} {history.run.id[:12]}", points(history, axis))
            for letter, history in zip(LETTERS, histories, strict=False)
        ]
        if any(moves(one, axis) for one in series):
            report.curves(f"gain against {axis}", axis, series)


def _reached(report: Report, histories: Sequence[RunHistory]) -> None:
    rows = []
    for gain in GAINS:
        spent = [reached(history, gain) for history in histories]
        if all(one is None for one in spent):
            continue
        cells = [
            "never" if one is None
            else f"{one.evaluations:.1f}, {duration(one.seconds)}, {dollars(one.price_usd)}"
            for one in spent
        ]  # fmt: skip
        rows.append((f"{gain:.1%}", *cells))
    if rows:
        report.heading(
            "What a gain took", "evaluations, time and dollars until it was first reached"
        )
        report.grid((">gain", *(f">{letter}" for letter in LETTERS[: len(histories)])), rows)
