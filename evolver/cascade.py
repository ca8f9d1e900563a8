"""The rungs a candidate climbs: a probe, then more and more windows; losers stop early.

The probe costs little: it finds candidates that fault, and twins, which decide as a known one does.
After each rung that counts, a candidate is held against the member that it was made from, on the
same windows. Most changes to a policy change next to nothing, and most others make it worse: what
is alike or well behind ends there, and the last and dearest rung is for those that are better so
far. Whoever runs on all training windows becomes a member.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from evolver.archive import Member
from evolver.bandit import Bandit
from evolver.budget import Budget
from evolver.candidates import Candidate, Tally
from evolver.chronicle import Chronicle
from evolver.evaluation import Evaluator, Yardstick
from evolver.journal import first_fault
from evolver.proposer import Attempt, Cost, Standing
from evolver.task import Results, Rung, Task

FAULTED: Standing = (math.inf,)
Behaviour = tuple[int, tuple[str, ...]]
"""Height of a rung, and the fingerprints of all windows up to it."""


@dataclass(frozen=True, slots=True)
class Climber:
    """A candidate on its way up."""

    candidate: Candidate
    results: Results
    score: float = math.inf

    @property
    def digest(self) -> str:
        """Identity of the candidate."""
        return self.candidate.trial.digest


@dataclass(slots=True)
class Cascade:
    """Takes candidates as far up as they deserve.

    Attributes:
        hopeless: a score from which on a candidate never goes on.
        rival: the best human, against whom the guardrails are held.
        behind: how far behind its parent, as a logarithm, a candidate still goes on: from the first
            rung, and from all when a model was paid for it.
        alike: a change in score, as a logarithm, below which it is not worth the next rung.
        on_drop: told who ended early, why, at which score, and which was needed.
        standings: how each candidate of the run did, by digest.
    """

    task: Task
    evaluator: Evaluator
    budget: Budget
    bandit: Bandit
    chronicle: Chronicle
    tally: Tally
    yardstick: Yardstick
    rival: Member
    hopeless: float
    behind: float
    alike: float
    on_drop: Callable[[Candidate, str, float, float], None]
    standings: dict[str, Standing] = field(default_factory=dict)
    _behaviours: dict[Behaviour, str] = field(default_factory=dict, init=False)
    _names: dict[str, str] = field(default_factory=dict, init=False)
    _probed: set[str] = field(default_factory=set, init=False)
    _counting: list[Rung] = field(init=False)
    _probes: list[Rung] = field(init=False)

    def __post_init__(self) -> None:
        rungs = self.task.cascade()
        self._counting = [rung for rung in rungs if rung.counts]
        self._probes = [rung for rung in rungs if not rung.counts]

    def know(self, member: Member) -> None:
        """A founder: what decides as it does is its twin."""
        fault = first_fault(member.results) is not None
        self.standings[member.digest] = _standing(len(self._counting), member.score, fault)
        self._probed.add(member.program.canonical)
        self._names[member.digest] = member.name
        probed = {w: self.evaluator.known[member.digest, w] for w in self._probe_windows}
        self._twin(member.digest, -1, probed)
        windows: tuple[str, ...] = ()
        for height, rung in enumerate(self._counting):
            windows += rung.windows
            self._twin(member.digest, height, {w: member.results[w] for w in windows})

    def probe(self, candidates: Sequence[Candidate]) -> list[Attempt | None]:
        """What to tell the author of each: nothing (None) when it may climb."""
        windows = self._probe_windows
        fresh = [c for c in candidates if c.trial.program.canonical not in self._probed]
        if not windows or not fresh:
            return [None] * len(candidates)
        trials = [candidate.trial for candidate in fresh]
        rung = self._probes[0]
        found = self.evaluator.score(trials, windows, rung.name)
        said: dict[str, Attempt | None] = {}
        for candidate, results in zip(fresh, found, strict=False):
            self._charge(candidate, windows)
            self._probed.add(candidate.trial.program.canonical)
            said[candidate.trial.digest] = self._objection(candidate, results, rung)
        return [said.get(candidate.trial.digest) for candidate in candidates]

    def climb(self, candidates: Sequence[Candidate], until: float = 1.0) -> list[Member]:
        """The members that come out of it, in the order of the candidates."""
        climbers = [Climber(candidate, {}) for candidate in candidates]
        windows: tuple[str, ...] = ()
        top = len(self._counting) - 1
        for height, rung in enumerate(self._counting):
            windows += rung.windows
            climbers = self._scored(climbers, rung, windows, until)
            if height < top:
                climbers = self._sieved(climbers, rung, height)
        return [member for climber in climbers if (member := self._member(climber))]

    @property
    def _probe_windows(self) -> list[str]:
        return [window for rung in self._probes for window in rung.windows]

    def _objection(self, candidate: Candidate, results: Results, rung: Rung) -> Attempt | None:
        fault = first_fault(results)
        text = candidate.proposal.text
        if fault is not None:
            self._drop(Climber(candidate, results), rung, "fault", math.inf)
            return Attempt(text, fault=fault)
        self._names[candidate.trial.digest] = candidate.name
        twin = self._twin(candidate.trial.digest, -1, results)
        if twin is not None:
            self.tally.duplicates += 1
            self.chronicle.duplicate(candidate, self._names[twin], "behaviour")
            return Attempt(text, twin=self._names[twin])
        return None

    def _scored(
        self, climbers: Sequence[Climber], rung: Rung, windows: tuple[str, ...], until: float
    ) -> list[Climber]:
        """Those that the budget pays for, with their scores on all windows up to here."""
        trials = [climber.candidate.trial for climber in climbers]
        found = self.evaluator.score(trials, windows, rung.name, until)
        scored = []
        for climber, results in zip(climbers, found, strict=False):
            self._charge(climber.candidate, rung.windows)
            score = self.yardstick.score(results)
            scored.append(Climber(climber.candidate, results, score))
        for climber in climbers[len(found) :]:
            self._drop(climber, rung, "budget", math.inf)
        return scored

    def _sieved(self, climbers: Sequence[Climber], rung: Rung, height: int) -> list[Climber]:
        """Those that go on, in their order."""
        going_on = []
        for climber in climbers:
            bar = self._bar(climber)
            reason = self._ends(climber, height, bar)
            if reason is None:
                going_on.append(climber)
            else:
                self._stand(climber, height + 1, reason)
                self._drop(climber, rung, reason, bar)
        return going_on

    def _bar(self, climber: Climber) -> float:
        """The score of its parent on the same windows."""
        parent = climber.candidate.parent.results
        return self.yardstick.score({window: parent[window] for window in climber.results})

    def _ends(self, climber: Climber, height: int, bar: float) -> str | None:
        """Why a climb ends here."""
        if first_fault(climber.results) is not None:
            return "fault"
        if self._twin(climber.digest, height, climber.results) is not None:
            return "twin"
        if climber.score >= self.hopeless:
            return "hopeless"
        change = math.log(climber.score / bar)
        if abs(change) < self.alike:
            return "alike"
        last = height == len(self._counting) - 2
        lenient = climber.candidate.paid or (height == 0 and not last)
        return "slower" if change > (self.behind if lenient else -self.alike) else None

    def _stand(
        self, climber: Climber, height: int, reason: str | None, *, broken: bool = False
    ) -> None:
        """Note how it did; a twin did as well as the one it equals."""
        standing = _standing(height, climber.score, reason == "fault", broken)
        if reason == "twin":
            twin = self._twin(climber.digest, height - 1, climber.results)
            standing = min(standing, self.standings.get(twin or "", standing))
        self.standings[climber.digest] = standing

    def _twin(self, digest: str, height: int, results: Results) -> str | None:
        """The digest of a known candidate with the same fingerprints up to this height.

        One that failed further up is nobody's twin: another may be what it was without the fault.
        """
        prints = tuple(results[window].fingerprint for window in sorted(results))
        if not prints or not all(prints):
            return None
        known = self._behaviours.setdefault((height, prints), digest)
        if self.standings.get(known) == FAULTED:
            known = self._behaviours[height, prints] = digest
        return known if known != digest else None

    def _member(self, climber: Climber) -> Member | None:
        candidate = climber.candidate
        member = self._as_member(candidate, climber.results)
        fault = first_fault(climber.results) is not None
        top = len(self._counting)
        twin = self._twin(member.digest, top - 1, climber.results)
        self._stand(climber, top, "fault" if fault else None, broken=bool(member.breaks))
        self.tally.scored += 1
        self.tally.faulted += fault
        self.chronicle.scored(member, candidate)
        return None if fault or twin is not None else member

    def _as_member(self, candidate: Candidate, results: Results) -> Member:
        trial, proposal = candidate.trial, candidate.proposal
        gates = self.task.gates(results, self.rival.results)
        return Member(
            digest=trial.digest,
            name=candidate.name,
            program=trial.program,
            parameters=dict(trial.parameters),
            results=dict(results),
            score=self.yardstick.score(results),
            niche=self.task.niche(trial.program, results),
            origin=candidate.origin,
            idea=proposal.idea,
            parents=proposal.parents,
            generation=candidate.generation,
            breaks=next((gate.sentence for gate in gates if not gate.passed), ""),
        )

    def _drop(self, climber: Climber, rung: Rung, reason: str, bar: float) -> None:
        self.tally.dropped += 1
        self.tally.faulted += reason == "fault"
        self.evaluator.forget(climber.digest, [*self._probe_windows, *climber.results])
        self.on_drop(climber.candidate, reason, climber.score, bar)
        self.chronicle.dropped(climber.candidate, climber.results, rung.name, reason,
                               climber.score, bar)  # fmt: skip

    def _charge(self, candidate: Candidate, windows: Sequence[str]) -> None:
        cost = self.evaluator.cost(windows)
        account = self.bandit.account(candidate.proposal.proposer)
        account.run_cost += cost
        self.bandit.spend(candidate.proposal.proposer, self.budget.share_of(cost, Cost()))


def _standing(height: int, score: float, fault: bool = False, broken: bool = False) -> Standing:
    """Further up is better, then kept guardrails, then the score; a fault is behind everything."""
    return FAULTED if fault else (-float(height), float(broken), score)
