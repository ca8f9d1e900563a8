"""The arms of the search's benchmark: the engine, and three plain ways to spend the same budget.

All arms see the same task, start from the same founders, count cost with the same `Budget` and
score through the same `Evaluator`. The plain arms run every candidate on all training windows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evolver.archive import Member
from evolver.budget import Budget, Limits
from evolver.candidates import seed_for
from evolver.chronicle import Chronicle
from evolver.evaluation import Evaluator, Trial
from evolver.founders import Founders, found
from evolver.journal import Event, EventKind, Journal, first_fault
from evolver.loop import Search, SearchSettings
from evolver.mutator import Mutator
from evolver.proposer import Proposal, ProposalRequest, Proposer
from evolver.task import (
    Human,
    Job,
    OnDone,
    Refused,
    Results,
    Rung,
    Split,
    Task,
    WindowResult,
    nobody,
)
from evolver.tuner import Parameters, Tuning, axes_of

FINALISTS = 6  # of an arm that are compared on the validation windows
CHAIN = (1, 1, 2, 3)  # mutations in a row of random search, drawn evenly
DRAWS = 40  # proposals in a row without a new legal candidate, after which an arm gives up


@dataclass(frozen=True, slots=True)
class Contest:
    """What every arm is given."""

    task: Task
    humans: tuple[Human, ...]
    mutator: Mutator
    evaluations: float
    seed: int
    more_proposers: tuple[Proposer, ...] = ()  # for the engine: recorded models, say
    settings: Mapping[str, float] = field(default_factory=dict)  # of the engine


@dataclass(frozen=True, slots=True)
class Found:
    """What an arm came back with.

    Attributes:
        finalists: what it would have chosen from, best first on the training windows.
        best: its best score on them; below 1 is better than every human.
        candidates: kept, founders included.
    """

    finalists: tuple[Trial, ...]
    best: float
    evaluations: float
    candidates: int


Arm = Callable[[Contest], Found]


class Watched:
    """A task that notes the best score on all training windows after each bit of cost.

    Args:
        task: what is watched.
        yardstick: best human objective of each training window.
        one_rung: a plain arm's view: every candidate runs on all training windows at once.

    Attributes:
        curve: (evaluations spent, best score so far), one point an improvement.
        spent: cost of all runs so far.
    """

    def __init__(self, task: Task, yardstick: Mapping[str, float], one_rung: bool) -> None:
        self._task, self._yardstick, self._one_rung = task, yardstick, one_rung
        self._whole = sum(map(task.cost, yardstick))
        self._seen: dict[str, dict[str, WindowResult]] = {}
        self._best = math.inf
        self.spent = 0
        self.curve: list[tuple[float, float]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._task, name)

    def cascade(self) -> tuple[Rung, ...]:
        """The task's rungs, or all training windows at once."""
        training = self._task.windows(Split.TRAINING)
        return (Rung("training", training),) if self._one_rung else self._task.cascade()

    def windows(self, split: Split) -> tuple[str, ...]:
        """The task's, the sealed ones excepted: no verdict is asked for here."""
        return () if split is Split.SEALED else self._task.windows(split)

    def variants(self) -> tuple[str, ...]:
        """The task's, none for a plain arm."""
        return () if self._one_rung else self._task.variants()

    def evaluate(self, jobs: Sequence[Job], on_done: OnDone = nobody) -> list[list[WindowResult]]:
        """As the task does."""
        answers = self._task.evaluate(jobs, on_done)
        for job, results in zip(jobs, answers, strict=True):
            known = self._seen.setdefault(job.digest, {})
            known |= {result.window: result for result in results}
            self.spent += sum(self._task.cost(result.window) for result in results)
            if all(window in known for window in self._yardstick):
                self._note(known)
        return answers

    def _note(self, known: Mapping[str, WindowResult]) -> None:
        results = {window: known[window] for window in self._yardstick}
        score = score_of(results, self._yardstick)
        if first_fault(results) is None and score < self._best - 1e-9:
            self._best = score
            self.curve.append((round(self.spent / self._whole, 3), round(score, 6)))


def score_of(results: Results, yardstick: Mapping[str, float]) -> float:
    """Geometric mean over windows of objective over best human objective."""
    logs = [math.log(results[window].objective / best) for window, best in yardstick.items()]
    return math.exp(math.fsum(logs) / len(logs))


class Plain:
    """What the plain arms share: founders, a budget, and full evaluations of trials.

    Attributes:
        members: everyone scored without a fault, founders first.
    """

    def __init__(self, contest: Contest) -> None:
        self._task = contest.task
        self._training = contest.task.windows(Split.TRAINING)
        journal = Journal()
        cost = sum(map(contest.task.cost, self._training))
        self.budget = Budget(Limits(evaluations=contest.evaluations), cost, journal)
        self._evaluator = Evaluator(contest.task, self.budget, journal)
        self.founders = found(contest.task, contest.humans, (), self._evaluator, Chronicle(journal))
        self.members = self.founders.able
        self._seen = {member.digest for member in self.founders.members}

    @property
    def going_on(self) -> bool:
        """One more evaluation is paid for."""
        return self.budget.left() >= self.budget.evaluation_cost

    def trial(self, proposal: Proposal | None) -> Trial | None:
        """A legal candidate that was not met before."""
        if proposal is None:
            return None
        program = self._task.verify(proposal.text, proposal.proposer)
        if isinstance(program, Refused):
            return None
        trial = Trial(program, {**program.parameters(), **(proposal.parameters or {})})
        if trial.digest in self._seen:
            return None
        self._seen.add(trial.digest)
        return trial

    def score(self, trial: Trial) -> Member | None:
        """The trial as a member; None when it faults or the budget is spent."""
        results = self._evaluator.score([trial], self._training, "training")
        if not results or first_fault(results[0]) is not None:
            return None
        member = self.member(trial, results[0])
        self.members.append(member)
        return member

    def member(self, trial: Trial, results: Results) -> Member:
        """A trial with its results."""
        score = self.founders.yardstick.score(results)
        return Member(
            trial.digest, trial.digest[:8], trial.program, dict(trial.parameters), results, score,
            self._task.niche(trial.program, results), "arm", "", (), 0,
        )  # fmt: skip

    def found(self) -> Found:
        """What the arm came back with."""
        ranked = sorted(self.members, key=lambda member: member.rank)
        chosen = distinct(self._task, ranked, self.founders)
        return Found(
            tuple(Trial(member.program, member.parameters) for member in chosen),
            ranked[0].score, self.budget.evaluations, len(ranked),
        )  # fmt: skip


def distinct(task: Task, ranked: Sequence[Member], founders: Founders) -> list[Member]:
    """The best that behave differently, from each other and from founders, within guardrails."""
    seen = {_behaviour(member) for member in founders.members}
    chosen: list[Member] = []
    for member in ranked:
        gates = task.gates(member.results, founders.best.results)
        if _behaviour(member) not in seen and all(gate.passed for gate in gates):
            seen.add(_behaviour(member))
            chosen.append(member)
    return chosen[:FINALISTS]


def _behaviour(member: Member) -> tuple[float, ...]:
    return tuple(member.results[window].objective for window in sorted(member.results))


def random_search(contest: Contest) -> Found:
    """Chains of mutations from founders drawn evenly; nothing is learned from any score."""
    plain, rng = Plain(contest), random.Random(seed_for(contest.seed, 1))
    founders = list(plain.members)
    while plain.going_on:
        trial = _mutated(contest, plain, founders, rng, CHAIN)
        if trial is None:
            break
        plain.score(trial)
    return plain.found()


def hill_climber(contest: Contest) -> Found:
    """(1+1): the best so far is mutated once; its child takes its place when it is better."""
    plain, rng = Plain(contest), random.Random(seed_for(contest.seed, 2))
    best = min(plain.members, key=lambda member: member.rank)
    while plain.going_on:
        trial = _mutated(contest, plain, [best], rng, (1,))
        if trial is None:
            break
        child = plain.score(trial)
        if child is not None and child.rank < best.rank:
            best = child
    return plain.found()


def _mutated(
    contest: Contest,
    plain: Plain,
    parents: Sequence[Member],
    rng: random.Random,
    lengths: Sequence[int],
) -> Trial | None:
    """A new legal candidate, a chain of mutations away from one of the parents."""
    others = tuple(plain.founders.able)
    for _ in range(DRAWS):
        parent = rng.choice(parents)
        trial = None
        for _ in range(rng.choice(lengths)):
            request = ProposalRequest(parent, others, rng_seed=rng.getrandbits(32))
            step = plain.trial(contest.mutator.propose(request))
            if step is not None:
                trial = step
                parent = plain.member(step, parent.results)
        if trial is not None:
            return trial
    return None


def constant_tuning(contest: Contest) -> Found:
    """CMA-ES on the constants of the best founder, of the next one when nothing gets better."""
    plain = Plain(contest)
    for turn, member in enumerate(_tunable(plain)):
        tuning = Tuning(member.program.tunables, member.parameters, seed_for(contest.seed, 3, turn))
        while plain.going_on and not tuning.over:
            for parameters in [tuning.ask() for _ in range(tuning.population)]:
                tuning.tell(parameters, _standing(plain, member, parameters))
        if not plain.going_on:
            break
    return plain.found()


def _tunable(plain: Plain) -> Iterator[Member]:
    """Founders with constants, the best first, again and again; from the best constants then."""
    while True:
        ranked = sorted(plain.members, key=lambda member: member.rank)
        texts = dict.fromkeys(m.program.canonical for m in ranked if axes_of(m.program.tunables))
        if not texts:
            return
        for text in texts:
            yield next(m for m in ranked if m.program.canonical == text)


def _standing(plain: Plain, member: Member, parameters: Parameters) -> tuple[float, ...] | None:
    trial = Trial(member.program, parameters)
    scored = plain.score(trial) if plain.going_on else None
    return None if scored is None else (scored.score,)


class _Finalists:
    """Notes whom the engine would send to the finals."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    def on_event(self, event: Event) -> None:
        if event.kind is EventKind.FINALIST and event.candidate is not None:
            self.digests.append(event.candidate)


def engine(contest: Contest) -> Found:
    """The search of `evolver.loop` with the mutator and the tuner, all machinery in force."""
    sink = _Finalists()
    settings = replace(SearchSettings(seed=contest.seed), **contest.settings)
    search = Search(
        contest.task,
        (contest.mutator, *contest.more_proposers),
        contest.humans,
        Limits(evaluations=contest.evaluations),
        settings,
        (sink,),
    )
    result = search.run()
    known = {member.digest: member for member in result.members}
    chosen = [*(known[digest] for digest in sink.digests), *_tuned(contest, result.members)]
    trials = tuple(Trial(member.program, member.parameters) for member in chosen)
    return Found(trials, result.members[0].score, result.evaluations, len(result.members))


def _tuned(contest: Contest, members: Sequence[Member]) -> list[Member]:
    """Each human's text with the best constants that were found."""
    programs = [contest.task.verify(human.text, human.name) for human in contest.humans]
    texts = {one.canonical for one in programs if not isinstance(one, Refused)}
    best: dict[str, Member] = {}
    for member in members:
        best.setdefault(member.program.canonical, member)
    return [member for text, member in best.items() if text in texts]


ARMS: Mapping[str, Arm] = {
    "engine": engine,
    "random": random_search,
    "tuning": constant_tuning,
    "hill": hill_climber,
}
