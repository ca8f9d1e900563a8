"""Does a system show its effect on its scenario, and none where it must not?

Arms run on the sealed windows of one problem or several, each a problem of another seed; ratios are
paired by window and above 1 where the system is better. Constants are tuned on training windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evolver.leaderboard.arms import (
    Laid,
    baseline_source,
    entrant,
    laid_out,
    system_source,
)
from evolver.leaderboard.ground import Scenario
from evolver.leaderboard.measures import measures, value_of
from evolver.leaderboard.reading import changed
from evolver.leaderboard.spec import Control, Headline, Metric
from evolver.leaderboard.sustained import sustained
from evolver.online.statics import tune
from evolver.task import Human
from sandbox.engine import LoadedPolicy, load_policy
from sandbox.kernel.calls import CALLED
from sandbox.scenario import Scenario as Window
from sandbox.scenario import outcome_of
from sandbox.source import PolicySource
from sandbox.stats import MIN_WINDOWS, cluster_means, paired_bootstrap

AS_WRITTEN, TUNED = "as written", "tuned"
_Values = list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The system over the baseline; above 1 the system is better.

    Attributes:
        low, high: 95 % interval over windows; NaN with fewer than two.
        units: windows that have a ratio, a recorded one once however many seeds it has;
            left_out: those where a number is missing or not above 0.
        system, baseline: means of the metric over these windows.
        faults: decisions of the system that failed.
    """

    name: str
    metric: str
    mean: float
    low: float
    high: float
    units: int
    left_out: int
    system: float
    baseline: float
    faults: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What a scenario came to.

    Attributes:
        rows: the system as written, then tuned beside the baseline tuned alike; after each the
            same in the leaderboard's objective, if that is another number.
        others: further policies beside the baseline.
        controls: the ratio of each control.
        headlines: the system as written, in the metric that stands beside each published number.
        constants: what tuning the system came to.
        requests, windows: of all problems, judged windows alone.
    """

    scenario: Scenario
    rows: tuple[Ratio, ...]
    others: tuple[Ratio, ...]
    controls: tuple[tuple[Control, Ratio], ...]
    headlines: tuple[Ratio, ...] = ()
    constants: Mapping[str, float] = field(default_factory=dict)
    requests: int = 0
    windows: int = 0
    notes: tuple[str, ...] = ()

    @property
    def own(self) -> Ratio:
        """The system as written, in the scenario's own metric."""
        return self.rows[0]

    @property
    def shown(self) -> bool:
        """Is the whole interval of enough windows above 1, and the mean as the file expects?"""
        expected = self.scenario.spec.expect
        least = 1.0 if expected is None else expected.least_ratio
        enough = self.own.units >= MIN_WINDOWS
        return enough and self.own.low > 1.0 and self.own.mean >= least


def effect_of(
    scenario: Scenario,
    seeds: Sequence[int] = (0,),
    traces: Path | None = None,
    tries: int = 0,
    policies: Sequence[tuple[str, str, Mapping[str, float]]] = (),
) -> Effect:
    """Run the system, its controls and further policies.

    Args:
        seeds: one problem each.
        tries: settings of the constants that tuning may try; 0: nothing is tuned.
        policies: names, texts and constants of others to put beside the baseline.

    Raises:
        ExperimentRefused: a policy decides nothing here, or the metric does not exist.
        TelemetryError, SandboxError: the scenario cannot be laid out.
    """
    laid = laid_out(scenario, seeds, traces)
    spec, metric = scenario.spec, scenario.spec.metric
    system, baseline = system_source(scenario), baseline_source(scenario)
    plain = _run(laid.plain_sealed, baseline, spec.baseline.parameters)
    mine = _run(laid.sealed, system, _fixed(scenario))
    rows = list(_ratios(AS_WRITTEN, metric, mine, plain, laid.units))
    constants: Mapping[str, float] = {}
    if tries > 0:
        tuned, constants = _both_tuned(scenario, laid, system, baseline, tries)
        rows += tuned
    others = []
    for name, text, parameters in policies:
        found = _run(laid.sealed, entrant(name, text, spec.decides), parameters)
        others += _ratios(name, metric, found, plain, laid.units)
    controls = tuple((one, _controlled(scenario, one, seeds, traces)) for one in spec.control)
    headlines = tuple(_beside(scenario, laid, one, mine, plain) for one in spec.headline)
    requests = sum(len(window.trace) for window in laid.sealed)
    return Effect(
        scenario, tuple(rows), tuple(others), controls, headlines, constants, requests,
        len(laid.sealed), laid.notes,
    )  # fmt: skip


def ratio_of(
    name: str,
    metric: Metric,
    system: Sequence[Mapping[str, float]],
    baseline: Sequence[Mapping[str, float]],
    units: Sequence[str] | None = None,
) -> Ratio:
    """The paired ratio of one metric over the same windows; those of one unit count once."""
    pairs = [
        (_floored(value_of(a, metric.key), metric), _floored(value_of(b, metric.key), metric))
        for a, b in zip(system, baseline, strict=True)
    ]
    places = [k for k, pair in enumerate(pairs) if all(math.isfinite(v) and v > 0.0 for v in pair)]
    sound = [pairs[k] for k in places]
    sign = 1.0 if metric.rises else -1.0
    of = [k if units is None else units[k] for k in places]
    logs = [float(v) for v in cluster_means([sign * math.log(a / b) for a, b in sound], of)]
    mean = math.exp(_mean(logs))
    low = high = math.nan
    if len(logs) > 1:
        interval = paired_bootstrap(logs, seed=0)
        low, high = math.exp(interval.low), math.exp(interval.high)
    faults = int(sum(one["faults"] for one in system))
    return Ratio(
        name, metric.key, mean, low, high, len(logs), len(pairs) - len(sound),
        _mean([a for a, _ in sound]), _mean([b for _, b in sound]), faults,
    )  # fmt: skip


def kept(control: Control, found: Ratio, own: Ratio) -> bool:
    """Did a control come out as the file expects?"""
    if control.expect == "even":
        return 1.0 / control.within <= found.mean <= control.within
    return found.mean < (1.0 if control.expect == "worse" else own.mean)


def _ratios(
    name: str, metric: Metric, system: _Values, baseline: _Values, units: Sequence[str]
) -> list[Ratio]:
    """In the scenario's own metric, and in the objective that the leaderboard goes by."""
    objective = Metric(name="objective_s", better="lower")
    asked = [metric] if metric.name == objective.name else [metric, objective]
    return [ratio_of(name, one, system, baseline, units) for one in asked]


def _beside(
    scenario: Scenario, laid: Laid, headline: Headline, mine: _Values, plain: _Values
) -> Ratio:
    """What stands beside a published number; a sustained rate takes runs of its own."""
    spec, metric = scenario.spec, headline.metric or scenario.spec.metric
    if metric.sustains is not None:
        system = _loaded(system_source(scenario), _fixed(scenario))
        baseline = _loaded(baseline_source(scenario), spec.baseline.parameters)
        mine = sustained(laid.sealed, system, metric)
        plain = sustained(laid.plain_sealed, baseline, metric)
    return ratio_of(headline.of, metric, mine, plain, laid.units)


def _both_tuned(
    scenario: Scenario, laid: Laid, system: PolicySource, baseline: PolicySource, tries: int
) -> tuple[list[Ratio], Mapping[str, float]]:
    """The system and the baseline with constants tuned alike, and those of the system."""
    spec = scenario.spec
    best = _tuned(scenario, system, laid.training, _fixed(scenario), tries)
    rival = _tuned(scenario, baseline, laid.plain_training, spec.baseline.parameters, tries)
    mine, plain = _run(laid.sealed, system, best), _run(laid.plain_sealed, baseline, rival)
    moved = {k: v for k, v in best.items() if v != system.parameters().get(k)}
    return _ratios(TUNED, spec.metric, mine, plain, laid.units), moved


def _fixed(scenario: Scenario) -> Mapping[str, float]:
    spec = scenario.spec
    return spec.baseline.parameters if spec.system is None else spec.parameters


def _controlled(
    scenario: Scenario, control: Control, seeds: Sequence[int], traces: Path | None
) -> Ratio:
    other = Scenario(changed(scenario.spec, control.changes, f"control {control.name}"))
    return effect_of(other, seeds, traces).own


def _run(
    windows: Sequence[Window], source: PolicySource, parameters: Mapping[str, float]
) -> _Values:
    policy = _loaded(source, parameters)
    return [measures(outcome_of(window, policy), window) for window in windows]


def _loaded(source: PolicySource, parameters: Mapping[str, float]) -> LoadedPolicy:
    return load_policy(source, parameters, only=CALLED)


def _tuned(
    scenario: Scenario,
    source: PolicySource,
    windows: Sequence[Window],
    fixed: Mapping[str, float],
    tries: int,
) -> Mapping[str, float]:
    """The best constants found on the windows; those that the file gives stay."""
    metric = scenario.spec.metric
    policy = _loaded(source, fixed)

    def objective(_: PolicySource, asked: Mapping[str, float]) -> float:
        found = []
        for window in windows:
            candidate = policy.with_parameters({**asked, **fixed})
            numbers = measures(outcome_of(window, candidate), window)
            value = _floored(value_of(numbers, metric.name), metric)
            if numbers["faults"] or not (math.isfinite(value) and value > 0.0):
                return math.inf
            found.append(math.log(value) * (1.0 if metric.better == "lower" else -1.0))
        return math.exp(_mean(found))

    text = source.annotated()
    best = tune(Human(source.name, text), objective, tries, seed=0).source.parameters()
    return {**best, **fixed}


def _floored(value: float, metric: Metric) -> float:
    return value if metric.floor is None else max(value, metric.floor)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
