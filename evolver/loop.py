"""The generation loop: ask, verify, climb, keep, learn; then one candidate is proved once."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from evolver.archive import HUMAN, Archive, ArchiveSettings, Member
from evolver.bandit import Account, Bandit
from evolver.budget import Budget, Limits
from evolver.candidates import Candidate, Intake, Place, Tally, seed_for
from evolver.cascade import Cascade
from evolver.chronicle import Chronicle
from evolver.errors import BudgetTooSmall
from evolver.evaluation import Evaluator, Keep
from evolver.finals import Finals
from evolver.founders import TUNED, found
from evolver.history import History
from evolver.journal import EventSink, Journal
from evolver.lessons import Lessons
from evolver.progress import SILENT, Progress
from evolver.proposer import Feedback, Learner, ProposalRequest, Proposer
from evolver.selection import Court
from evolver.task import Human, Split, Task
from evolver.tuner import Tuner
from evolver.verdict import MIN_GAIN, Verdict


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How a run searches; nothing here depends on the number of workers.

    Attributes:
        batch: candidates of one generation.
        hopeless: a score from which on a candidate never goes on to the next rung.
        behind, alike: how far behind its parent a candidate still goes on, and a change that is
            not worth more windows; see `Cascade`.
        tries: proposals for one place of a batch, repairs and duplicates included.
        inspirations: other members that a proposer is shown.
        tuner: the tuner of constants takes part in the search.
        polish: share of the budget, at the search's end, in which it does: what is tuned before
            the structure is there is soon replaced.
        tuned_humans: the best humans that get their constants tuned before the search.
        human_share: share of the budget for that.
        varied_share: share of the budget for the best of the search on other conditions.
        finalists: members that are compared on the validation windows.
        smallest_gain: a gain below it is within the simulator's own error.
        barren: generations in a row without a new candidate after which the run ends.
        threads: proposals of models asked for at once.
    """

    seed: int = 0
    batch: int = 4
    hopeless: float = 1.5
    behind: float = 0.01
    alike: float = 0.0005
    tries: int = 4
    inspirations: int = 6
    tuner: bool = True
    polish: float = 0.2
    tuned_humans: int = 2
    human_share: float = 0.15
    varied_share: float = 0.1
    finalists: int = 6
    smallest_gain: float = MIN_GAIN
    barren: int = 4
    threads: int = 4
    archive: ArchiveSettings = field(default_factory=ArchiveSettings)


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier runs know about problems like this one.

    Attributes:
        veterans: their winners: candidates of the first hour, no humans to beat.
        worked, failed: lines about ideas, for proposers.
    """

    veterans: tuple[Human, ...] = ()
    worked: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run found, and what it cost."""

    verdict: Verdict
    members: tuple[Member, ...]  # everyone scored on all training windows, best first
    tally: Tally
    evaluations: float
    generations: int
    seconds: float
    tokens: int
    price_usd: float
    arms: dict[str, Account] = field(default_factory=dict)


class Search:
    """One run: built from a task, proposers, humans and limits; `run` does it all, once.

    Args:
        task: the problem.
        proposers: who writes candidates; a tuner of constants is added.
        humans: whom to beat.
        limits: what may be spent.
        settings: how to search.
        sinks: who is told the events.
        memory: of earlier runs.
        history: of this run, before it was interrupted.
        keep: takes each result the moment it is there.
        progress: told what goes on between events.
        clock: gives seconds; replaced in tests.
    """

    def __init__(
        self,
        task: Task,
        proposers: Sequence[Proposer],
        humans: Sequence[Human],
        limits: Limits,
        settings: SearchSettings | None = None,
        sinks: Sequence[EventSink] = (),
        *,
        memory: Memory | None = None,
        history: History | None = None,
        keep: Keep = lambda _, __: None,
        progress: Progress = SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings or SearchSettings()
        self._task, self._humans = task, tuple(humans)
        self._memory, history = memory or Memory(), history or History()
        self._journal = Journal(sinks, history.events, clock)
        self._chronicle = Chronicle(self._journal)
        evaluation_cost = sum(map(task.cost, task.windows(Split.TRAINING)))
        self._budget = Budget(limits, evaluation_cost, self._journal, self._proof_cost())
        self._evaluator = Evaluator(
            task, self._budget, self._journal, dict(history.results), keep, progress
        )
        self._bandit, self._tuner = Bandit(), Tuner()
        tuners = (self._tuner,) if self._settings.tuner else ()
        self._intake = Intake(
            task, (*proposers, *tuners), self._chronicle, self._budget, self._bandit, Tally(),
            progress, self._settings.tries, self._settings.threads,
        )  # fmt: skip
        self._archive = Archive(self._settings.archive)
        self._barren = 0
        self._lessons = Lessons()

    def run(self) -> RunResult:
        """Score the humans, search until the budget ends, choose a winner and prove it.

        Raises:
            BudgetTooSmall: it does not cover the humans, or would never end.
            NothingToStartFrom: no human works.
        """
        if self._intake.working and not self._spends():
            raise BudgetTooSmall(
                "Tokens and dollars end no run in which no model writes: limit evaluations or "
                "seconds, or name a model."
            )
        arms = [proposer.name for proposer in self._intake.proposers]
        self._chronicle.started(self._task, self._settings.seed, arms, self._budget.evaluation_cost)
        self._found()
        self._bandit.begin()
        while self._goes_on():
            self.generation()
        return self._finish()

    def generation(self) -> None:
        """One turn of the loop; models think while the others' candidates climb."""
        self._journal.generation += 1
        self._best = self._archive.best()
        places = [self._place(number) for number in range(self._batch())]
        slow = [place for place in places if place.proposer.waits]
        fast = [place for place in places if not place.proposer.waits]
        self._intake.ahead(slow)
        self._climb(self._intake.fill(fast, self._cascade.probe))
        self._climb(self._intake.fill(slow, self._cascade.probe))
        self._learn(places)
        self._archive.migrate(self._journal.generation)
        self._bandit.forget()
        filled = any(place.candidate is not None for place in places)
        self._barren = 0 if filled else self._barren + 1
        self._told()

    def _batch(self) -> int:
        """Places of the next generation: not more than the budget takes all the way up."""
        accounts = self._bandit.accounts.values()
        asked, cost = sum(a.asked for a in accounts), sum(a.run_cost for a in accounts)
        each = cost / asked if asked and cost else self._budget.evaluation_cost
        left = self._budget.left(self._searching)
        return min(self._settings.batch, max(1, round(left / each)))

    @property
    def _searching(self) -> float:
        """Share of the budget for the search; the rest is for the best on other conditions."""
        return 1.0 - (self._settings.varied_share if self._task.variants() else 0.0)

    def _found(self) -> None:
        """The founders on every island, the best humans with tuned constants too."""
        s = self._settings
        founders = found(
            self._task, self._humans, self._memory.veterans, self._evaluator, self._chronicle
        )
        self._founders = founders
        self._cascade = Cascade(
            self._task, self._evaluator, self._budget, self._bandit, self._chronicle,
            self._intake.tally, founders.yardstick, founders.best, s.hopeless, s.behind, s.alike,
            self._lessons.dropped,
        )  # fmt: skip
        for member in (*founders.members, *founders.veterans):
            self._intake.know(member.digest, member.name)
            self._cascade.know(member)
        for member in founders.able:
            self._archive.add(member)
        humans = sorted(founders.members, key=lambda member: member.rank)
        fit = [m for m in humans if m in founders.able and self._tuner.population(m, s.seed)]
        start = self._budget.share()
        for turn, human in enumerate(fit[: s.tuned_humans], 1):
            share = s.human_share * turn / len(fit[: s.tuned_humans])
            self._tune(human, turn, min(start + share, 1.0))

    def _tune(self, human: Member, turn: int, until: float) -> None:
        """Tune a human's constants as candidates' are, until a share of the budget is spent."""
        best, tried = human, 0
        while self._budget.share() < until:
            seed = seed_for(self._settings.seed, 0, turn, tried)
            population = self._tuner.population(human, seed)
            if not population:
                break
            places = [self._seat(self._tuner, human, seed + k, f"0.{turn}.{tried + k}")
                      for k in range(population)]  # fmt: skip
            tried += population
            found = self._cascade.climb(self._intake.fill(places, self._cascade.probe), until)
            self._learn(places)
            best = min((best, *found), key=lambda member: member.rank)
        if best is not human:
            tuned = replace(best, name=f"{human.name}{TUNED}", origin=HUMAN, idea=human.idea)
            self._founders = replace(self._founders, members=(*self._founders.members, tuned))
            self._archive.add(tuned)
            self._chronicle.tuned(tuned, human, tried)

    def _seat(self, proposer: Proposer, parent: Member, seed: int, ask: str) -> Place:
        return Place(proposer, ProposalRequest(parent, rng_seed=seed, ask=ask))

    def _goes_on(self) -> bool:
        return (
            self._budget.left(self._searching) >= self._budget.evaluation_cost
            and self._barren < self._settings.barren
            and self._spends()
        )

    def _spends(self) -> bool:
        """Whether anybody who works spends what is limited: else the run would have no end."""
        paid_only = self._budget.limits.of_answers_only
        return any(proposer.waits or not paid_only for proposer in self._intake.working)

    def _place(self, number: int) -> Place:
        """A place of the batch: who is asked to improve whom; the islands take turns."""
        seed = seed_for(self._settings.seed, self._journal.generation, number)
        rng = random.Random(seed)
        working = {proposer.name: proposer for proposer in self._taking_part()}
        proposer = working[self._bandit.draw(list(working), rng)]
        island = number % self._archive.islands
        parent = self._archive.parent(island, rng)
        others = self._archive.inspirations(island, parent, self._settings.inspirations, rng)
        ask = f"{self._journal.generation}.{number}"
        feedback = self._feedback(parent) if proposer.waits else Feedback()
        return Place(proposer, ProposalRequest(parent, others, feedback, seed, island, ask))

    def _taking_part(self) -> Sequence[Proposer]:
        """Who may be asked now: the tuner of constants towards the end, or when it is alone."""
        working = self._intake.working
        if self._budget.share() >= self._searching - self._settings.polish:
            return working
        return [one for one in working if one is not self._tuner] or working

    def _feedback(self, parent: Member) -> Feedback:
        description = self._task.describe()
        rivals = [member.results for member in self._founders.members]
        return Feedback(
            objective_text=description.objective,
            setting_lines=description.setting_lines,
            window_lines=description.window_lines,
            score_lines=self._task.score_lines(parent.results, rivals),
            tried_and_failed=(*self._memory.failed, *self._lessons.failed),
            worked=(*self._memory.worked, *self._lessons.worked),
        )

    def _climb(self, candidates: Sequence[Candidate]) -> None:
        """Keep those that came all the way, and credit who proposed them."""
        parents = {c.trial.digest: c for c in candidates}
        for member in self._cascade.climb(candidates, self._searching):
            candidate = parents[member.digest]
            arm, parent = candidate.proposal.proposer, candidate.parent
            self._archive.add(member, candidate.request.island)
            self._bandit.account(arm).scored += 1
            over_best, over_parent = (
                -math.inf if member.breaks else math.log(one.score / member.score)
                for one in (self._best, parent)
            )
            self._bandit.earn(arm, over_best, over_parent)
            self._lessons.scored(candidate, member, self._best.score)
            self._best = min(self._best, member, key=lambda m: m.rank)

    def _learn(self, places: Sequence[Place]) -> None:
        """Tell those who want to know how each of their proposals stood."""
        everyone = (*self._intake.proposers, self._tuner)
        learners = {p.name: p for p in everyone if isinstance(p, Learner)}
        for place in places:
            for proposal, digest in place.proposals:
                if proposal.proposer in learners:
                    standing = self._cascade.standings.get(digest)
                    learners[proposal.proposer].learn(proposal, standing)

    def _told(self) -> None:
        self._chronicle.generation_done(
            self._archive.best(), self._founders.best, self._budget, self._intake.tally,
            self._bandit.accounts,
        )  # fmt: skip

    def _finish(self) -> RunResult:
        founders = self._founders.with_tuned(self._archive.members())
        known = {member.digest for member in self._founders.members}
        for member in (one for one in founders.members if one.digest not in known):
            written = next(h for h in founders.members if h.text == member.text)
            self._chronicle.tuned(member, written, 0)
        settings = self._settings
        finals = Finals(
            self._task, self._evaluator, self._budget, self._chronicle, founders, settings.finalists
        )
        finalists, tried = finals.choose(self._archive.members(), self._intake.tally)
        court = Court(
            self._task, self._evaluator, self._journal, founders.members, founders.active,
            settings.seed, settings.smallest_gain,
        )  # fmt: skip
        verdict = court.judge(finalists, tried)
        self._chronicle.finished(verdict, self._budget)
        return RunResult(
            verdict, tuple(self._archive.members()), self._intake.tally, self._budget.evaluations,
            self._journal.generation, self._budget.seconds, self._budget.tokens,
            self._budget.price_usd, dict(self._bandit.accounts),
        )  # fmt: skip

    def _proof_cost(self) -> int:
        """Of comparing on the validation windows and proving on the sealed ones."""
        humans = len(self._humans) + self._settings.tuned_humans
        cost = {s: sum(map(self._task.cost, self._task.windows(s))) for s in Split}
        chosen = (humans + self._settings.finalists) * cost[Split.VALIDATION]
        return chosen + (humans + 1) * cost[Split.SEALED]
