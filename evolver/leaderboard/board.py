"""The leaderboard as a report and as a document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from evolver.leaderboard.contest import Effort
from evolver.leaderboard.ratios import Ratio
from evolver.leaderboard.spec import ScenarioSpec
from evolver.leaderboard.standings import (
    WON_SHARE,
    Added,
    Own,
    Place,
    Result,
    added,
    best_tuned,
    cells,
    fault_of,
    own,
    places,
)
from sandbox.report import Cell, Report, Tone

_TONES = {"better": Tone.GOOD, "worse": Tone.BAD, "even": Tone.DIM}


def document_of(
    specs: Sequence[ScenarioSpec],
    results: Sequence[Result],
    effort: Effort,
    seconds: float,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, object]:
    """Everything that was run and found, as plain values; `failed` says why, by scenario."""
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
        "won": _won(results), "wall_s": seconds, "failed": dict(failed),
    }  # fmt: skip


def _plain(value: Ratio | Own | Added | None) -> dict[str, Any] | None:
    return None if value is None else asdict(value)


def _won(results: Sequence[Result]) -> dict[str, int]:
    more = [one for result in results if (one := added(result)) is not None]
    return {"won": sum(one.won for one in more), "of": len(more)}


def report_of(
    specs: Sequence[ScenarioSpec],
    results: Sequence[Result],
    effort: Effort,
    seconds: float,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """Tables for people; what only a page shows is folded, what was not run is left out."""
    tuned = effort.tries is not None
    by_name = {spec.name: spec for spec in specs}
    report = Report("Leaderboard: the field's policies on the field's scenarios")
    report.say(
        "A ratio is how many times better: mean end-to-end time of the scenario's baseline over "
        "the entrant's, geometric mean over sealed windows with its 95 % interval; above 1 is "
        "better. Lost requests are charged. Nothing that tunes, evolves or chooses looks at them.",
        f"{len(results)} {'scenario' if len(results) == 1 else 'scenarios'} in {seconds:.0f} s.",
    )
    if failed:
        report.grid(("scenario", "failed"), [[*one] for one in failed.items()])
    if not results:
        return report
    _systems(report, by_name, results, tuned)
    _scenarios(report, by_name, results)
    _policies(report, by_name, results, tuned)
    _matrix(report, by_name, results, tuned)
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


def _systems(
    report: Report, specs: Mapping[str, ScenarioSpec], results: Sequence[Result], tuned: bool
) -> None:
    how = "constants were tuned for mean end-to-end time; " if tuned else ""
    report.heading(
        "Each system on its own scenario",
        f"by the scenario's own metric, against its baseline as written; {how}published numbers "
        "are of other hardware, models and baselines",
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
            shown(mine.written if mine else None),
            *([shown(mine.tuned if mine else None)] if tuned else []),
        ])  # fmt: skip
    columns = ("system", "scenario", "metric", "baseline", "published", "ours as written")
    report.grid((*columns, "ours tuned") if tuned else columns, rows)


def _scenarios(
    report: Report, specs: Mapping[str, ScenarioSpec], results: Sequence[Result]
) -> None:
    report.heading(
        "Scenario by scenario",
        "the best of the library in hindsight"
        + (", and what evolution adds to it" if _won(results)["of"] else ""),
    )
    rows: list[list[str | Cell]] = []
    lost: list[list[str | Cell]] = []
    found = _won(results)
    for result in results:
        name = best_tuned(result)
        best = cells(result, specs[result["scenario"]], "tuned")[name]
        more = added(result)
        mine: list[str | Cell] = ["-", "-", ""]
        if more is not None:
            mine = [gain(more.over), gain(more.over_chosen), "won" if more.won else ""]
            lost += [] if more.won else [[result["scenario"], more.reason]]
        rows.append([
            result["scenario"], f"{len(result['entrants'])}", name, shown(best),
            *(mine if found["of"] else []),
        ])  # fmt: skip
    columns = ("scenario", ">entrants", "best of the library", "its ratio to the baseline")
    more_columns = ("evolved saves beside it", "beside the chosen one", "")
    report.grid((*columns, *more_columns) if found["of"] else columns, rows)
    if lost:
        report.grid(("where it does not win", "why"), lost)
    if found["of"]:
        asked = math.ceil(WON_SHARE * found["of"])
        report.say(
            f"Evolution beats the best of the tuned library in {found['won']} of {found['of']} "
            f"scenarios, the whole interval above none; the aim is {asked}."
        )


def _policies(
    report: Report, specs: Mapping[str, ScenarioSpec], results: Sequence[Result], tuned: bool
) -> None:
    report.heading(
        "Policy by policy", "over the scenarios in which each takes part, so not the same ones"
    )
    rows: list[list[str | Cell]] = [
        [one.name, one.group, f"{one.scenarios}",
         *(_pooled(value, one) for value in (one.written, one.tuned)[: 1 + tuned]),
         f"{one.wins}"]
        for one in places(results, specs)
    ]  # fmt: skip
    kinds = (">as written", ">tuned")[: 1 + tuned]
    report.grid(("policy", "decides", ">scenarios", *kinds, ">best in"), rows)


def _pooled(value: float, place: Place) -> Cell:
    """A policy's mean ratio; where decisions failed the default decided, so that is not its own."""
    if math.isnan(value):
        return Cell("faults" if place.faulty else "-", Tone.BAD if place.faulty else Tone.DIM)
    return Cell(f"{value:.2f}" + (f" (faults in {place.faulty})" if place.faulty else ""))


def _matrix(
    report: Report, specs: Mapping[str, ScenarioSpec], results: Sequence[Result], tuned: bool
) -> None:
    kinds = ("written", "tuned")[: 1 + tuned]
    inside = Report("")
    for result in results:
        spec = specs[result["scenario"]]
        each = {kind: cells(result, spec, kind) for kind in kinds}
        last = each[kinds[-1]]
        rows: list[list[str | Cell]] = [
            [
                name,
                *(_own_cell(result, name, kind, one[name]) for kind, one in each.items()),
                fault_of(result, name) or "",
            ]
            for name in sorted(last, key=lambda name: (-last[name].mean, name))
        ]
        columns = ("policy", "as written", "tuned")[: 2 + tuned]
        inside.grid((*columns, "fault"), rows, title=spec.name)
    report.fold("Every policy on every scenario", inside)


def _own_cell(result: Result, name: str, kind: str, one: Ratio) -> Cell:
    return shown(one) if fault_of(result, name, kind) is None else Cell("faults", Tone.BAD)


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
