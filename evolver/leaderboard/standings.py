"""What the results of contests say: best of the library, what evolution adds, own headlines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolver.leaderboard.entrants import group_of
from evolver.leaderboard.ratios import Ratio, mean_log, pooled, ratio
from evolver.leaderboard.spec import ScenarioSpec

Result = Mapping[str, Any]
WON_SHARE = 0.6  # of the scenarios, in which evolution is to beat the tuned library
LITTLE = 1.02  # the best over the middle of the library, where decisions matter little
_KINDS = ("written", "tuned")
SMALL = 1.005  # a ratio that is within the noise of anything, whatever its interval


@dataclass(frozen=True, slots=True)
class Added:
    """What evolution adds on one scenario.

    Attributes:
        best: of the tuned library on the sealed windows, known in hindsight; over: ours to it.
        chosen: of the tuned library where it is chosen as ours is; over_chosen: ours to it.
        reason: why it did not win; empty when it did.
    """

    best: str
    over: Ratio
    chosen: str
    over_chosen: Ratio
    reason: str

    @property
    def won(self) -> bool:
        """Better than the best of the tuned library, the whole interval above 1, by itself."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class Own:
    """A system on its own scenario, by the scenario's metric."""

    written: Ratio
    tuned: Ratio | None
    reason: str = ""


def objectives(result: Result, name: str, kind: str = "written") -> Mapping[str, float]:
    """What an entrant took on the sealed windows; of one that is not tuned as written."""
    entrant = result["entrants"][name]
    found: Mapping[str, float] = (entrant.get(kind) or entrant["written"])["objectives"]
    return found


def cells(result: Result, spec: ScenarioSpec, kind: str) -> dict[str, Ratio]:
    """Each entrant against the scenario's baseline as written."""
    baseline = objectives(result, spec.baseline.policy)
    return {name: ratio(baseline, objectives(result, name, kind)) for name in result["entrants"]}


def best_tuned(result: Result) -> str:
    """The entrant that took least on the sealed windows when tuned, in hindsight."""
    names = [str(name) for name in result["entrants"] if fault_of(result, name) is None]
    return min(names, key=lambda name: (mean_log(objectives(result, name, "tuned")), name))


def fault_of(result: Result, name: str, kind: str = "tuned") -> str | None:
    """How a decision of an entrant failed on the sealed windows; of one not tuned as written.

    The default then decides for it, so its objectives are not its own.
    """
    entrant = result["entrants"][name]
    fault: str | None = (entrant.get(kind) or entrant["written"])["fault"]
    return fault


def added(result: Result) -> Added | None:
    """What evolution adds; None when it was not asked for."""
    evolved = result["evolved"]
    if evolved is None:
        return None
    best, chosen = best_tuned(result), evolved["library"]
    theirs = objectives(result, best, "tuned")
    if evolved["row"] is None:
        none = Ratio(math.nan, math.nan, math.nan, 0)
        words = f"none of {evolved['candidates']} candidates was better where one is chosen"
        return Added(best, none, chosen, none, f"{_room(result)}{words}")
    ours = evolved["row"]["objectives"]
    over = ratio(theirs, ours)
    over_chosen = ratio(objectives(result, chosen, "tuned"), ours)
    return Added(best, over, chosen, over_chosen, _reason(over, over_chosen, best, chosen, evolved))


def _room(result: Result) -> str:
    """What it means for the search that entrants hardly differ; empty when they do."""
    logs = [mean_log(objectives(result, name, "tuned")) for name in result["entrants"]]
    middle, least = sorted(logs)[len(logs) // 2], min(logs)
    if math.exp(middle - least) >= LITTLE:
        return ""
    return f"little to decide (half of the library lies within {LITTLE - 1:.0%} of its best); "


def _reason(
    over: Ratio, over_chosen: Ratio, best: str, chosen: str, evolved: Mapping[str, Any]
) -> str:
    if evolved["row"]["fault"] is not None:  # the default then decided, so it is not its own
        return f"a decision failed on a sealed window: {evolved['row']['fault']}"
    if over.low > 1.0:
        return ""
    if math.isnan(over.low):
        return f"only {over.units} sealed windows"
    if best != chosen and over_chosen.low > 1.0:
        return (
            f"better than {chosen}, which people would have chosen as ours was, but {best} "
            "turned out best"
        )
    if over.high < 1.0:
        return "what was better on the windows it was chosen on is worse on others"
    if over.mean < SMALL:
        return "no room: the best of the library is as good"
    return "the gain is within the noise of the windows"


def own(result: Result, spec: ScenarioSpec) -> Own | None:
    """A system or technique against the baseline of its own scenario, by its own metric."""
    found = result["own"]
    if "baseline" not in found or "written" not in found:
        return None

    def turned(name: str) -> Ratio:
        pair = (found["baseline"], found[name])
        return ratio(*pair) if spec.metric.better == "lower" else ratio(*reversed(pair))

    return Own(turned("written"), turned("tuned") if "tuned" in found else None)


@dataclass(frozen=True, slots=True)
class Place:
    """A policy over all scenarios in which it takes part.

    Attributes:
        written, tuned: where none of its decisions failed; NaN where some did everywhere.
        wins: scenarios in which it is the best of the tuned library.
        faulty: scenarios in which a decision failed, as written or tuned.
    """

    name: str
    group: str
    scenarios: int
    written: float
    tuned: float
    wins: int
    faulty: int


def places(results: Sequence[Result], specs: Mapping[str, ScenarioSpec]) -> list[Place]:
    """Every policy, the best of each group first; policies of unlike groups decide other things."""
    there = {kind: [_sound(r, specs[r["scenario"]], kind) for r in results] for kind in _KINDS}
    best = [best_tuned(result) for result in results]
    hooks: dict[str, set[str]] = {}
    for result in results:
        for name, entrant in result["entrants"].items():
            hooks.setdefault(name, set()).update(entrant["hooks"])
    found = [
        Place(
            name, group_of(hooks[name]), sum(name in r["entrants"] for r in results),
            pooled([row[name] for row in there["written"] if name in row]),
            pooled([row[name] for row in there["tuned"] if name in row]), best.count(name),
            sum(_fails(result, name) for result in results),
        )
        for name in hooks
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.group, math.isnan(one.tuned), -one.tuned, one.name))


def _sound(result: Result, spec: ScenarioSpec, kind: str) -> dict[str, Ratio]:
    """Cells of those whose decisions were all their own."""
    found = cells(result, spec, kind)
    return {name: one for name, one in found.items() if fault_of(result, name, kind) is None}


def _fails(result: Result, name: str) -> bool:
    there = name in result["entrants"]
    return there and any(fault_of(result, name, kind) is not None for kind in _KINDS)
