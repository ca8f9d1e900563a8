"""Prints what the search finds beside plain ways to spend as many evaluations, with intervals.

Run by `make bench-evolver`: ten development scenarios, five seeds each (traffic and search), four
arms, 100 evaluations. What an arm would deploy is chosen on validation windows, from its finalists
and the founders, and measured on windows that no arm has seen: the sealed ones and those of a
fresh trace. A scenario is won when the engine is better on average than each of the other arms.

Runs are written to `--partial` as they finish; the same command goes on where it was cut.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from evolver_arms import Found
    from evolver_scenarios import Scenario

    from evolver.evaluation import Trial
    from evolver.task import Results, Task
    from sandbox.engine import LoadedPolicy
    from sandbox.scenario import Scenario as Window
    from sandbox.scores import Candidate, WindowScore

SEEDS, EVALUATIONS = 5, 100
FRESH = 1000  # added to the seed: of a trace that no arm sees any of
COMPILE_S, KEPT_POLICIES = 0.3, 64
TO_BEAT = 8  # scenarios of ten
# The engine tunes humans to raise the bar of its own proof. No arm is asked for a proof here.
NO_PROOF: dict[str, Any] = {"human_share": 0.0}
T_95 = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # by n - 1


def main() -> None:
    """Run what is missing, then print the table."""
    options = _options()
    if options.one:
        name, seed = options.one
        print(json.dumps(run(name, int(seed), options)))
        return
    from evolver_scenarios import DEVELOPMENT, KEPT_ASIDE, named

    started = time.monotonic()
    scenarios = DEVELOPMENT + (KEPT_ASIDE if options.aside else ())
    if options.only:
        scenarios = named(tuple(options.only))
    done = _read(options.partial, _key(options))
    missing = [
        (scenario.name, seed)
        for seed in range(1, options.seeds + 1)
        for scenario in scenarios
        if (scenario.name, seed) not in done
    ]
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(lambda job: _start(job, options), missing))
    wall_s = time.monotonic() - started
    done = _read(options.partial, _key(options))
    rows = [row for (name, _), row in sorted(done.items()) if name in {s.name for s in scenarios}]
    report = report_of(rows, wall_s)
    _print(report, scenarios)
    if options.output:
        Path(options.output).write_text(json.dumps({**report, "rows": rows}, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--evaluations", type=float, default=EVALUATIONS)
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", help="these scenarios only")
    parser.add_argument("--arms", nargs="+", help="the engine beside these arms only")
    parser.add_argument("--aside", action="store_true", help="the scenarios kept aside, too")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE",
                        help="settings of the engine's search")  # fmt: skip
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 2))
    parser.add_argument("--partial", default="build/bench-evolver.jsonl", help="finished runs")
    parser.add_argument("-o", "--output", help="write all numbers as JSON")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def _key(options: argparse.Namespace) -> str:
    """What runs must agree on to stand in one table."""
    return json.dumps([options.evaluations, sorted(options.set), sorted(options.arms or [])])


def _read(path: str, key: str) -> dict[tuple[str, int], dict[str, Any]]:
    if not Path(path).exists():
        return {}
    lines = [json.loads(line) for line in Path(path).read_text().splitlines() if line]
    return {(line["scenario"], line["seed"]): line for line in lines if line["key"] == key}


def _start(job: tuple[str, int], options: argparse.Namespace) -> None:
    """One scenario and seed in a process of its own; its line goes to the partial results."""
    name, seed = job
    command = [sys.executable, __file__, "--one", name, str(seed)]
    command += ["--evaluations", str(options.evaluations)]
    command += ["--set", *options.set] if options.set else []
    command += ["--arms", *options.arms] if options.arms else []
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{name} {seed}: {ran.stderr[-2000:]}")
    line = json.loads(ran.stdout.splitlines()[-1]) | {"key": _key(options)}
    Path(options.partial).parent.mkdir(parents=True, exist_ok=True)
    with Path(options.partial).open("a") as out:
        out.write(json.dumps(line) + "\n")
    print(
        f"{name} {seed}: {line['seconds']:.0f} s, {line['cpu_s']:.0f} s of processor",
        file=sys.stderr,
        flush=True,
    )


class LocalPool:
    """Scores candidates in this process, nothing twice: arms that meet share the scores.

    Only for candidates of the built-in mutator, which are verified: a search that asks models has a
    pool of locked-down processes. The engines decide alike, so which one runs a candidate is a
    matter of time only: it is compiled when it has been interpreted for as long as that takes.
    """

    def __init__(self, scenarios: Sequence[Window]) -> None:
        self._windows = {one.name: one for one in scenarios}
        self._known: dict[tuple[str, str, str], WindowScore] = {}
        self._loaded: OrderedDict[str, LoadedPolicy] = OrderedDict()
        self._spent_s: dict[str, float] = {}

    def evaluate(
        self,
        jobs: Sequence[tuple[Candidate, Sequence[str]]],
        on_done: Callable[[int, list[WindowScore]], None] = lambda _, __: None,
    ) -> list[list[WindowScore]]:
        """Scores of each job, one per window, in order."""
        found = []
        for index, (candidate, windows) in enumerate(jobs):
            found.append([self._score(candidate, window) for window in windows])
            on_done(index, found[-1])
        return found

    def _score(self, candidate: Candidate, window: str) -> WindowScore:
        from sandbox.scenario import outcome_of, score

        parameters = json.dumps(dict(candidate.parameters or {}), sort_keys=True)
        key = (candidate.source_text, parameters, window)
        if key not in self._known:
            policy = self._policy(candidate)
            started_s = time.process_time()
            outcome = outcome_of(self._windows[window], policy)
            if policy.engine == "interpreted":
                self._spent_s[candidate.source_text] += time.process_time() - started_s
            self._known[key] = score(self._windows[window], outcome)
        return self._known[key]

    def _policy(self, candidate: Candidate) -> LoadedPolicy:
        from sandbox.compiled import build_policy, link_policy
        from sandbox.engine import load_policy
        from sandbox.verifier import verify

        text = candidate.source_text
        spent_s = self._spent_s.setdefault(text, 0.0)
        if text not in self._loaded:
            self._loaded[text] = load_policy(verify(text), engine="interpreted")
            if len(self._loaded) > KEPT_POLICIES:
                self._loaded.popitem(last=False)
        policy = self._loaded[text]
        if policy.engine == "interpreted" and spent_s > COMPILE_S:
            code = build_policy(policy.source)
            policy = self._loaded[text] = link_policy(policy.source, code)
        parameters = candidate.parameters
        return policy if parameters is None else policy.with_parameters(parameters)


def run(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """All arms on one scenario with one seed."""
    from evolver_arms import ARMS, Contest, Watched
    from evolver_scenarios import named

    from evolver import library
    from evolver.evolution import humans, serving_task
    from evolver.exercised import keep_hooks
    from evolver.mutator import Mutator

    started = time.monotonic()
    (scenario,) = named((name,))
    problem = scenario.problem(seed)
    windows = problem.windows()
    fresh = scenario.problem(seed + FRESH).windows()
    unseen = [replace(one, name=f"fresh-{one.name}") for one in fresh.all]
    donors = (keep_hooks(library.read(name), problem.hooks) for name in library.names())
    mutator = Mutator(tuple(text for text in donors if text), hooks=problem.hooks)
    people = humans(problem.hooks)
    line: dict[str, Any] = {"scenario": name, "seed": seed, "arms": {}}
    task = serving_task(problem, windows, LocalPool((*windows.scenarios, *unseen)))
    judge = Judge(task, people, [one.name for one in (*windows.sealed, *unseen)])
    line |= {"humans": judge.human_objectives, "judged_on": judge.unseen}
    for arm in ["engine", *options.arms] if options.arms else ARMS:
        before_s = _cpu_s()
        watched = Watched(task, judge.yardstick, one_rung=arm != "engine")
        contest = Contest(
            cast("Task", watched),
            people,
            mutator,
            options.evaluations,
            seed,
            settings=_settings(options),
        )
        found = ARMS[arm](contest)
        line["arms"][arm] = {
            "best": found.best, "evaluations": found.evaluations, "kept": found.candidates,
            "curve": watched.curve, **judge.deployed(found), "cpu_s": _cpu_s() - before_s,
        }  # fmt: skip
    return line | {"seconds": time.monotonic() - started, "cpu_s": _cpu_s()}


def _cpu_s() -> float:
    """Processor time of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return math.fsum(one.ru_utime + one.ru_stime for one in used)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    given = (setting.partition("=") for setting in options.set)
    return NO_PROOF | {name: json.loads(value) for name, _, value in given}


class Judge:
    """Chooses what an arm would deploy, and measures it where no arm has looked.

    Attributes:
        yardstick: best human objective on each training window.
        unseen: windows that are measured on.
        human_objectives: each human's on those.
    """

    def __init__(self, task: Task, people: Sequence[Any], unseen: Sequence[str]) -> None:
        from evolver.evaluation import Trial
        from evolver.task import Refused, Split

        self._task = task
        self._validation = task.windows(Split.VALIDATION)
        self.unseen = list(unseen)
        programs = {one.name: task.verify(one.text, one.name) for one in people}
        self._humans = {
            name: Trial(program, program.parameters())
            for name, program in programs.items()
            if not isinstance(program, Refused)
        }
        training = task.windows(Split.TRAINING)
        results = self._results(list(self._humans.values()), training)
        self.yardstick = {w: min(r[w].objective for r in results) for w in training}
        judged = self._results(list(self._humans.values()), self.unseen)
        self.human_objectives = {
            name: [results[w].objective for w in self.unseen]
            for name, results in zip(self._humans, judged, strict=True)
        }

    def _results(self, trials: Sequence[Trial], windows: Sequence[str]) -> list[Results]:
        from evolver.task import Job

        jobs = [Job(one.program, one.parameters, tuple(windows), one.digest) for one in trials]
        return [{r.window: r for r in results} for results in self._task.evaluate(jobs)]

    def deployed(self, found: Found) -> dict[str, Any]:
        """The best on the validation windows of an arm's finalists and all humans, measured."""
        from evolver_arms import score_of

        trials = [*self._humans.values(), *found.finalists]
        results = self._results(trials, self._validation)
        yardstick = {w: min(r[w].objective for r in results) for w in self._validation}
        scores = [score_of(one, yardstick) for one in results]
        best = min(range(len(trials)), key=lambda k: (round(scores[k], 6), k))
        (measured,) = self._results([trials[best]], self.unseen)
        return {
            "human": best < len(self._humans),
            "objectives": [measured[w].objective for w in self.unseen],
            "text": trials[best].program.annotated(),
            "parameters": dict(trials[best].parameters),
        }


def report_of(rows: Sequence[Mapping[str, Any]], wall_s: float) -> dict[str, Any]:
    """Per scenario the mean log-ratio of every other arm's objective to the engine's."""
    scenarios = {}
    for name in dict.fromkeys(row["scenario"] for row in rows):
        mine = [row for row in rows if row["scenario"] == name]
        others = [arm for arm in mine[0]["arms"] if arm != "engine"]
        against = {arm: interval([log_ratio(row, arm) for row in mine]) for arm in others}
        scenarios[name] = {
            "against": against,
            "gain": interval([human_gain(row) for row in mine]),
            "won": all(one["mean"] > 0.0 for one in against.values()),
            "cpu_s": math.fsum(row["cpu_s"] for row in mine),
        }
    intervals = [one for s in scenarios.values() for one in s["against"].values()]
    return {
        "schema": 1,
        "machine": f"{os.cpu_count()} x {_processor()}, Python {platform.python_version()}",
        "wall_s": wall_s,
        "cpu_s": math.fsum(row["cpu_s"] for row in rows),
        "won": sum(s["won"] for s in scenarios.values()),
        "of": len(scenarios),
        "proved": sum(one["low"] > 0.0 for one in intervals),
        "lost": sum(one["high"] < 0.0 for one in intervals),
        "comparisons": len(intervals),
        "scenarios": scenarios,
    }


def log_ratio(row: Mapping[str, Any], arm: str) -> float:
    """Mean over unseen windows of log(the arm's objective / the engine's); above 0 is a win."""
    theirs, ours = row["arms"][arm]["objectives"], row["arms"]["engine"]["objectives"]
    return _mean([math.log(a / b) for a, b in zip(theirs, ours, strict=True)])


def human_gain(row: Mapping[str, Any], arm: str = "engine") -> float:
    """The same against the human policy that is best on those windows in hindsight."""
    ours = row["arms"][arm]["objectives"]
    logs = [
        _mean([math.log(a / b) for a, b in zip(theirs, ours, strict=True)])
        for theirs in row["humans"].values()
    ]
    return min(logs)


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean over seeds with Student's 95 % interval; paired, as each value is a difference."""
    mean, count = _mean(values), len(values)
    if count < 2:
        return {"mean": mean, "low": -math.inf, "high": math.inf}
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1) / count)
    half = T_95[min(count, len(T_95)) - 1] * spread
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _processor() -> str:
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _print(report: Mapping[str, Any], scenarios: Sequence[Scenario]) -> None:
    words = {scenario.name: scenario.words for scenario in scenarios}
    arms = next(iter(report["scenarios"].values()))["against"]
    print(f"{report['machine']}; wall {report['wall_s'] / 60:.1f} min, "
          f"{report['cpu_s'] / 60:.1f} min of processor time")  # fmt: skip
    head = "".join(f"{'against ' + arm:>24}" for arm in arms)
    print(f"{'scenario':<14}{head}{'best human':>24}  won")
    for name, one in report["scenarios"].items():
        cells = "".join(_cell(found) for found in (*one["against"].values(), one["gain"]))
        print(f"{name:<14}{cells}  {'yes' if one['won'] else 'no '}  {words.get(name, '')}")
    print(f"won {report['won']} of {report['of']} ({TO_BEAT} of 10 are asked for); of "
          f"{report['comparisons']} intervals {report['proved']} lie above none, "
          f"{report['lost']} below")  # fmt: skip


def _cell(one: Mapping[str, float]) -> str:
    mean, low, high = (100.0 * math.expm1(one[key]) for key in ("mean", "low", "high"))
    return f"{mean:>+9.1f} %{f'({low:+.1f} {high:+.1f})':>14}" if math.isfinite(low) else (
        f"{mean:>+22.1f} %")  # fmt: skip


if __name__ == "__main__":
    main()
