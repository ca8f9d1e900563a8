"""The effect of a scenario as a report and as a document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from evolver.leaderboard.effects import Effect, Ratio, kept
from evolver.leaderboard.spec import ScenarioSpec
from sandbox.report import Cell, Report, Tone
from sandbox.stats import MIN_WINDOWS

_COLUMNS = ("", "metric", "ratio", "95 % interval", "system", "baseline", "windows", "faults")
_READ = {
    "abstract": "from its abstract", "paper": "from the paper", "code": "from its code",
    "notes": "from what others wrote about it, or release notes",
}  # fmt: skip


def document_of(effect: Effect) -> dict[str, object]:
    """Everything that was run and found, as plain values."""
    spec = effect.scenario.spec
    return {
        "scenario": spec_document(spec),
        "shown": effect.shown,
        "system": [asdict(one) for one in effect.rows],
        "policies": [asdict(one) for one in effect.others],
        "controls": [
            {**asdict(found), "name": one.name, "expect": one.expect,
             "kept": kept(one, found, effect.own)}
            for one, found in effect.controls
        ],
        "headlines": [
            {**one.model_dump(mode="json"), "ours": asdict(found)}
            for one, found in zip(spec.headline, effect.headlines, strict=True)
        ],
        "constants": dict(effect.constants),
        "windows": effect.windows,
        "requests": effect.requests,
        "notes": list(effect.notes),
    }  # fmt: skip


def spec_document(spec: ScenarioSpec) -> dict[str, object]:
    """The scenario's file as plain values."""
    found: dict[str, object] = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return found


def report_of(effect: Effect) -> Report:
    """Tables for people."""
    spec = effect.scenario.spec
    report = Report(f"{spec.name}: {spec.about} against {spec.baseline.policy}")
    report.say(f"Published: {spec.says} ({_READ[spec.read]}).")
    report.say(f"Baseline: {spec.baseline.why}")
    report.heading("Ratios", f"above 1 is better; {effect.windows} windows nobody tuned on")
    names = [f"{spec.about} {one.name}" for one in effect.rows]
    rows = [_row(name, one) for name, one in zip(names, effect.rows, strict=True)]
    rows += [_row(one.name, one) for one in effect.others]
    rows += [
        _row(f"control {one.name}: expected {one.expect}", found, kept(one, found, effect.own))
        for one, found in effect.controls
    ]
    report.grid(_COLUMNS, rows)
    _verdict(report, effect)
    if effect.constants:
        words = ", ".join(f"{name} = {value:g}" for name, value in effect.constants.items())
        report.say(f"Tuned constants: {words}.", tone=Tone.DIM)
    report.fold("How it was laid out", about(spec).say(*effect.notes))
    return report


def about(spec: ScenarioSpec) -> Report:
    """What the file says, for people."""
    report = Report(spec.name)
    report.say(f"{spec.about} ({spec.paper or spec.code}; {_READ[spec.read]}): {spec.says}")
    report.say(f"Cluster: {spec.cluster_why}", f"Load: {spec.load_why}")
    report.say(*(f"Traffic: {part.why}" for part in spec.traffic if part.why))
    if spec.capacity is not None:
        report.say(f"Capacity: {spec.capacity.why}")
    report.say(f"Decides: {', '.join(spec.decides)}; the rest is the default policy's.")
    report.say(f"Judged by {spec.metric.name}, {spec.metric.better} is better.")
    report.say(*(f"Control {one.name}, expected {one.expect}: {one.why}" for one in spec.control))
    report.say(*(f"Differs: {sentence}" for sentence in spec.differs))
    return report


def list_report(specs: Sequence[ScenarioSpec]) -> Report:
    """All scenarios, a line each."""
    report = Report("Scenarios")
    rows: list[list[str | Cell]] = [
        [spec.name, spec.about, spec.metric.name, spec.baseline.policy,
         "yes" if spec.needs_files else ""]
        for spec in specs
    ]  # fmt: skip
    return report.grid(("scenario", "of", "judged by", "against", "needs --traces"), rows)


def _row(name: str, one: Ratio, as_expected: bool | None = None) -> list[str | Cell]:
    good = one.low > 1.0 if as_expected is None else as_expected
    bad = one.high < 1.0 if as_expected is None else not as_expected
    tone = Tone.GOOD if good else Tone.BAD if bad else Tone.PLAIN
    windows = f"{one.units}" + (f" (-{one.left_out})" if one.left_out else "")
    return [
        name, one.metric, Cell(_number(one.mean), tone=tone),
        f"{_number(one.low)} to {_number(one.high)}", _number(one.system), _number(one.baseline),
        windows, f"{one.faults}" if one.faults else "",
    ]  # fmt: skip


def _verdict(report: Report, effect: Effect) -> None:
    spec = effect.scenario.spec
    for one, found in zip(spec.headline, effect.headlines, strict=True):
        report.say(
            f"Published: {one.kind} {one.ratio:g} in {one.of}, against {one.against}; here "
            f"{_number(found.mean)} ({_number(found.low)} to {_number(found.high)}) in "
            f"{found.metric}."
        )
    words = "shows its effect here" if effect.shown else "does not show its effect here"
    few = f": {effect.own.units} windows prove nothing" if effect.own.units < MIN_WINDOWS else ""
    report.say(f"{spec.about} {words}{few}.", tone=Tone.GOOD if effect.shown else Tone.PLAIN)
    report.say(*(f"Differs: {sentence}" for sentence in spec.differs), tone=Tone.DIM)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
