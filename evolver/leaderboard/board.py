"""The leaderboard as a report and as a document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evolver.leaderboard.contest import Effort
from evolver.leaderboard.ratios import Ratio
from evolver.leaderboard.spec import ScenarioSpec
from evolver.leaderboard.standings import (
    WON_SHARE,
    Added,
    Own,
    Result,
    added,
    best_tuned,
    cells,
    own,
    places,
)
from sandbox.report import Cell, Report, Tone

_TONES = {"better": Tone.GOOD, "worse": Tone.BAD, "even": Tone.DIM}


def document_of(
    specs: Sequence[ScenarioSpec], results: Sequence[Result], effort: Effort, seconds: float
) -> dict[str, object]:
    """Everything that was run and found, as plain values."""
    by_name = {spec.name: spec for spec in specs}
    rows = []
    for result in results:
        spec, more = by_name[result["scenario"]], added(result)
        rows.append({
            "name": spec.name, "system": spec.about, "paper": spec.paper or spec.code,
            "decides": list(spec.decides), "metric": spec.metric.model_dump(),
            "baseline": spec.baseline.policy, "windows": result["windows"],
            "headlines": [one.model_dump() for one in spec.headline],
            "differs": list(spec.differs),
            "cells": {
                kind: {name: _plain(one) for name, one in cells(result, spec, kind).items()}
                for kind in ("written", "tuned")
            },
            "best_tuned": best_tuned(result), "own": _plain(own(result, spec)),
            "evolved": _plain(more) if more is None else {
                **(_plain(more) or {}), "won": more.won, "idea": result["evolved"]["idea"],
                "text": result["evolved"]["text"],
                "candidates": result["evolved"]["candidates"],
            },
            "entrants": result["entrants"], "requests": result["requests"],
            "cpu_s": result["cpu_s"],
        })  # fmt: skip
    return {
        "leaderboard": rows,
        "policies": [asdict(one) for one in places(results, by_name)],
        "effort": asdict(effort),
        "won": _won(results), "wall_s": seconds,
    }  # fmt: skip


def _plain(value: Ratio | Own | Added | None) -> dict[str, Any] | None:
    return None if value is None else asdict(value)


def _won(results: Sequence[Result]) -> dict[str, int]:
    more = [one for result in results if (one := added(result)) is not None]
    return {"won": sum(one.won for one in more), "of": len(more)}


def report_of(
    specs: Sequence[ScenarioSpec], results: Sequence[Result], effort: Effort, seconds: float
) -> Report:
    """Tables for people; what only a page shows is folded."""
    by_name = {spec.name: spec for spec in specs}
    report = Report("Leaderboard: the field's policies on the field's scenarios")
    report.say(
        "A ratio is how many times better: mean end-to-end time of the scenario's baseline over "
        "the entrant's, geometric mean over sealed windows with its 95 % interval; above 1 is "
        "better. Lost requests are charged. Nothing that tunes, evolves or chooses looks at them.",
        f"{len(results)} scenarios in {seconds:.0f} s.",
    )
    _systems(report, by_name, results)
    _scenarios(report, by_name, results)
    _policies(report, by_name, results)
    _matrix(report, by_name, results, "tuned" if effort.tries is not None else "written")
    _notes(report, by_name, results)
    return report


def shown(one: Ratio | None) -> Cell:
    """A ratio with its interval."""
    if one is None or math.isnan(one.mean):
        return Cell("-", Tone.DIM)
    if math.isnan(one.low):
        return Cell(f"{one.mean:.2f}", Tone.DIM)
    return Cell(f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f})", _TONES[one.verdict])


def gain(one: Ratio) -> Cell:
    """A ratio as share of time saved, with its interval."""
    if math.isnan(one.mean):
        return Cell("-", Tone.DIM)
    mean, low, high = (100.0 * (1.0 - 1.0 / x) for x in (one.mean, one.low, one.high))
    ends = "" if math.isnan(one.low) else f" ({low:+.1f} to {high:+.1f})"
    return Cell(f"{mean:+.1f} %{ends}", _TONES[one.verdict])


def _systems(report: Report, specs: Mapping[str, ScenarioSpec], results: Sequence[Result]) -> None:
    report.heading(
        "Each system on its own scenario",
        "by the scenario's own metric, against its baseline as written; constants were tuned for "
        "mean end-to-end time; published numbers are of other hardware, models and baselines",
    )
    rows: list[list[str | Cell]] = []
    for result in results:
        spec = specs[result["scenario"]]
        mine = own(result, spec)
        published = "; ".join(
            f"{one.kind} {one.ratio:g} ({one.of}, against {one.against})" for one in spec.headline
        )
        rows.append([
            spec.about, spec.name, spec.metric.name, spec.baseline.policy, published or "none",
            shown(mine.written if mine else None), shown(mine.tuned if mine else None),
        ])  # fmt: skip
    report.grid(
        ("system", "scenario", "metric", "baseline", "published", "ours as written", "ours tuned"),
        rows,
    )


def _scenarios(
    report: Report, specs: Mapping[str, ScenarioSpec], results: Sequence[Result]
) -> None:
    report.heading(
        "Scenario by scenario",
        "the best of the library in hindsight, and what evolution adds to it",
    )
    rows: list[list[str | Cell]] = []
    lost: list[list[str | Cell]] = []
    for result in results:
        name = best_tuned(result)
        best = cells(result, specs[result["scenario"]], "tuned")[name]
        more = added(result)
        mine: list[str | Cell] = ["-", "-", ""]
        if more is not None:
            mine = [gain(more.over), gain(more.over_chosen), "won" if more.won else ""]
            lost += [] if more.won else [[result["scenario"], more.reason]]
        rows.append([
            result["scenario"], f"{len(result['entrants'])}", name, shown(best), *mine
        ])  # fmt: skip
    columns = ("scenario", ">entrants", "best of the library", "its ratio to the baseline",
               "evolved saves beside it", "beside the chosen one", "")  # fmt: skip
    report.grid(columns, rows)
    if lost:
        report.grid(("where it does not win", "why"), lost)
    found = _won(results)
    if found["of"]:
        asked = math.ceil(WON_SHARE * found["of"])
        report.say(
            f"Evolution beats the best of the tuned library in {found['won']} of {found['of']} "
            f"scenarios, the whole interval above none; the aim is {asked}."
        )


def _policies(report: Report, specs: Mapping[str, ScenarioSpec], results: Sequence[Result]) -> None:
    report.heading(
        "Policy by policy", "over the scenarios in which each takes part, so not the same ones"
    )
    rows = [
        [one.name, one.group, f"{one.scenarios}", f"{one.written:.2f}", f"{one.tuned:.2f}",
         f"{one.wins}"]
        for one in places(results, specs)
    ]  # fmt: skip
    report.grid(("policy", "decides", ">scenarios", ">as written", ">tuned", ">best in"), rows)


def _matrix(
    report: Report, specs: Mapping[str, ScenarioSpec], results: Sequence[Result], kind: str
) -> None:
    inside = Report("")
    for result in results:
        spec = specs[result["scenario"]]
        both = [cells(result, spec, one) for one in ("written", kind)]
        order = sorted(both[1], key=lambda name: (-both[1][name].mean, name))
        rows: list[list[str | Cell]] = [
            [name, shown(both[0][name]), shown(both[1][name]), _fault(result, name)]
            for name in order
        ]
        inside.grid(("policy", "as written", "tuned", "fault"), rows, title=spec.name)
    report.fold("Every policy on every scenario", inside)


def _fault(result: Result, name: str) -> str:
    entrant = result["entrants"][name]
    return (entrant.get("tuned") or entrant["written"])["fault"] or ""


def _notes(report: Report, specs: Mapping[str, ScenarioSpec], results: Sequence[Result]) -> None:
    for result in results:
        spec, inside = specs[result["scenario"]], Report("")
        inside.say(f"{spec.paper or spec.code} ({spec.read}): {spec.says}")
        inside.say(f"Baseline {spec.baseline.policy}: {spec.baseline.why}", spec.load_why,
                   spec.cluster_why)  # fmt: skip
        inside.say(*(f"Ours differs: {sentence}" for sentence in spec.differs))
        evolved = result["evolved"]
        if evolved is not None and evolved["text"] is not None:
            inside.code(evolved["text"], title=f"evolved: {evolved['idea']}")
        report.fold(f"{spec.name}: what it stands for", inside)
