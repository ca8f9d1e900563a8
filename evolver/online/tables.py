"""The online experiment as a report and as a document: totals, savings, regimes, sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evolver.online.comparison import (
    BEST,
    DEPLOYED,
    EVOLVING,
    RIVALS,
    Result,
    Saving,
    arm_of,
    by_pair,
    overhead_s,
    savings,
)
from evolver.online.experiment import Plan
from sandbox.report import Cell, Report, Series, Tone

TOTAL, LATENCY = "total_s", "e2e_mean_s"
_METRICS = {"backlog": TOTAL, "open": LATENCY}
_PARTS = (TOTAL, "scheduling_s", "reconfiguration_s", "serving_s", "reconfigurations")
_TONES = {"gain": Tone.GOOD, "loss": Tone.BAD, "no gain shown": Tone.DIM}


def document_of(plan: Plan, results: Sequence[Result], seconds: float) -> dict[str, object]:
    """Everything that was run and found, as plain values."""
    found = {
        mode: {
            pair: [{**asdict(one), "verdict": one.verdict} for one in rows]
            for pair, rows in savings(results, mode, metric).items()
        }
        for mode, metric in _METRICS.items()
    }
    return {
        "experiment": "online",
        "effort": asdict(plan.effort),
        "model_replies": plan.recording is not None,
        "pairs": [
            {"name": g.name, "requests": len(g.trace), "notes": list(g.notes),
             "spec": g.spec.model_dump(mode="json")}
            for g in plan.grounds
        ],
        "savings": found,
        "results": list(results),
        "wall_s": seconds,
    }  # fmt: skip


def report_of(plan: Plan, results: Sequence[Result]) -> Report:
    """Tables for people, figures for the page."""
    report = Report("Online experiment: a control plane in the loop, on simulated time")
    charges = plan.effort.charges
    report.say(
        f"A model's reply costs {charges.reply_s:g} s, a mutation or a run of one candidate on "
        f"three minutes {charges.step_s:g} s over {charges.workers} workers; new code enters at "
        "the next monitoring point after that.",
        "Evolving: the seeded mutator and the tuner"
        + (", and recorded replies of a model." if plan.recording else "; no model."),
    )
    _savings(report, results, "backlog", "Total time of the backlog: what evolving saves")
    _totals(report, results)
    _sweep(report, plan, results)
    _volatile(report, results)
    _savings(report, results, "open", "Open arrivals, mean end-to-end time: what evolving saves")
    _regimes(report, results)
    _figures(report, results)
    for ground in plan.grounds:
        report.fold(f"{ground.name}: what was done to the traces",
                    Report("").say(*ground.notes))  # fmt: skip
    return report


def percent(value: float) -> str:
    """A share with its sign, one decimal."""
    return "-" if math.isnan(value) else f"{100 * value:+.1f} %"


def _cell(one: Saving) -> Cell:
    ends = "" if math.isnan(one.low) else f" ({percent(one.low)} to {percent(one.high)})"
    return Cell(percent(one.gain) + ends, tone=_TONES[one.verdict])


def _savings(report: Report, results: Sequence[Result], mode: str, title: str) -> None:
    found = savings(results, mode, _METRICS[mode])
    if not found:
        return
    report.heading(title, "against each arm, mean over seeds and its 95 % interval; + is less time")
    lines: list[list[str | Cell]] = [
        [pair, *map(_cell, rows), next(one.verdict for one in rows if one.rival == BEST)]
        for pair, rows in found.items()
    ]
    report.grid(("pair", *RIVALS, f"against {BEST}"), lines)
    report.say(*(f"{name}: {words}." for name, words in RIVALS.items()), tone=Tone.DIM)


def _mean(arms: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [float(arm[name]) for arm in arms if arm[name] is not None]
    return math.fsum(values) / len(values) if values else math.nan


def _totals(report: Report, results: Sequence[Result]) -> None:
    pairs = by_pair(results, "backlog")
    if not pairs:
        return
    report.heading("Where the time went", "seconds of the backlog's measured part, mean over seeds")
    rows = []
    for pair, seeds in pairs.items():
        for name in (EVOLVING, *RIVALS):
            arms = [arm_of(name, seed, seeds, TOTAL) for seed in seeds]
            split = [f"{_mean(arms, part):.1f}" for part in _PARTS]
            rows.append([pair if name == EVOLVING else "", name, *split])
    columns = ("total", "scheduling", "reconfiguration", "serving", "switches")
    report.grid(("pair", "arm", *columns), rows)


def _sweep(report: Report, plan: Plan, results: Sequence[Result]) -> None:
    factors = plan.effort.factors[1:]
    pairs = by_pair(results, "backlog")
    if not pairs or not factors:
        return
    names = [f"{EVOLVING} x{factor:g}" for factor in factors]
    report.heading("Dearer and cheaper proposals", f"what evolving saves against {DEPLOYED}")
    found = {name: savings(results, "backlog", TOTAL, name) for name in (EVOLVING, *names)}
    rows: list[list[str | Cell]] = [
        [pair, *(_cell(_against(found[name][pair], DEPLOYED)) for name in found)]
        for pair in found[EVOLVING]
    ]
    report.grid(("pair", "x1", *(f"x{factor:g}" for factor in factors)), rows)


def _against(rows: Sequence[Saving], rival: str) -> Saving:
    return next(one for one in rows if one.rival == rival)


def _volatile(report: Report, results: Sequence[Result]) -> None:
    pairs = by_pair(results, "backlog")
    if not pairs:
        return
    report.heading(
        "Scheduling and reconfiguration by phase",
        "seconds of the backlog, mean over seeds; volatile regimes have more changes of capacity",
    )
    rows = []
    for pair, seeds in pairs.items():
        cells = []
        for volatile in (True, False):
            for name in (EVOLVING, DEPLOYED, BEST):
                arms = [arm_of(name, seed, seeds, TOTAL) for seed in seeds]
                cells.append(f"{sum(overhead_s(a, volatile) for a in arms) / len(arms):.1f}")
        rows.append([pair, *cells])
    parts = [f"{kind}: {name}" for kind in ("volatile", "other") for name in (EVOLVING, DEPLOYED,
             BEST)]  # fmt: skip
    report.grid(("pair", *parts), rows)


def _regimes(report: Report, results: Sequence[Result]) -> None:
    pairs = by_pair(results, "open")
    if not pairs:
        return
    report.heading("Open arrivals by regime", "mean over seeds")
    rows = []
    for pair, seeds in pairs.items():
        for index, regime in enumerate(seeds[0]["arms"][EVOLVING]["regimes"]):
            for name in (EVOLVING, DEPLOYED, BEST, "no evolution"):
                arms = [arm_of(name, seed, seeds, LATENCY)["regimes"][index] for seed in seeds]
                first = [pair, regime["name"]] if name == EVOLVING else ["", ""]
                numbers = [f"{_mean(arms, part):.2f}" for part in (
                    LATENCY, "e2e_p95_s", "ttft_p95_s", "goodput_rps")]  # fmt: skip
                rows.append([*first, name, *numbers])
    columns = ("mean E2E s", "p95 E2E s", "p95 TTFT s", "goodput /s")
    report.grid(("pair", "regime", "arm", *columns), rows)


def _figures(report: Report, results: Sequence[Result]) -> None:
    found = savings(results, "backlog", TOTAL)
    pairs = [pair for pair in found if pair != "all pairs"]
    if not pairs:
        return
    report.heading("Savings at a glance")
    report.curves(*figure(found, pairs))


def figure(
    found: Mapping[str, Sequence[Saving]], pairs: Sequence[str]
) -> tuple[str, str, tuple[Series, ...]]:
    """Title, axis and dots: the saving in total time of each pair, by number, against rivals."""
    named = ", ".join(f"{k} {pair}" for k, pair in enumerate(pairs, 1))
    series = tuple(
        Series(
            f"against {rival}",
            tuple((float(k), _against(found[pair], rival).gain) for k, pair in enumerate(pairs, 1)),
            dots=True,
        )
        for rival in ("no evolution", DEPLOYED, BEST, "whole")
    )
    return f"Total time saved by evolving: {named}", "pair", series
