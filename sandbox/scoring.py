"""How candidates are scored: what a job asks a locked-down child, and what its parent believes.

The child verifies the source, links or interprets it, simulates, and answers with what happened.
Scores are the parent's: it checks that the outcome can be true and computes metrics from it, so
nothing that a policy does to its own process can choose a number. Machine code is made in a child
of another role, which may read the packages' folders and runs no policy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.engine import LoadedPolicy, load_policy
from sandbox.hardware import build_hardware
from sandbox.native.compiler import compile_role
from sandbox.native.policy_code import PolicyCode
from sandbox.outcome_bytes import outcome_from_bytes, outcome_length, outcome_to_bytes
from sandbox.plausibility import check_outcome
from sandbox.predictions import told_in
from sandbox.replay import default_policy
from sandbox.scenario import Scenario, outcome_of, score
from sandbox.scores import Candidate, WindowScore
from sandbox.simulation import Outcome
from sandbox.source import PolicySource
from sandbox.verifier import verify
from sandbox.worker_lockdown import Limits
from sandbox.worker_process import Role

# Of the interpreted engine, roughly: a call, a unit of fuel; and what compiling takes instead.
DECISION_S, FUEL_S, COMPILE_S = 40e-6, 0.1e-6, 0.3
PATIENCE_S = 5.0  # planners may think for minutes when interpreted, and nobody can tell before
COST_INSTANCES = 64  # static costs are for this many
KEPT_SOURCES = 256
# of hooks that are asked as often as there are requests, about; others are asked by the clock
_CALLS_A_REQUEST = {"route": 1, "route_decode": 1, "priority": 4, "admit": 2}


@dataclass(frozen=True, slots=True)
class Question:
    """What a child is asked.

    Attributes:
        needs_code: the job is long enough for machine code to be made first.
        patience_s: a job without code that takes longer gets some after all.
    """

    message: Mapping[str, object]
    needs_code: bool
    patience_s: float = PATIENCE_S


class ServingScoring:
    """Scores policies on scenarios by name; see `sandbox.worker.Scoring`."""

    prepare = "sandbox.scoring:prepare"

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        self.payload = tuple(scenarios)
        self._by_name = {scenario.name: scenario for scenario in self.payload}
        self._interpreted_s: dict[str, float] = {}  # by canonical text, the latest last
        self._verify = functools.lru_cache(KEPT_SOURCES)(verify)

    def roles(self, limits: Limits) -> Mapping[str, Role]:
        """Children that score, and children that compile."""
        most = sum(outcome_length(len(s.trace), s.cluster) for s in self.payload)
        return {
            "score": Role("sandbox.scoring:score_job", limits=limits, max_reply_bytes=most),
            "compile": compile_role(limits),
        }

    def question(self, candidate: Candidate, windows: Sequence[str]) -> Question:
        """What to ask about a candidate on windows.

        Raises:
            PolicyRefused, ParametersRefused: it is not admitted.
            KeyError: there is no such window.
        """
        asked = [self._by_name[name] for name in windows]
        source = self._verify(candidate.source_text)
        source.vector(candidate.parameters)
        plain = candidate.parameters
        parameters = None if plain is None else {k: float(v) for k, v in plain.items()}
        message = {
            "source": candidate.source_text,
            "parameters": parameters,
            "windows": list(windows),
            "only": list(source.hooks),
        }
        interpreted = all(scenario.interpreted for scenario in asked)
        return Question(message, not interpreted and self._is_worth_compiling(source, asked))

    def _is_worth_compiling(self, source: PolicySource, asked: Sequence[Scenario]) -> bool:
        """Has interpreting it, this time included, taken as long as compiling it would?

        Most candidates run once and briefly; one whose constants are tuned comes again and again.
        """
        key = source.canonical
        spent_s = self._interpreted_s.pop(key, 0.0) + _interpreting_s(source, asked)
        self._interpreted_s[key] = spent_s
        if len(self._interpreted_s) > KEPT_SOURCES:
            del self._interpreted_s[next(iter(self._interpreted_s))]
        return spent_s > COMPILE_S

    def scores(self, windows: Sequence[str], reply: bytes) -> list[WindowScore]:
        """What a child's answer is worth, window by window.

        Raises:
            MalformedOutcome, ImplausibleOutcome: it is no answer, or cannot be true.
        """
        outcomes = self.outcomes(windows, reply)
        return [score(self.scenario(n), one) for n, one in zip(windows, outcomes, strict=True)]

    def outcomes(self, windows: Sequence[str], reply: bytes) -> list[Outcome]:
        """What a child's answer says that happened, window by window.

        Raises:
            MalformedOutcome, ImplausibleOutcome: it is no answer, or cannot be true.
        """
        found, at = [], 0
        for scenario in map(self.scenario, windows):
            requests, cluster = len(scenario.trace), scenario.cluster
            end = at + outcome_length(requests, cluster)
            outcome = outcome_from_bytes(reply[at:end], requests, cluster)
            check_outcome(outcome, scenario.setup, build_hardware(cluster))
            found.append(outcome)
            at = end
        if at != len(reply):
            raise ValueError("an answer for other windows")
        return found

    def scenario(self, name: str) -> Scenario:
        """The scenario of a name."""
        return self._by_name[name]


def prepare(payload: Sequence[Scenario]) -> None:
    """Load all that children share: kernel, both engines, compiler, the default policy.

    They open no file once they are locked down, so all that is imported late is run once here.
    What is predicted of requests is the same for all of them, and worked out here, too.
    """
    from sandbox.native import compile_job

    default = default_policy()
    outcome_of(payload[0], default)
    for scenario in payload:
        told_in(scenario.setup)
    load_policy(default.source, engine="interpreted")
    compile_job.prepare(payload)


def score_job(
    payload: Sequence[Scenario], message: Mapping[str, Any], attachment: bytes, kept: dict[str, Any]
) -> bytes:
    """Outcomes of a candidate on windows."""
    policy = policy_of(message, attachment, kept)
    asked = asked_of(payload, message)
    return b"".join(outcome_to_bytes(outcome_of(s, policy), s.cluster) for s in asked)


def policy_of(message: Mapping[str, Any], code: bytes, kept: dict[str, Any]) -> LoadedPolicy:
    """The policy that a job asks for; what was loaded is kept for other parameters."""
    source = kept.get("source")
    if source is None:
        source = kept["source"] = verify(message["source"])
    engine = "compiled" if code else "interpreted"
    if engine not in kept:
        kept[engine] = _loaded(source, code)
    policy: LoadedPolicy = kept[engine]
    if message["parameters"] is not None:
        policy = policy.with_parameters(message["parameters"])
    return policy


def asked_of(payload: Sequence[Scenario], message: Mapping[str, Any]) -> list[Scenario]:
    """The scenarios that a job asks for."""
    by_name = {scenario.name: scenario for scenario in payload}
    return [by_name[name] for name in message["windows"]]


def _loaded(source: PolicySource, code: bytes) -> LoadedPolicy:
    """The engines decide alike, so which one it is changes nothing but the time it takes."""
    if not code:
        return load_policy(source, engine="interpreted")
    return load_policy(source, code=PolicyCode.from_bytes(code))


def _interpreting_s(source: PolicySource, asked: Sequence[Scenario]) -> float:
    """What interpreting every decision takes, roughly; endless where nobody can tell."""
    if any(hook not in _CALLS_A_REQUEST for hook in source.hooks):
        return math.inf
    most_instances = sum(pool.most for pool in asked[0].cluster.pool)
    share = min(most_instances / COST_INSTANCES, 1.0)
    a_request_s = math.fsum(
        _CALLS_A_REQUEST[hook] * (DECISION_S + source.cost.get(hook, 0) * share * FUEL_S)
        for hook in source.hooks
    )
    return a_request_s * sum(len(scenario.trace) for scenario in asked)
