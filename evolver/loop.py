"""The generation loop: ask, verify, screen, score, keep, tune, mix; then choose and prove once."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from evolver.archive import Archive, ArchiveSettings, Member
from evolver.budget import Budget, Limits
from evolver.candidates import Candidate, Intake, Tally, seed_for
from evolver.chronicle import Chronicle
from evolver.evaluation import Evaluator
from evolver.founders import Founders, score_humans, tune_humans
from evolver.journal import EventSink, Journal, first_fault
from evolver.proposer import Feedback, ProposalRequest, Proposer
from evolver.selection import MIN_GAIN, Court, Verdict
from evolver.task import Human, Results, Split, Task


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How a run searches; nothing here depends on the number of workers.

    Attributes:
        batch: candidates of one generation.
        screen_windows: leading training windows that every candidate is scored on first.
        promote: share of a batch that goes on from the screen to all training windows.
        hopeless: a screen score from which on a candidate never goes on.
        tries: proposals for one place of a batch, repairs and duplicates included.
        inspirations: other members that a proposer is shown.
        tuned_humans: the best humans that get their constants tuned before the search.
        tuner_share: share of the budget for humans' constants, and again for candidates'.
        tuner_tries: most parameter sets that one tuning tries.
        tuned_newcomers: candidates of a generation whose constants are tuned, the best first.
        finalists: members that are compared on the validation windows.
        smallest_gain: a gain below it is within the simulator's own error.
        barren: generations in a row without a new candidate after which the run ends.
        threads: proposals asked for at once (models only wait, so many may).
    """

    seed: int = 0
    batch: int = 32
    screen_windows: int = 1
    promote: float = 0.25
    hopeless: float = 1.5
    tries: int = 4
    inspirations: int = 6
    tuned_humans: int = 3
    tuner_share: float = 0.6
    tuner_tries: int = 40
    tuned_newcomers: int = 2
    finalists: int = 6
    smallest_gain: float = MIN_GAIN
    barren: int = 4
    threads: int = 1
    archive: ArchiveSettings = field(default_factory=ArchiveSettings)


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


class Search:
    """One run: built from a task, proposers, humans and limits; `run` does it all, once."""

    def __init__(
        self,
        task: Task,
        proposers: Sequence[Proposer],
        humans: Sequence[Human],
        limits: Limits,
        settings: SearchSettings | None = None,
        sinks: Sequence[EventSink] = (),
    ) -> None:
        settings = settings or SearchSettings()
        self._task, self._humans, self._settings = task, tuple(humans), settings
        self._training = task.windows(Split.TRAINING)
        self._journal = Journal(sinks)
        self._chronicle = Chronicle(self._journal)
        self._budget = Budget(limits, len(self._training), self._proof_runs())
        self._evaluator = Evaluator(task, self._budget)
        self._intake = Intake(
            task,
            proposers,
            self._journal,
            self._budget,
            tries=settings.tries,
            threads=settings.threads,
        )
        self._archive = Archive(settings.archive)
        self._tuned: set[str] = set()
        self._tuning_runs = 0
        self._barren = 0
        self._failed_ideas: deque[str] = deque(maxlen=12)

    def run(self) -> RunResult:
        """Score the humans, search until the budget ends, choose a winner and prove it."""
        self._chronicle.started(self._task, self._settings.seed)
        self._founders = self._found()
        while self._goes_on():
            self.generation()
        return self._finish()

    def generation(self) -> None:
        """One turn of the loop."""
        self._journal.generation += 1
        candidates = self._intake.fill(self._requests())
        promising = self._screen(candidates)
        newcomers = self._score(promising)
        self._tune_best_of(newcomers)
        self._archive.migrate(self._journal.generation)
        self._barren = 0 if candidates else self._barren + 1
        best, human = self._archive.best(), self._founders.best
        self._chronicle.generation_done(best, human, self._budget, self._intake.tally)

    def _found(self) -> Founders:
        """The humans on every island, the best of them with tuned constants too."""
        s = self._settings
        founders = score_humans(
            self._task, self._humans, self._evaluator, self._budget, self._journal
        )
        founders = tune_humans(
            founders,
            self._budget,
            count=s.tuned_humans,
            share=s.tuner_share,
            tries=s.tuner_tries,
            seed=s.seed,
        )
        for member in founders.members:
            self._intake.know(member.digest)
            if first_fault(member.results) is None:
                self._archive.add(member)
        return founders

    def _goes_on(self) -> bool:
        return (
            self._budget.runs_left() >= len(self._training)
            and self._barren < self._settings.barren
            and bool(self._intake.working)
        )

    def _requests(self) -> list[ProposalRequest]:
        """A parent with inspirations for each place of the batch, the islands in turn."""
        places = range(self._settings.batch)
        return [self._request(place, place % self._archive.islands) for place in places]

    def _request(self, place: int, island: int) -> ProposalRequest:
        seed = seed_for(self._settings.seed, self._journal.generation, place)
        rng = random.Random(seed)
        parent = self._archive.parent(island, rng)
        others = self._archive.inspirations(island, parent, self._settings.inspirations, rng)
        description = self._task.describe()
        feedback = Feedback(
            objective_text=description.objective,
            window_lines=description.window_lines,
            score_lines=self._task.score_lines(parent.results),
            tried_and_failed=tuple(self._failed_ideas),
        )
        return ProposalRequest(parent, others, feedback, seed, island)

    def _screen(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Score all on the screen; the best share goes on to the other windows."""
        trials = [candidate.trial for candidate in candidates]
        windows = self._training[: self._settings.screen_windows]
        payable = self._evaluator.affordable(trials, windows)
        results = self._evaluator.evaluate(trials[:payable], windows)
        screened = list(zip(candidates, results, strict=False))
        score = self._founders.bench.yardstick.score
        promising = [pair for pair in screened if self._promising(*pair)]
        promising.sort(key=lambda pair: (round(score(pair[1]), 6), pair[0].trial.digest))
        going_on = promising[: max(1, round(self._settings.promote * len(screened)))]
        promoted = [candidate for candidate, _ in going_on]
        for candidate, result in screened:
            self._intake.tally.faulted += first_fault(result) is not None
            self._chronicle.screened(candidate, result, score(result), candidate in promoted)
        return promoted

    def _promising(self, candidate: Candidate, results: Results) -> bool:
        """Without a fault, not hopeless, and not the parent under another text."""
        parent = candidate.request.parent.results
        moved = any(results[w].objective != parent[w].objective for w in results)
        hopeless = self._founders.bench.yardstick.score(results) >= self._settings.hopeless
        return moved and not hopeless and first_fault(results) is None

    def _score(self, candidates: Sequence[Candidate]) -> list[tuple[Member, int]]:
        """Score the promising on all training windows; those without a fault are kept."""
        trials = [candidate.trial for candidate in candidates]
        payable = self._evaluator.affordable(trials, self._training)
        scored = self._evaluator.evaluate(trials[:payable], self._training)
        newcomers = []
        for candidate, results in zip(candidates, scored, strict=False):
            proposal, request = candidate.proposal, candidate.request
            member = self._founders.bench.member(
                candidate.trial, results, proposal.proposer, proposal.idea, proposal.parents
            )
            self._count(member, request.parent)
            if first_fault(results) is None:
                self._archive.add(member, request.island)
                newcomers.append((member, request.island))
        return newcomers

    def _count(self, member: Member, parent: Member) -> None:
        self._intake.tally.scored += 1
        self._intake.tally.faulted += first_fault(member.results) is not None
        self._chronicle.scored(member)
        if member.score >= parent.score:
            change = member.score / parent.score - 1
            self._failed_ideas.appendleft(f"{member.idea} ({change:+.1%} against its parent)")

    def _tune_best_of(self, newcomers: Sequence[tuple[Member, int]]) -> None:
        """Tune the best newcomers, within the tuner's share: new structure starts untuned."""
        ranked = sorted(newcomers, key=lambda pair: pair[0].rank)
        for place, (member, island) in enumerate(ranked[: self._settings.tuned_newcomers]):
            if self._tuning_runs >= self._settings.tuner_share * self._budget.window_runs:
                return
            before = self._budget.window_runs
            turn = self._settings.batch + place
            seed = seed_for(self._settings.seed, self._journal.generation, turn)
            tuned = self._founders.bench.refine(member, seed=seed, tries=self._settings.tuner_tries)
            self._tuning_runs += self._budget.window_runs - before
            if tuned is not None and self._intake.know(tuned.digest):
                self._archive.add(tuned, island)

    def _finish(self) -> RunResult:
        evaluations = self._budget.evaluations
        court = Court(
            self._task,
            self._evaluator,
            self._journal,
            self._founders.members,
            self._founders.active,
            self._settings.seed,
            self._settings.smallest_gain,
        )
        verdict = court.judge(self._finalists())
        self._chronicle.finished(verdict, evaluations, self._budget.seconds)
        return RunResult(
            verdict,
            tuple(self._archive.members()),
            self._intake.tally,
            evaluations,
            self._journal.generation,
            self._budget.seconds,
            self._budget.tokens,
            self._budget.price_usd,
        )

    def _finalists(self) -> list[Member]:
        """The best candidates that behave differently, from each other and from every human.

        One that breaks a guardrail on the training windows already would only lose in the end.
        """
        humans = self._founders.members
        seen = {_fingerprint(member) for member in humans}
        finalists = []
        for member in self._archive.members():
            gates = self._task.gates(member.results, self._founders.best.results)
            if _fingerprint(member) not in seen and all(gate.passed for gate in gates):
                seen.add(_fingerprint(member))
                finalists.append(member)
        return finalists[: self._settings.finalists]

    def _proof_runs(self) -> int:
        humans = len(self._humans) + self._settings.tuned_humans
        chosen = (humans + self._settings.finalists) * len(self._task.windows(Split.VALIDATION))
        return chosen + (humans + 1) * len(self._task.windows(Split.SEALED))


def _fingerprint(member: Member) -> tuple[float, ...]:
    """What a member did on the training windows: equal for equal behaviour."""
    return tuple(member.results[window].objective for window in sorted(member.results))
