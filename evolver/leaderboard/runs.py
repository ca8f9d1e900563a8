"""Runs policies on the windows of one scenario in this process, and keeps what came out.

For processes that are locked down as a whole. The engines decide alike, so which one runs a hook is
a matter of time only: hooks that some policy has in machine code run in it, the others are compiled
once interpreting them has taken as long as compiling would, or when they are about to run often.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from evolver.serving_task import ServingTask, candidate_of, result_of
from evolver.task import Description, Job, Program, Refusal, Refused, Split, WindowResult
from sandbox.cluster import ClusterSpec
from sandbox.compiled import build_policy
from sandbox.engine import LoadedPolicy
from sandbox.errors import SandboxError
from sandbox.hook_text import HookText, hook_text
from sandbox.kernel.calls import CALLED
from sandbox.mixed import mix_policy
from sandbox.native.machine_code import MachineCode
from sandbox.native.policy_code import PolicyCode
from sandbox.scenario import Scenario, mark, outcome_of, score
from sandbox.scores import Candidate, WindowScore, worst_score
from sandbox.simulation import Outcome
from sandbox.source import PolicySource
from sandbox.verifier import PolicyRefused, verify
from sandbox.windows import Windows

COMPILE_S, CHARACTER_S = 0.05, 3e-4  # what compiling a hook takes, and for each character
OFTEN = 8  # jobs of one call with the same text and other constants: compiled at once
MOST_TEXTS, MOST_LOADED = 2048, 128


@functools.lru_cache(MOST_TEXTS)
def verified(text: str) -> PolicySource:
    """The verified source of a text, which is met many times; raises PolicyRefused."""
    return verify(text)


class Engines:
    """Policies that can be called, with the machine code that there is.

    Args:
        codes: machine code of hooks, by the digest of the hook's text.
    """

    def __init__(self, codes: Mapping[str, MachineCode]) -> None:
        self._codes = dict(codes)
        self._spent_s: dict[str, float] = {}  # on interpreting a hook, by its digest
        self._usual_s: dict[str, float] = {}  # on interpreting hooks of this name for one run
        self._loaded: OrderedDict[str, tuple[frozenset[str], LoadedPolicy]] = OrderedDict()

    def load(self, source: PolicySource) -> LoadedPolicy:
        """A policy; hooks without machine code are compiled once that is the shorter way.

        So it is when one has been interpreted as long as compiling takes, the next run included.
        """
        texts = [hook_text(source, hook) for hook in source.hooks if hook in CALLED]
        for text in texts:
            compiling_s = COMPILE_S + CHARACTER_S * len(text.lowered)
            interpreting_s = self._spent_s.get(text.digest, 0.0) + self._usual_s.get(text.hook, 0.0)
            if text.digest not in self._codes and interpreting_s > compiling_s:
                self._codes |= {text.digest: build_policy(source, (text.hook,)).hooks[text.hook]}
        known = {text.hook: self._codes.get(text.digest) for text in texts}
        return self._kept(source, {hook: code for hook, code in known.items() if code is not None})

    def spent(self, source: PolicySource, seconds: float) -> None:
        """Note what it took, beside the simulator, to interpret hooks that have no machine code."""
        unknown = self._unknown(source)
        for text in unknown:
            each_s = self._usual_s[text.hook] = seconds / len(unknown)
            self._spent_s[text.digest] = self._spent_s.get(text.digest, 0.0) + each_s

    def wanted_often(self, source: PolicySource) -> None:
        """Compile what it lacks the next time that it is loaded: it will run many times."""
        self._spent_s |= dict.fromkeys((text.digest for text in self._unknown(source)), math.inf)

    def _unknown(self, source: PolicySource) -> list[HookText]:
        texts = [hook_text(source, hook) for hook in source.hooks if hook in CALLED]
        return [text for text in texts if text.digest not in self._codes]

    def _kept(self, source: PolicySource, known: Mapping[str, MachineCode]) -> LoadedPolicy:
        """The policy with these hooks in machine code; the latest are kept."""
        kept = self._loaded.pop(source.canonical, None)
        if kept is None or kept[0] != known.keys():
            kept = frozenset(known), mix_policy(source, PolicyCode(known), CALLED)
        self._loaded[source.canonical] = kept
        if len(self._loaded) > MOST_LOADED:
            self._loaded.popitem(last=False)
        return kept[1]


class Runs:
    """Scores of policies on windows, a pool as `ServingTask` wants it.

    A window is simulated once for a score, which is a mark, too, and once for a mark before that.

    Args:
        codes: machine code that is there already, of hooks, by the digest of the hook's text.

    Attributes:
        requests: simulated so far.
    """

    def __init__(
        self, windows: Sequence[Scenario], codes: Mapping[str, MachineCode] = MappingProxyType({})
    ) -> None:
        self._windows = {window.name: window for window in windows}
        self._known: dict[tuple[str, str, str], WindowScore] = {}
        self._marks: dict[tuple[str, str, str], WindowScore] = {}
        self._least_s: dict[str, float] = {}  # that a window took, which is the simulator
        self._engines = Engines(codes)
        self.requests = 0

    def evaluate(
        self,
        jobs: Sequence[tuple[Candidate, Sequence[str]]],
        on_done: Callable[[int, list[WindowScore]], None],
    ) -> list[list[WindowScore]]:
        """Scores of each job, one per window, in order."""
        self._compile_often([candidate for candidate, _ in jobs])
        found = []
        for index, (candidate, windows) in enumerate(jobs):
            found.append([self._score(candidate, window) for window in windows])
            on_done(index, found[-1])
        return found

    def mark(self, jobs: Sequence[tuple[Candidate, Sequence[str]]]) -> list[list[WindowScore]]:
        """The same without metrics and remarks, which take as long as a short window does."""
        self._compile_often([candidate for candidate, _ in jobs])
        return [
            [self._mark(candidate, window) for window in windows] for candidate, windows in jobs
        ]

    def _compile_often(self, candidates: Sequence[Candidate]) -> None:
        texts = Counter(candidate.source_text for candidate in candidates)
        for text in (text for text, times in texts.items() if times >= OFTEN):
            self._engines.wanted_often(verified(text))

    def _score(self, candidate: Candidate, window: str) -> WindowScore:
        key = _key(candidate, window)
        if key not in self._known:
            self._known[key] = self._run(candidate, window, score)
        return self._known[key]

    def _mark(self, candidate: Candidate, window: str) -> WindowScore:
        key = _key(candidate, window)
        if key not in self._marks:
            self._marks[key] = self._known.get(key) or self._run(candidate, window, mark)
        return self._marks[key]

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
        policy = self._engines.load(source).with_parameters(parameters)
        started_s = time.process_time()
        found = outcome_of(scenario, policy)
        taken_s = time.process_time() - started_s
        least_s = self._least_s[window] = min(taken_s, self._least_s.get(window, taken_s))
        self._engines.spent(source, taken_s - least_s)
        return found, scenario

    def _run(
        self,
        candidate: Candidate,
        window: str,
        judge: Callable[[Scenario, Outcome], WindowScore],
    ) -> WindowScore:
        source = verified(candidate.source_text)
        try:
            outcome, scenario = self.outcome(source, _parameters(candidate), window)
        except SandboxError as error:
            return worst_score(window, type(error).__name__)
        return judge(scenario, outcome)


def _parameters(candidate: Candidate) -> dict[str, float]:
    return {**verified(candidate.source_text).parameters(), **(candidate.parameters or {})}


def _key(candidate: Candidate, window: str) -> tuple[str, str, str]:
    """Equal for what runs alike."""
    canonical = verified(candidate.source_text).canonical
    return canonical, json.dumps(_parameters(candidate), sort_keys=True), window


class BoardTask(ServingTask):
    """A scenario as a search sees it: what is sealed is not there, since no proof is asked for.

    Args:
        runs: of its windows.
        windows, description, hooks: as of any task.
    """

    def __init__(
        self, runs: Runs, windows: Windows, description: Description, hooks: Collection[str]
    ) -> None:
        super().__init__(runs, windows, description, hooks)
        self._runs = runs

    def mark(self, jobs: Sequence[Job]) -> list[list[WindowResult]]:
        """Objectives and faults of jobs, as `evaluate` gives them with all the rest."""
        wanted = [(candidate_of(job), job.windows) for job in jobs]
        return [[result_of(score) for score in scores] for scores in self._runs.mark(wanted)]

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
