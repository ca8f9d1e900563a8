"""Runs policies on the windows of one scenario in this process, nothing twice.

For processes that are locked down as a whole. The engines decide alike, so which one runs a policy
is a matter of time only: it is compiled once interpreting it has taken as long as compiling would.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from evolver.serving_task import ServingTask
from evolver.task import Program, Refusal, Refused, Split
from sandbox.cluster import ClusterSpec
from sandbox.compiled import build_policy, link_policy
from sandbox.engine import LoadedPolicy, load_policy
from sandbox.errors import SandboxError
from sandbox.kernel.calls import CALLED
from sandbox.scenario import Scenario, outcome_of, score
from sandbox.scores import Candidate, WindowScore, worst_score
from sandbox.simulation import Outcome
from sandbox.source import PolicySource
from sandbox.verifier import PolicyRefused, verify

COMPILE_S, CHARACTER_S = 0.2, 4e-4  # what compiling a policy takes, and for each character
MOST_TEXTS, MOST_LOADED = 2048, 128


@functools.lru_cache(MOST_TEXTS)
def verified(text: str) -> PolicySource:
    """The verified source of a text, which is met many times; raises PolicyRefused."""
    return verify(text)


@functools.lru_cache(MOST_LOADED)
def compiled(canonical: str, text: str) -> LoadedPolicy:
    """A policy in machine code made by this process."""
    del canonical
    source = verified(text)
    return link_policy(source, build_policy(source, CALLED), only=CALLED)


@functools.lru_cache(MOST_LOADED)
def interpreted(canonical: str, text: str) -> LoadedPolicy:
    """A policy in the interpreted engine."""
    del canonical
    return load_policy(verified(text), engine="interpreted", only=CALLED)


class Runs:
    """Scores of policies on windows, each simulated once; a pool as `ServingTask` wants it.

    Attributes:
        requests: simulated so far.
    """

    def __init__(self, windows: Sequence[Scenario]) -> None:
        self._windows = {window.name: window for window in windows}
        self._known: dict[tuple[str, str, str], WindowScore] = {}
        self._spent_s: dict[str, float] = {}
        self._ready: dict[str, LoadedPolicy] = {}
        self.requests = 0

    def evaluate(
        self,
        jobs: Sequence[tuple[Candidate, Sequence[str]]],
        on_done: Callable[[int, list[WindowScore]], None],
    ) -> list[list[WindowScore]]:
        """Scores of each job, one per window, in order."""
        found = []
        for index, (candidate, windows) in enumerate(jobs):
            found.append([self._score(candidate, window) for window in windows])
            on_done(index, found[-1])
        return found

    def _score(self, candidate: Candidate, window: str) -> WindowScore:
        source = verified(candidate.source_text)
        parameters = {**source.parameters(), **(candidate.parameters or {})}
        key = (source.canonical, json.dumps(parameters, sort_keys=True), window)
        if key not in self._known:
            self._known[key] = self._run(source, parameters, window)
        return self._known[key]

    def ready(self, policies: Mapping[str, LoadedPolicy]) -> None:
        """Machine code that is there already, by canonical text."""
        self._ready.update(policies)

    def outcome(
        self,
        source: PolicySource,
        parameters: Mapping[str, float],
        window: str,
        cluster: ClusterSpec | None = None,
    ) -> tuple[Outcome, Scenario]:
        """What happens on a window, or on the same window on another cluster."""
        scenario = self._windows[window]
        if cluster is not None:
            scenario = replace(scenario, cluster=cluster)
        self.requests += len(scenario.trace)
        policy = self._policy(source).with_parameters(parameters)
        started_s = time.process_time()
        found = outcome_of(scenario, policy)
        spent_s = self._spent_s.get(source.canonical, 0.0) + time.process_time() - started_s
        self._spent_s[source.canonical] = spent_s
        return found, scenario

    def _policy(self, source: PolicySource) -> LoadedPolicy:
        if source.canonical in self._ready:
            return self._ready[source.canonical]
        compiling_s = COMPILE_S + CHARACTER_S * len(source.canonical)
        if self._spent_s.get(source.canonical, 0.0) > compiling_s:
            return compiled(source.canonical, source.annotated())
        return interpreted(source.canonical, source.annotated())

    def _run(
        self, source: PolicySource, parameters: Mapping[str, float], window: str
    ) -> WindowScore:
        try:
            outcome, scenario = self.outcome(source, parameters, window)
        except SandboxError as error:
            return worst_score(window, type(error).__name__)
        return score(scenario, outcome)


class BoardTask(ServingTask):
    """A scenario as a search sees it: what is sealed is not there, since no proof is asked for."""

    def windows(self, split: Split) -> tuple[str, ...]:
        """Training and validation windows only."""
        return () if split is Split.SEALED else super().windows(split)

    def variants(self) -> tuple[str, ...]:
        """None: what is found is chosen on validation windows, like everybody's constants."""
        return ()

    def verify(self, text: str, name: str) -> Program | Refused:
        """The verified policy, or the verifier's words; known texts are not read again."""
        del name
        try:
            source = verified(text)
        except PolicyRefused as refused:
            reasons = refused.refusals
            return Refused(tuple(Refusal(r.line, r.code, r.reason, r.mend) for r in reasons))
        return self.admitted(source)
