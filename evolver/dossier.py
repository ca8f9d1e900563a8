"""Turns a verdict into the sandbox's `Evidence`: every contender on every window that it ran on.

Nothing is simulated again: the numbers are those that the verdict was made of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version

from evolver.archive import Member
from evolver.problem import Problem
from evolver.task import Results, Split, Task, WindowResult
from evolver.verdict import Outcome as Decided
from evolver.verdict import Verdict
from evolver.written import written
from sandbox.contract import CONTRACT_VERSION
from sandbox.evidence import (
    Contender,
    Effect,
    Evidence,
    Gate,
    GateStatus,
    Outcome,
    Role,
    TimeSplit,
    WindowEvidence,
)
from sandbox.identity import source_digest
from sandbox.profile_standing import Grade, ProfileStanding
from sandbox.scenario import Scenario
from sandbox.stats import compare, gain_by_window

SHOWN = ("ttft_mean_s", "ttft_p99_s", "tpot_mean_s", "e2e_p50_s", "e2e_p99_s", "slo_attainment",
         "smooth_goodput", "rejected", "unfinished", "reconfigurations", "preemptions")  # fmt: skip
_PARTS = ("scheduling_s", "reconfiguration_s", "serving_s")
Scored = Mapping[Role, Results]


def evidence_of(
    verdict: Verdict, problem: Problem, scenarios: Sequence[Scenario], task: Task
) -> Evidence | None:
    """The record of a verdict; None when no sealed window was opened.

    Args:
        verdict: of a run on the problem.
        problem: what was searched on.
        scenarios: every window of the run, variants included.
        task: says which windows are sealed, and what unit each belongs to.
    """
    if verdict.winner is None or not verdict.effects:
        return None
    members = _contenders(verdict.winner, verdict)
    scored = {roles[0]: verdict.results[m.digest] for m, roles in members}
    windows = tuple(
        _window(scenario, scored, task, problem)
        for scenario in scenarios
        if scenario.name in scored[Role.CANDIDATE]
    )
    cluster, doubt = problem.cluster, _doubt(problem.cluster.standing)
    outcome = _outcome(verdict, problem.smallest_gain)
    return Evidence(
        outcome=Outcome.INCONCLUSIVE if doubt and outcome is Outcome.IMPROVED else outcome,
        verdict=" ".join((verdict.reason, doubt)).strip(),
        source_digest=source_digest(verdict.winner.program.canonical),
        contenders=tuple(_contender(m, roles, scored[roles[0]]) for m, roles in members),
        gates=(
            *(Gate(g.name, GateStatus.PASS if g.passed else GateStatus.FAIL, g.sentence)
              for g in verdict.gates),
            *_profile_gate(cluster.standing),
        ),
        windows=windows,
        effects=effects_of(windows, problem.seed),
        profile=", ".join(sorted({f"{p.gpu} x {cluster.model}" for p in cluster.pool})),
        cluster=cluster.name,
        simulator_version=version("evolver"),
        contract_version=CONTRACT_VERSION,
        fuel_price_ns=cluster.price.fuel_ns,
        seed=problem.seed,
        loads=(problem.load.load,) if problem.load.load is not None else (),
        candidates_tried=verdict.tried,
        finalists=verdict.finalists,
        signals=cluster.signals,
        standing=cluster.standing,
    )  # fmt: skip


def _doubt(standing: ProfileStanding | None) -> str:
    """What stands against any number that was simulated; empty for nothing."""
    if standing is None or standing.grade is Grade.GOOD:
        return ""
    return f"The step times it rests on are {standing.grade.value} for this cluster."


def _profile_gate(standing: ProfileStanding | None) -> tuple[Gate, ...]:
    """Whether the profile can be believed, where somebody has measured that."""
    if standing is None:
        return ()
    status = GateStatus.PASS if standing.grade is Grade.GOOD else GateStatus.FAIL
    return (Gate("profile", status, standing.sentence()),)


def as_stored(evidence: Evidence, winner: Member) -> Evidence:
    """The same record under the winner's digests in the store, its constants written in."""
    source = written(winner.text, winner.parameters, winner.name)
    mine, *rivals = evidence.contenders
    named = (replace(mine, digest=source.digest()), *rivals)
    return replace(evidence, source_digest=source_digest(source.canonical), contenders=named)


def effects_of(windows: Sequence[WindowEvidence], seed: int) -> tuple[Effect, ...]:
    """The effects that the sealed windows of a record show, by its own numbers."""
    sealed = [window for window in windows if window.sealed]
    unit = {window.name: window.unit for window in sealed}
    mine = {window.name: window.objective[Role.CANDIDATE] for window in sealed}
    effects = []
    for role in (role for role in sealed[0].objective if role is not Role.CANDIDATE):
        theirs = {window.name: window.objective[role] for window in sealed}
        interval, p_value = compare(gain_by_window(theirs, mine, unit), seed=seed)
        effects.append(Effect(role, "mean end-to-end time", True, interval, p_value))
    return tuple(effects)


def _contenders(winner: Member, verdict: Verdict) -> list[tuple[Member, tuple[Role, ...]]]:
    """Winner first, then every rival that the verdict weighed it against, once each."""
    rivals = [(effect.rival, effect.roles) for effect in verdict.effects]
    return [(winner, (Role.CANDIDATE,)), *rivals]


def _outcome(verdict: Verdict, smallest: float) -> Outcome:
    """The verdict's outcome; what was no change says of which kind."""
    if verdict.outcome is Decided.IMPROVED:
        return Outcome.IMPROVED
    if any(not gate.passed for gate in verdict.gates):
        return Outcome.REJECTED
    if any(effect.high <= 0.0 for effect in verdict.effects):
        return Outcome.NO_CHANGE
    unsure = any(not effect.proved or effect.gain < smallest for effect in verdict.effects)
    return Outcome.INCONCLUSIVE if unsure else Outcome.NO_CHANGE


def _total(results: Results, metric: str) -> float:
    return math.fsum(result.metrics.get(metric, 0.0) for result in results.values())


def _contender(member: Member, roles: Sequence[Role], results: Results) -> Contender:
    time = TimeSplit(*(_total(results, part) for part in _PARTS))
    fuel = _total(results, "fuel_per_decision") / max(len(results), 1)
    return Contender(roles[0], member.name, member.digest, time, fuel, tuple(roles[1:]))


def _window(scenario: Scenario, scored: Scored, task: Task, problem: Problem) -> WindowEvidence:
    name, unit = scenario.name, task.unit(scenario.name)
    here = {role: results[name] for role, results in scored.items() if name in results}
    return WindowEvidence(
        name=name,
        unit=unit,
        sealed=name in task.windows(Split.SEALED),
        start_s=scenario.start_s,
        stop_s=scenario.stop_s,
        load=problem.load.load or 0.0,
        seed=scenario.seed,
        objective={role: result.objective for role, result in here.items()},
        metrics={role: _shown(result) for role, result in here.items()},
        variant=name != unit,
    )


def _shown(result: WindowResult) -> dict[str, float | None]:
    return {name: result.metrics.get(name) for name in SHOWN}
