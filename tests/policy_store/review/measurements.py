"""Evidence as a run leaves it: ten sealed units, nine training windows, five rivals, gates."""

from __future__ import annotations

import math
from dataclasses import replace

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
from sandbox.stats import Interval

SOURCE = '''"""Shortest queue."""
KNEE = 0.5


def route(request, instances, memory):
    best, least = -1, INF
    for inst in instances:
        if inst.queued_requests < least:
            best, least = inst.id, inst.queued_requests
    return best
'''
RIVALS = {Role.ACTIVE: 1.09, Role.BEST_HUMAN: 1.05, Role.BEST_HUMAN_HINDSIGHT: 1.04}


def window(number: int, sealed: bool) -> WindowEvidence:
    mine = 4.0 + math.sin(number)
    noise = math.exp(0.02 * (-1) ** number)  # none in the mean of the sealed ones
    slower = {role: mine * ratio * noise for role, ratio in RIVALS.items()}
    objective = {Role.CANDIDATE: mine, **slower}
    metrics = {
        role: {"ttft_p99_s": value / 5, "tpot_mean_s": 0.02, "reconfigurations": 0.0,
               "rejected": 0.0, "smooth_goodput": 0.9, "e2e_p99_s": None}
        for role, value in objective.items()
    }  # fmt: skip
    name = f"w{number:02d}"
    start_s = 300.0 * number
    return WindowEvidence(name, name, sealed, start_s, start_s + 300.0, 0.8, number, objective,
                          metrics)  # fmt: skip


def measurements(
    digest: str, source: str = SOURCE, outcome: Outcome = Outcome.IMPROVED
) -> Evidence:
    """What a run found out about the policy with this digest."""
    time = TimeSplit(scheduling_s=1.0, reconfiguration_s=2.0, serving_s=97.0)
    rivals = tuple(
        Contender(role, role.value, f"{k:x}" * 64, replace(time, serving_s=104.0), 90.0)
        for k, role in enumerate(RIVALS, 1)
    )
    effects = tuple(
        Effect(role, "mean end-to-end time", True,
               Interval(low=math.log(ratio) - 0.02, high=math.log(ratio) + 0.02,
                        mean=math.log(ratio), confidence=0.95, windows=10), 0.002)
        for role, ratio in RIVALS.items()
    )  # fmt: skip
    return Evidence(
        outcome=outcome,
        verdict="9 % faster than the active policy on windows that the search did not see.",
        source_digest=source_digest(source),
        contenders=(Contender(Role.CANDIDATE, "candidate", digest, time, 420.0), *rivals),
        gates=(
            Gate("ttft_p99", GateStatus.PASS, "0.80 s against 0.87 s"),
            Gate("fairness", GateStatus.NOT_RUN, "one tenant only"),
        ),
        windows=tuple(window(k, sealed=k >= 9) for k in range(19)),
        effects=effects,
        profile="H100 SXM x llama-3.1-8b",
        cluster="four-h100",
        simulator_version="0.1.0",
        contract_version=1,
        fuel_price_ns=2.5,
        seed=1,
        loads=(0.8,),
        candidates_tried=31,
        finalists=3,
    )
