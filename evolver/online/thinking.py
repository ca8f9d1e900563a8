"""One search on the past by the product's own loop, and what it costs in simulated seconds."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from evolver.archive import Member, geometric_mean
from evolver.budget import Limits
from evolver.exercised import PLANNER_HOOKS
from evolver.loop import Search, SearchSettings
from evolver.models import ModelProposer
from evolver.mutator import Mutator
from evolver.online.past import Past
from evolver.proposer import Proposal, ProposalRequest, Proposer
from evolver.recorded_answers import RecordedAnswers, RecordedEndpoint
from evolver.recordings import Recording
from evolver.serving_task import ServingTask
from evolver.task import (
    Description,
    Gate,
    Human,
    Job,
    OnDone,
    Program,
    Refusal,
    Refused,
    Results,
    WindowResult,
    nobody,
)
from evolver.written import written
from sandbox.engine import LoadedPolicy, load_policy
from sandbox.fingerprint import fingerprint
from sandbox.hardware import build_hardware
from sandbox.kernel.state import FINISHED, PS_PER_S
from sandbox.metrics import charged_s
from sandbox.replay import default_policy
from sandbox.scenario import Scenario, fault_name
from sandbox.scores import WindowScore
from sandbox.simulation import Outcome, simulate
from sandbox.source import PolicySource
from sandbox.verifier import PolicyRefused, verify
from sandbox.windows import Windows

LOST = 10.0  # a backlog that leaves requests unfinished is charged that much of its time more
MARGIN = 0.02  # a candidate that gains less over the policy in force does not enter
MOST_KNOWN = 4096  # texts of a run
SHOWN = 8  # of a search's best that are compared with the policy in force
STEP_S = 180.0  # of the trace, that one step of trying runs


@dataclass(frozen=True, slots=True)
class Charges:
    """What proposing costs in simulated seconds.

    Attributes:
        reply_s: a model's reply. step_s: a mutation, or one candidate on three minutes of requests,
            per worker.
        factor: all of it, times this.
    """

    reply_s: float = 20.0
    step_s: float = 0.2
    workers: int = 1
    factor: float = 1.0

    def seconds(self, replies: int, steps: float) -> float:
        """What so many replies, and so many mutations and runs of three minutes, take."""
        return self.factor * (self.reply_s * replies + self.step_s * steps / self.workers)


@dataclass(frozen=True, slots=True)
class Thought:
    """What a search came to.

    Attributes:
        policy: the one that shall enter; None when nothing was better by the margin.
        gain: over the policy in force, share of the objective.
        steps: mutations, and runs of one candidate on three minutes of requests.
    """

    policy: PolicySource | None
    name: str
    gain: float
    replies: int
    steps: float
    proposed: int


@dataclass(slots=True)
class Recorded:
    """A model's recorded replies, in their order; it answers at once, its time is charged for."""

    inner: ModelProposer
    name: str
    waits: bool = False
    replies: int = 0

    def propose(self, request: ProposalRequest) -> Proposal | None:
        """As recorded."""
        self.replies += 1
        return self.inner.propose(request)


_COMPILED: dict[str, LoadedPolicy] = {}


def compile_planners(humans: Sequence[Human]) -> None:
    """Machine code for texts that every trial meets, and the engine that interprets the others.

    Processes that are forked later have both; they could load neither.
    """
    for human in humans:
        source = verified(human.text)
        _COMPILED[source.canonical] = load_policy(source, None, "compiled", PLANNER_HOOKS)
        load_policy(source, None, "interpreted", PLANNER_HOOKS)


def share_code(tuned: PolicySource, original: PolicySource) -> None:
    """Other constants of a compiled text run on its machine code."""
    code = _COMPILED.get(original.canonical)
    if code is not None:
        _COMPILED.setdefault(tuned.canonical, code.with_parameters(tuned.parameters()))


class Trials:
    """Tries planners on the past; what a search writes is interpreted: compiling is dearer.

    Attributes:
        steps: that trying took so far, of `STEP_S` each.
    """

    def __init__(self) -> None:
        self.steps = 0.0
        self._loaded: dict[str, LoadedPolicy] = {}
        self._known: dict[tuple[str, str], WindowResult] = {}

    def load(self, source: PolicySource, parameters: Mapping[str, float]) -> LoadedPolicy:
        """The policy's planner hooks."""
        if source.canonical in _COMPILED:
            return _COMPILED[source.canonical].with_parameters(parameters)
        if source.canonical not in self._loaded:
            if len(self._loaded) > 64:
                self._loaded.clear()
            self._loaded[source.canonical] = load_policy(source, None, "interpreted", PLANNER_HOOKS)
        return self._loaded[source.canonical].with_parameters(parameters)

    def result(
        self, source: PolicySource, parameters: Mapping[str, float], scenario: Scenario
    ) -> WindowResult:
        """How a candidate does on a stretch; the same one, by its name, is run once."""
        key = (source.digest(parameters), scenario.name)
        if key not in self._known:
            self.steps += scenario.trace.span_s / STEP_S
            outcome = simulate(scenario.setup, self.load(source, parameters), default_policy())
            self._known[key] = _result(scenario, outcome)
        return self._known[key]


def _result(scenario: Scenario, outcome: Outcome) -> WindowResult:
    totals = outcome.totals
    fault = fault_name(totals) if int(totals["faults"]) else None
    metrics = {
        "total_s": float(totals["integrated"]) / PS_PER_S,
        "reconfigurations": float(totals["reconfigurations"]),
        "fuel_per_decision": float(totals["fuel"]) / max(int(totals["decisions"]), 1),
    }
    value = objective_s(scenario, outcome)
    return WindowResult(scenario.name, value, metrics, fault, fingerprint(outcome))


def objective_s(scenario: Scenario, outcome: Outcome) -> float:
    """Seconds to make few: the makespan of a backlog, the mean end-to-end time of open arrivals.

    Requests that do not finish count ten times, as everywhere in this product.
    """
    if scenario.mode == "open":
        setup = scenario.setup
        return float(np.nanmean(charged_s(outcome, setup, build_hardware(setup.cluster))))
    lost = float((outcome.state != FINISHED).mean())
    return float(outcome.totals["integrated"]) / PS_PER_S * (1.0 + LOST * lost)


@functools.lru_cache(MOST_KNOWN)
def verified(text: str) -> PolicySource:
    """The verified source of a text; raises PolicyRefused. A search meets most texts many times."""
    return verify(text)


class _NoPool:
    """Candidates run in this process, which is locked down as a whole."""

    def evaluate(self, jobs: object, on_done: object) -> list[list[WindowScore]]:
        raise NotImplementedError


class PastTask(ServingTask):
    """Search for trigger and planner on stretches of the past."""

    def __init__(self, past: Past, trials: Trials) -> None:
        windows = Windows(past.pieces, past.pieces[-1:], (), 0.0, 0.0, ())
        said = "Seconds to serve it all" if past.pieces[0].mode == "backlog" else "Mean E2E"
        super().__init__(_NoPool(), windows, Description("the past", said), PLANNER_HOOKS)
        self._scenarios = {one.name: one for one in windows.scenarios}
        self._trials = trials

    def verify(self, text: str, name: str) -> Program | Refused:
        """The verified policy, or the verifier's words; known texts are not read again."""
        del name
        try:
            return verified(text)
        except PolicyRefused as refused:
            reasons = refused.refusals
            return Refused(tuple(Refusal(r.line, r.code, r.reason, r.mend) for r in reasons))

    def evaluate(self, jobs: Sequence[Job], on_done: OnDone = nobody) -> list[list[WindowResult]]:
        """Each candidate on each of its stretches, here and now."""
        answers = []
        for index, job in enumerate(jobs):
            if not isinstance(job.program, PolicySource):
                raise TypeError("Only verified policies run.")
            answers.append([
                self._trials.result(job.program, job.parameters, self._scenarios[name])
                for name in job.windows
            ])  # fmt: skip
            on_done(index, answers[-1])
        return answers

    def gates(self, candidate: Results, human: Results) -> tuple[Gate, ...]:
        """None: what enters is judged by its time alone, and the table shows latency beside it."""
        del candidate, human
        return ()


@dataclass(slots=True)
class Thinker:
    """Proposes better planners from the past.

    Attributes:
        statics: planners of people, their constants as tuned on the past.
        evaluations: of one search: candidates on all stretches that are searched on.
        recording: replies of a model; the mutator alone without.
    """

    statics: tuple[Human, ...]
    evaluations: int
    recording: Recording | None = None
    _answers: RecordedAnswers | None = field(default=None, init=False)

    def think(self, past: Past, active: PolicySource, seed: int) -> Thought:
        """Search, and compare the best with the policy in force."""
        trials = Trials()
        models = self._models()
        donors = tuple(human.text for human in self.statics)
        proposers: tuple[Proposer, ...] = (*models, Mutator(donors, hooks=PLANNER_HOOKS))
        humans = (Human("in force", active.annotated(), active=True), *self.statics)
        settings = SearchSettings(
            seed=seed,
            tuned_humans=1,
            finalists=1,
            batch=4,
            tries=2,
            varied_share=0.0,
            barren=2,
        )
        limits = Limits(evaluations=self.evaluations + len(humans))
        search = Search(PastTask(past, trials), proposers, humans, limits, settings)
        result = search.run()
        chosen, gain = _best(result.members, active, past, trials)
        replies = sum(model.replies for model in models)
        steps = trials.steps + result.tally.proposed - replies
        source = None
        if chosen is not None:
            source = written(chosen.text, chosen.parameters, chosen.name)
        name = chosen.name if chosen is not None else ""
        return Thought(source, name, gain, replies, steps, result.tally.proposed)

    def _models(self) -> tuple[Recorded, ...]:
        if self.recording is None:
            return ()
        if self._answers is None:
            self._answers = RecordedAnswers(self.recording.exchanges, live=False, lenient=True)
        endpoint = RecordedEndpoint(self._answers, None)
        moves = dict.fromkeys((one.model, one.move) for one in self.recording.exchanges)
        proposers = [ModelProposer(endpoint, model, move) for model, move in moves]
        return tuple(Recorded(one, one.name) for one in proposers)


def _best(
    members: Sequence[Member], active: PolicySource, past: Past, trials: Trials
) -> tuple[Member | None, float]:
    """The member that gains most over the policy in force, and loses nowhere."""
    best, most = None, MARGIN
    for member in members[:SHOWN]:
        program = member.program
        if not isinstance(program, PolicySource) or program.digest(member.parameters) == (
            active.digest()
        ):
            continue
        ratios = _ratios(program, member.parameters, active, past, trials)
        gain = 1.0 - geometric_mean(ratios)
        if gain > most and max(ratios) <= 1.0:
            best, most = member, gain
    return best, most if best is not None else 0.0


def regret(active: PolicySource, former: PolicySource, past: Past) -> tuple[float, float]:
    """What a policy in force loses against the one before it by what is known now, and the steps.

    The share of the objective that the former would save; below zero where it would lose.
    """
    trials = Trials()
    ratios = _ratios(former, former.parameters(), active, past, trials)
    return 1.0 - geometric_mean(ratios), trials.steps


def _ratios(
    program: PolicySource, parameters: Mapping[str, float], active: PolicySource, past: Past,
    trials: Trials,
) -> list[float]:  # fmt: skip
    """Objective of a candidate over that of the policy in force; a fault is endless."""
    found = []
    for piece in past.pieces:
        mine = trials.result(program, parameters, piece)
        theirs = trials.result(active, active.parameters(), piece)
        found.append(math.inf if mine.fault else mine.objective / theirs.objective)
    return found
