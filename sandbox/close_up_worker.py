"""Looks closely at windows in locked-down processes: what happened there under two policies.

The same children, questions and checks as for scores; besides the outcome a child tells how the
fleet stood at the edges of the bins. What it tells is held against the outcome before it is used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sandbox.close_up import BINS, MOST_WINDOWS, CloseUp, Why
from sandbox.close_up_window import Seen, close_up_of, edges_s
from sandbox.engine import LoadedPolicy
from sandbox.errors import SandboxError
from sandbox.kernel.state import ACTIVE, LEAVING, PS_PER_S, Sim
from sandbox.metrics import Floats
from sandbox.outcome_bytes import outcome_length, outcome_to_bytes
from sandbox.replay import default_policy
from sandbox.scenario import Scenario, score
from sandbox.scores import Candidate, WindowScore
from sandbox.scoring import Question, ServingScoring, asked_of, policy_of
from sandbox.simulation import Outcome, simulate
from sandbox.worker import WorkerPool
from sandbox.worker_lockdown import Limits
from sandbox.worker_process import Role

DEADLINE_S = 30.0
INTERPRETED_REQUESTS, INTERPRETING_S = 5000, 2.0  # then machine code is made after all
_SIDES = ("candidate", "active policy")
_COLUMNS = 3  # reconfigurations, instances, KV use
_GLANCE_BYTES = 8 * _COLUMNS * (BINS + 1)


class CloseUpFailed(SandboxError):
    """A policy that did not come through the windows; the message says why."""


@dataclass(frozen=True, slots=True)
class Look:
    """A window to look at, and why."""

    scenario: Scenario
    why: Why
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A policy to show: what runs, and the digest it goes by."""

    candidate: Candidate
    digest: str


def look_closely(
    looks: Sequence[Look],
    candidate: Shown,
    active: Shown,
    *,
    deadline_s: float = DEADLINE_S,
    accept_missing: Collection[str] = (),
) -> CloseUp:
    """Simulate both policies on up to three windows, side by side, and compare them.

    Raises:
        CloseUpFailed: one was refused, crashed or took too long.
        WorkersUnavailable, IsolationMissing: no policy is to blame.
    """
    looks = tuple(looks)[:MOST_WINDOWS]
    names = [look.scenario.name for look in looks]
    scoring = CloseUpScoring([look.scenario for look in looks])
    seen: dict[int, Sequence[Seen]] = {}
    jobs = [(one.candidate, names) for one in (candidate, active)]
    for who, (asked, _) in zip(_SIDES, jobs, strict=True):
        try:
            scoring.question(asked, names)
        except (SandboxError, ValueError) as refused:
            raise CloseUpFailed(f"The {who} was refused: {refused}") from refused

    def keep(job: int, scores: list[WindowScore]) -> None:
        if not scoring.last:
            raise CloseUpFailed(f"The {_SIDES[job]} did not come through: {scores[0].fault}.")
        seen[job], scoring.last = scoring.last, ()

    with WorkerPool(scoring, 2, deadline_s, accept_missing=accept_missing) as pool:
        pool.evaluate(jobs, keep)
    windows = [
        close_up_of(look.scenario, look.why, mine, theirs, sealed=look.sealed)
        for look, mine, theirs in zip(looks, seen[0], seen[1], strict=True)
    ]
    return CloseUp(candidate.digest, active.digest, tuple(windows))


class CloseUpScoring(ServingScoring):
    """Scores as for a search, and keeps what the latest answer showed in `last`."""

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        super().__init__(scenarios)
        self.last: Sequence[Seen] = ()

    def question(self, candidate: Candidate, windows: Sequence[str]) -> Question:
        """As for scores; few requests are interpreted, since each policy is asked once."""
        asked = super().question(candidate, windows)
        requests = sum(len(self.scenario(name).trace) for name in windows)
        if requests > INTERPRETED_REQUESTS:
            return asked
        return Question(asked.message, needs_code=False, patience_s=INTERPRETING_S)

    def roles(self, limits: Limits) -> Mapping[str, Role]:
        """As for scores; the answer is longer."""
        most = sum(outcome_length(len(s.trace), s.cluster) + _GLANCE_BYTES for s in self.payload)
        job = Role("sandbox.close_up_worker:look_job", limits=limits, max_reply_bytes=most)
        return {**super().roles(limits), "score": job}

    def scores(self, windows: Sequence[str], reply: bytes) -> list[WindowScore]:
        """What a child's answer is worth; `last` is what it showed.

        Raises:
            ValueError: it is no answer, or cannot be true.
        """
        self.last = ()
        cut = len(reply) - _GLANCE_BYTES * len(windows)
        outcomes = self.outcomes(windows, reply[: max(cut, 0)])
        glances = np.frombuffer(reply, np.float64, offset=cut)
        glances = glances.reshape(len(windows), BINS + 1, _COLUMNS)
        self.last = [_seen(*pair) for pair in zip(outcomes, glances, strict=True)]
        return [
            score(self.scenario(name), outcome)
            for name, outcome in zip(windows, outcomes, strict=True)
        ]


def _seen(outcome: Outcome, glance: Floats) -> Seen:
    """A child's glances, once they agree with its outcome."""
    changes, instances, kv_use = glance.T
    known = np.isfinite(glance[:, :2]).all() and (glance[:, :2] >= 0.0).all()
    rising = (np.diff(changes) >= 0.0).all()
    most = float(outcome.totals["reconfigurations"])
    shares = np.isnan(kv_use) | ((kv_use >= 0.0) & (kv_use <= 1.0))
    if not (known and rising and changes[-1] <= most and instances.max() < 1e6 and shares.all()):
        raise ValueError("a fleet that cannot be")
    return Seen(outcome, changes, instances, kv_use)


def look_job(
    payload: Sequence[Scenario], message: Mapping[str, Any], attachment: bytes, kept: dict[str, Any]
) -> bytes:
    """Outcomes of a policy on windows, then how the fleet stood at the edges of the bins."""
    policy = policy_of(message, attachment, kept)
    outcomes, glances = [], []
    for scenario in asked_of(payload, message):
        outcome, glance = watched_run(scenario, policy)
        outcomes.append(outcome_to_bytes(outcome, scenario.cluster))
        glances.append(glance.tobytes())
    return b"".join((*outcomes, *glances))


def watched_run(scenario: Scenario, policy: LoadedPolicy) -> tuple[Outcome, Floats]:
    """What happens in a window, and a row of ``[BINS + 1, 3]`` floats at each edge."""
    edges = np.round(edges_s(scenario) * PS_PER_S).astype(np.int64)
    glances = np.full((BINS + 1, _COLUMNS), np.nan)
    glances[:, :2] = 0.0
    told, last = 0, None

    def look(sim: Sim) -> None:
        nonlocal told, last
        now, last = int(sim.totals[0]["now"]), sim
        if told <= BINS and now >= edges[told]:
            passed = int(np.searchsorted(edges, now, "right"))
            glances[told:passed] = _glance(sim)
            told = passed

    outcome = simulate(scenario.setup, policy, default_policy(), look)
    if last is not None:
        glances[told:] = _glance(last)
    return outcome, glances


def _glance(sim: Sim) -> tuple[float, float, float]:
    """Reconfigurations until now, instances that serve, and the share of their KV in use."""
    serving = np.isin(sim.instances["state"], (ACTIVE, LEAVING))
    total = float(sim.instances["blocks_total"][serving].sum())
    used = float(sim.instances["blocks_used"][serving].sum())
    share = min(used / total, 1.0) if total else np.nan
    return float(sim.totals[0]["reconfigurations"]), float(serving.sum()), share
