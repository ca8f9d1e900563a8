"""Turns a verdict into the sandbox's `Evidence`: every contender on every opened window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from evolver.archive import Member
from evolver.selection import RESAMPLES, Verdict, smallest_gain
from evolver.selection import Outcome as Decided
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
from sandbox.scenario import Scenario, Windows
from sandbox.scores import WORST_OBJECTIVE_S, Candidate, WindowScore
from sandbox.stats import MIN_WINDOWS, log_ratios, paired_bootstrap, sign_flip_p
from sandbox.worker import WorkerPool

if TYPE_CHECKING:
    from evolver.evolution import Problem

SHOWN = ("ttft_mean_s", "ttft_p99_s", "tpot_mean_s", "e2e_p50_s", "e2e_p99_s", "slo_attainment",
         "smooth_goodput", "rejected", "unfinished", "reconfigurations", "preemptions")  # fmt: skip
_PARTS = ("scheduling_s", "reconfiguration_s", "serving_s")
Scored = dict[Role, list[WindowScore]]


def evidence_of(
    verdict: Verdict, problem: Problem, windows: Windows, pool: WorkerPool
) -> Evidence | None:
    """The record of a verdict; None when no sealed window was opened.

    The candidate and its rivals are scored once more on all windows, so that one record has every
    number; equal inputs give equal scores.
    """
    if verdict.winner is None or not verdict.effects:
        return None
    members = _contenders(verdict.winner, verdict)
    cluster = problem.cluster
    scored = _score(members, windows.all, pool)
    sealed = [k for k, scenario in enumerate(windows.all) if scenario in windows.sealed]
    return Evidence(
        outcome=_outcome(verdict, len(sealed), smallest_gain(cluster)),
        verdict=verdict.reason,
        source_digest=source_digest(verdict.winner.program.canonical),
        contenders=tuple(_contender(role, m, scored[role]) for role, m in members.items()),
        gates=tuple(
            Gate(g.name, GateStatus.PASS if g.passed else GateStatus.FAIL, g.sentence)
            for g in verdict.gates
        ),
        windows=tuple(
            _window(k, scenario, k in sealed, scored, problem)
            for k, scenario in enumerate(windows.all)
        ),
        effects=tuple(_effects(scored, sealed, problem.seed)),
        profile=", ".join(sorted({f"{p.gpu} x {cluster.model}" for p in cluster.pool})),
        cluster=cluster.name,
        simulator_version=version("evolver"),
        contract_version=CONTRACT_VERSION,
        fuel_price_ns=cluster.price.fuel_ns,
        seed=problem.seed,
        loads=(problem.load.load,) if problem.load.load is not None else (),
    )


def _contenders(winner: Member, verdict: Verdict) -> dict[Role, Member]:
    """Winner first, then every rival that the verdict weighed it against, once each."""
    members = {Role.CANDIDATE: winner, Role.BEST_HUMAN: verdict.best_human}
    for effect in verdict.effects:
        if effect.rival.digest == verdict.active != verdict.best_human.digest:
            members[Role.ACTIVE] = effect.rival
        elif effect.rival.digest != verdict.best_human.digest:
            members[Role.BEST_HUMAN_HINDSIGHT] = effect.rival
    return members


def _score(members: dict[Role, Member], scenarios: Sequence[Scenario], pool: WorkerPool) -> Scored:
    names = [scenario.name for scenario in scenarios]
    jobs = [(Candidate(m.text, dict(m.parameters)), names) for m in members.values()]
    answers = [[_charged(score) for score in scores] for scores in pool.evaluate(jobs)]
    return dict(zip(members, answers, strict=True))


def _charged(score: WindowScore) -> WindowScore:
    """A window with a faulty decision is the worst case, as it was in the verdict."""
    faulty = score.fault is not None or score.faults > 0
    return replace(score, objective=WORST_OBJECTIVE_S) if faulty else score


def _outcome(verdict: Verdict, sealed: int, smallest: float) -> Outcome:
    if verdict.outcome is Decided.IMPROVED:
        return Outcome.IMPROVED
    if sealed < MIN_WINDOWS:
        return Outcome.NOT_ENOUGH
    if any(not gate.passed for gate in verdict.gates):
        return Outcome.REJECTED
    effect = verdict.effect
    if effect is None or effect.high <= 0.0:
        return Outcome.NO_CHANGE
    unsure = effect.low <= 0.0 or effect.gain < smallest
    return Outcome.INCONCLUSIVE if unsure else Outcome.NO_CHANGE


def _total(scores: Sequence[WindowScore], metric: str) -> float:
    return math.fsum(score.metrics.get(metric, 0.0) for score in scores)


def _contender(role: Role, member: Member, scores: Sequence[WindowScore]) -> Contender:
    time = TimeSplit(*(_total(scores, part) for part in _PARTS))
    fuel = _total(scores, "fuel_per_decision") / max(len(scores), 1)
    return Contender(role, member.name, member.digest, time, fuel)


def _window(
    k: int, scenario: Scenario, sealed: bool, scored: Scored, problem: Problem
) -> WindowEvidence:
    return WindowEvidence(
        name=scenario.name,
        unit=scenario.name,
        sealed=sealed,
        start_s=scenario.start_s,
        stop_s=scenario.stop_s,
        load=problem.load.load or 0.0,
        seed=scenario.seed,
        objective={role: scores[k].objective for role, scores in scored.items()},
        metrics={
            role: {name: scores[k].metrics.get(name) for name in SHOWN}
            for role, scores in scored.items()
        },
    )


def _effects(scored: Scored, sealed: Sequence[int], seed: int) -> list[Effect]:
    effects = []
    mine = [scored[Role.CANDIDATE][k].objective for k in sealed]
    for role in scored:
        if role is Role.CANDIDATE:
            continue
        ratios = log_ratios([scored[role][k].objective for k in sealed], mine)
        interval = paired_bootstrap(ratios, seed=seed, resamples=RESAMPLES)
        effects.append(
            Effect(role, "mean end-to-end time", True, interval, sign_flip_p(ratios, seed=seed))
        )
    return effects
