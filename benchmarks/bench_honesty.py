"""Measures how honest verdicts are: how often luck wins, and how often an interval holds the truth.

    python benchmarks/bench_honesty.py [runs] [draws]

A/A: whole runs, from founders to sealed windows, in which every human and every candidate is one
randomised policy with another salt, so that all are equal in distribution and each win is false.
Coverage: two policies are simulated on many generated windows; these are the population, so the
true effect is their mean, and intervals from draws of a few of them should hold it. The simulator
is the real one, run in this process: the policies are our own. Five minutes of one core.
"""

from __future__ import annotations

import functools
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evolver import library
from evolver.budget import Limits
from evolver.loop import Search, SearchSettings
from evolver.proposer import Proposal, ProposalRequest
from evolver.serving_task import ServingTask
from evolver.task import Description, Human, Split
from evolver.verdict import Outcome, Verdict
from sandbox.cluster import ClusterSpec, load_cluster
from sandbox.engine import LoadedPolicy, load_policy
from sandbox.scenario import Scenario, outcome_of, score
from sandbox.scores import Candidate, WindowScore
from sandbox.stats import Floats, log_ratios, paired_bootstrap
from sandbox.verifier import verify
from sandbox.windows import Windows
from telemetry import generate, load_profile

CLUSTER, PROFILE = "edge-8b", "azure2023_conv"
WINDOW_S, WARMUP_S = 40.0, 10.0
COUNTS = {Split.TRAINING: 3, Split.VALIDATION: 4, Split.SEALED: 10}
MEASURED = (8, 10, 15, 20)  # windows of a draw
SALTED = '''"""Two choices at random, the less loaded one is taken; the salt makes other choices."""

SALT = {salt}  # tune: 0 .. 1000000


def load(inst):
    return 4 * inst.queued_requests + inst.running_requests


def route(request, instances, memory):
    count = len(instances)
    one = min(floor(random01(request.seed, 2 * SALT) * count), count - 1)
    other = min(floor(random01(request.seed, 2 * SALT + 1) * count), count - 1)
    if load(instances[other]) < load(instances[one]):
        return instances[other].id
    return instances[one].id
'''


@dataclass(frozen=True)
class Comparison:
    """Two policies whose difference is measured, under a rate of arrivals."""

    reference: str
    candidate: str
    rate_scale: float


COMPARISONS = (
    Comparison("round_robin", "least_loaded", 0.5),
    Comparison("round_robin", "least_loaded", 2.5),
    Comparison("power_of_two", "least_loaded", 1.0),
    Comparison("round_robin", "power_of_two", 2.0),
)


@functools.cache
def _cluster() -> ClusterSpec:
    return load_cluster(CLUSTER)


@functools.cache
def _policy(text: str) -> LoadedPolicy:
    return load_policy(verify(text))


def window(name: str, seed: int, rate_scale: float = 1.0) -> Scenario:
    """A window of generated traffic, warmed up by what comes before it."""
    trace = generate(load_profile(PROFILE), span_s=WINDOW_S, seed=seed, rate_scale=rate_scale)
    return Scenario(name, trace, _cluster(), None, WARMUP_S, seed, "open", WARMUP_S, WINDOW_S)


class Here:
    """Scores policies on scenarios in this process, as a pool of workers would elsewhere."""

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        self._scenarios = {scenario.name: scenario for scenario in scenarios}

    def evaluate(
        self,
        jobs: Sequence[tuple[Candidate, Sequence[str]]],
        on_done: Callable[[int, list[WindowScore]], None],
    ) -> list[list[WindowScore]]:
        """Scores of each job, one per window, in order."""
        found = []
        for index, (candidate, names) in enumerate(jobs):
            policy = _policy(candidate.source_text).with_parameters(
                dict(candidate.parameters or {})
            )
            scenarios = [self._scenarios[name] for name in names]
            found.append([score(s, outcome_of(s, policy)) for s in scenarios])
            on_done(index, found[-1])
        return found


class Salter:
    """Proposes the policy that everyone runs, with another salt."""

    name = "salter"
    waits = False

    def propose(self, request: ProposalRequest) -> Proposal:
        """The parent with a salt of its own."""
        salt = float(random.Random(request.rng_seed).randrange(1_000_000))
        parent = request.parent
        return Proposal(parent.text, self.name, "a salt", (parent.digest,), {"SALT": salt})


def equal_run(seed: int) -> Verdict:
    """The verdict of a run in which nobody is better than anybody."""
    seeds = itertools.count(1000 * seed)
    parts = [
        tuple(window(f"{split.value}-{k}", next(seeds)) for k in range(count))
        for split, count in COUNTS.items()
    ]
    windows = Windows(*parts, WINDOW_S - WARMUP_S, 0.0, ())
    task = ServingTask(Here(windows.all), windows, Description("equals", "none is better"))
    humans = [Human(f"salt {salt}", SALTED.format(salt=salt), active=not salt) for salt in range(2)]
    settings = SearchSettings(seed=seed, batch=4, tuned_humans=1)
    return Search(task, [Salter()], humans, Limits(evaluations=10), settings).run().verdict


def wins(runs: int) -> Counter[str]:
    """How often each outcome came, and how often sealed windows were opened."""
    found: Counter[str] = Counter()
    for seed in range(runs):
        verdict = equal_run(seed)
        found[verdict.outcome.value] += 1
        found["opened"] += bool(verdict.effects)
    return found


def population(comparison: Comparison, windows: int) -> Floats:
    """The log-ratio of two policies on each of many windows."""
    scenarios = [window(f"w{k}", 10_000 + k, comparison.rate_scale) for k in range(windows)]
    objectives: Mapping[str, list[float]] = {
        name: [score(s, outcome_of(s, _policy(library.read(name)))).objective for s in scenarios]
        for name in (comparison.reference, comparison.candidate)
    }
    return log_ratios(objectives[comparison.reference], objectives[comparison.candidate])


def coverage(values: Floats, windows: int, draws: int, resamples: int = 1000) -> float:
    """Share of draws whose nominal 95 % interval holds the population's mean."""
    rng, truth, hits = np.random.default_rng(11), float(values.mean()), 0
    for draw in range(draws):
        drawn = rng.choice(values, windows)
        interval = paired_bootstrap(drawn, seed=draw, resamples=resamples)
        hits += interval.low <= truth <= interval.high
    return hits / draws


def main() -> None:
    """Print both."""
    runs, draws = (int(argument) for argument in (*sys.argv[1:], "200", "2000")[:2])
    found = wins(runs)
    print(f"A/A: {found[Outcome.IMPROVED.value]} of {runs} runs of equals won (at most 1 %); "
          f"sealed windows were opened in {found['opened']}", flush=True)  # fmt: skip
    print("\ncoverage of nominal 95 % intervals (92 to 98 %), by windows drawn")
    print(f"{'':44}{'effect':>8}{'spread':>8}{'skew':>7}" + "".join(f"{n:>7}" for n in MEASURED))
    for comparison in COMPARISONS:
        values = population(comparison, draws)
        held = "".join(f"{coverage(values, n, draws):7.1%}" for n in MEASURED)
        words = f"{comparison.candidate} against {comparison.reference}"
        centred = values - values.mean()
        skew = float((centred**3).mean() / values.std() ** 3)
        print(f"{words:36} x{comparison.rate_scale:<7g}{values.mean():8.3f}{values.std():8.3f}"
              f"{skew:7.1f}{held}")  # fmt: skip


if __name__ == "__main__":
    main()
