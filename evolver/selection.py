"""The choice of one winner and its proof: validation windows choose, sealed windows decide once.

A run tries many candidates, and the best of many looks better than it is. So the claim never rests
on a number that helped to choose: validation windows compare the finalists (how many there were,
and how many candidates were tried, is part of the verdict), and then one candidate alone meets the
sealed windows, which nobody has looked at. With one candidate there is nothing to correct for.

What counts is a unit: the variants and seeds of one window share what they happened to contain, so
their log-ratios are averaged and count once. With fewer than 8 units of the sealed windows these
are not even opened: they stay fresh for a run that can prove something.

The rivals are people's policies, with their own constants and with constants that this run tuned
for them: the best on validation, the best of the tuned and of the untuned ones there, the best on
the sealed windows in hindsight, and the active one. A win holds against each of them:

1. the exact sign-flip test gives at most 1 % (`LEVEL`). It flips the sign of each unit's log-ratio,
   the null hypothesis being that candidate and rival are exchangeable (Fisher's randomisation
   test): candidates that behave as the best human does win in at most 1 % of runs, whatever the
   shape of the noise, and whichever candidate validation chose;
2. the 95 % interval of the mean log-ratio lies above zero. The flips need symmetry, this does not;
3. the gain is at least what the simulator can tell apart;
4. every guardrail is kept against every rival, and no decision on a sealed window was faulty.

Requiring all of several tests at once needs no correction, either: a false win must pass the test
against the very rival that is not beaten, so its chance is at most that test's level, and each
further rival only lowers it (intersection-union, Berger 1982). The best in hindsight is chosen with
the sealed windows themselves, in the rivals' favour: that errs against the candidate. Humans that
are neither are not tested against: a specialist that is worse on the whole, but not on each
window, says nothing about the best.

`no change` is a normal outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evolver.archive import Member, geometric_mean
from evolver.evaluation import Evaluator, Trial, Yardstick
from evolver.journal import EventKind, Journal, first_fault
from evolver.task import Doubting, Gate, Results, Split, Task
from evolver.verdict import MIN_GAIN, Effect, Outcome, Tried, Verdict, decide, too_few, weakness
from sandbox.evidence import Role
from sandbox.stats import MIN_WINDOWS, compare, gain_by_window, relative_gain


@dataclass(frozen=True, slots=True)
class Standings:
    """Everyone's results on the validation windows, and which humans they make rivals."""

    humans: tuple[Member, ...]
    results: Mapping[str, Results]  # by digest
    yardstick: Yardstick
    active: str | None

    def best(self, among: Sequence[Member]) -> Member:
        """The best of some humans on these windows."""
        return min(among, key=self.rank)

    def rank(self, member: Member) -> tuple[float, bool, float, int, str]:
        """Sort key, best first; scores closer than one in a million are equal."""
        return (round(self.score(member), 6), *member.rank)

    def score(self, member: Member) -> float:
        """Geometric mean of the objective over the best human's of each window."""
        return self.yardstick.score(self.results[member.digest])

    def rivals(self) -> dict[str, tuple[Role, ...]]:
        """Digests of the rivals that these windows name, with their roles."""
        tuned = [human for human in self.humans if human.parents]
        untuned = [human for human in self.humans if not human.parents]
        named = [(Role.BEST_HUMAN, self.best(self.humans).digest)]
        named += [(Role.BEST_HUMAN_TUNED, self.best(tuned).digest)] if tuned else []
        named += [(Role.BEST_HUMAN_UNTUNED, self.best(untuned).digest)] if untuned else []
        named += [(Role.ACTIVE, self.active)] if self.active is not None else []
        roles: dict[str, tuple[Role, ...]] = {}
        for role, digest in named:
            roles[digest] = (*roles.get(digest, ()), role)
        return roles


@dataclass(frozen=True, slots=True)
class Court:
    """Everything a verdict needs: the task, the only way to a score, and who runs now."""

    task: Task
    evaluator: Evaluator
    journal: Journal
    humans: tuple[Member, ...]  # tuned ones included
    active: str | None = None  # digest of the active policy
    seed: int = 0
    smallest_gain: float = MIN_GAIN  # a smaller one lies within the profile's differential error

    def results(self, members: Sequence[Member], split: Split) -> list[Results]:
        """Results of the members on all windows of a split."""
        trials = [Trial(member.program, member.parameters) for member in members]
        return self.evaluator.prove(trials, self.task.windows(split), split.value)

    def judge(self, finalists: Sequence[Member], tried: Tried | None = None) -> Verdict:
        """Choose on validation windows, then prove on the sealed ones.

        Args:
            finalists: the best candidates of the search, best first.
            tried: what they are the best of.
        """
        tried = tried or Tried(len(finalists), len(finalists), len(finalists))
        standings = self._standings(Split.VALIDATION, finalists)
        chosen, objection = self._choose(finalists, standings, tried)
        human = standings.best(self.humans)
        units = {self.task.unit(window) for window in self.task.windows(Split.SEALED)}
        verdict = Verdict(
            Outcome.NO_CHANGE,
            objection[:1].upper() + objection[1:],
            human,
            chosen,
            tried=tried.legal,
            finalists=len(finalists),
        )
        if len(units) < MIN_WINDOWS:
            reason = too_few(len(units), objection)
            return replace(verdict, outcome=Outcome.NOT_ENOUGH, reason=reason)
        if objection or chosen is None:
            return verdict
        return self._prove(verdict, chosen, standings)

    def _standings(self, split: Split, candidates: Sequence[Member]) -> Standings:
        everyone = [*self.humans, *candidates]
        results = self.results(everyone, split)
        by_digest = {member.digest: r for member, r in zip(everyone, results, strict=True)}
        yardstick = Yardstick.of(results[: len(self.humans)])
        return Standings(self.humans, by_digest, yardstick, self.active)

    def _choose(
        self, finalists: Sequence[Member], standings: Standings, tried: Tried
    ) -> tuple[Member | None, str]:
        """The finalist that the sealed windows would be opened for, and why not, if not."""
        if not finalists:
            return None, tried.objection()
        objections = [self._objection(member, standings) for member in finalists]
        able = [m for m, why in zip(finalists, objections, strict=True) if not why]
        if not able:
            many = f"each of the {len(finalists)} finalists" if finalists[1:] else "the finalist"
            return finalists[0], (
                f"{many} failed or broke a guardrail on the validation windows, the best this "
                f"way: {objections[0]}"
            )
        chosen, human = min(able, key=standings.rank), standings.best(self.humans)
        score, human_score = standings.score(chosen), standings.score(human)
        self.journal.write(
            EventKind.CANDIDATE_CHOSEN,
            chosen.digest,
            name=chosen.name,
            score=score,
            human=human.name,
            human_score=human_score,
        )
        better = score < human_score
        who = f"none of the {len(finalists)} finalists" if finalists[1:] else "the finalist"
        negated = "was better" if finalists[1:] else "was not better"
        return chosen, "" if better else (
            f"on the validation windows {who} {negated} than {human.name}."
        )

    def _objection(self, finalist: Member, standings: Standings) -> str:
        """What forbids a finalist to win, whatever its score."""
        results = standings.results[finalist.digest]
        fault = first_fault(results)
        if fault is not None:
            return f"{fault}."
        gates = self._gates(results, standings, standings.rivals())
        return next((gate.sentence for gate in gates if not gate.passed), "")

    def _gates(
        self, candidate: Results, standings: Standings, rivals: Mapping[str, tuple[Role, ...]]
    ) -> tuple[Gate, ...]:
        """The guardrails against every rival; each sentence says against whom."""
        return tuple(
            replace(gate, sentence=f"Against {human.name}: {gate.sentence}")
            for human in self.humans
            if human.digest in rivals
            for gate in self.task.gates(candidate, standings.results[human.digest])
        )

    def _prove(self, verdict: Verdict, chosen: Member, before: Standings) -> Verdict:
        """Open the sealed windows, once, for this one candidate."""
        self.journal.write(
            EventKind.SEALED_OPENED,
            chosen.digest,
            windows=list(self.task.windows(Split.SEALED)),
            humans=[member.name for member in self.humans],
        )
        sealed = self._standings(Split.SEALED, [chosen])
        rivals = before.rivals()
        hindsight = sealed.best(self.humans).digest
        rivals[hindsight] = (*rivals.get(hindsight, ()), Role.BEST_HUMAN_HINDSIGHT)
        known = [human for human in self.humans if human.digest in rivals]
        mine = sealed.results[chosen.digest]
        effects = [
            self._effect(mine, human, sealed.results[human.digest], rivals[human.digest])
            for human in known
        ]
        gates = self._gates(mine, sealed, rivals)
        outcome, reason = decide(mine, effects, gates, self.smallest_gain)
        reason += self._doubted(chosen, min(effects, key=weakness).rival, known)
        return replace(
            verdict,
            outcome=outcome,
            reason=reason,
            effects=tuple(sorted(effects, key=weakness)),
            gates=gates,
            results={m.digest: self._known(m, self._doubts(chosen)) for m in (chosen, *known)},
        )

    def _doubted(self, chosen: Member, rival: Member, known: Sequence[Member]) -> str:
        """Run them where predictions are worse, too; a sentence of what that does to the gain."""
        windows = self._doubts(chosen)
        if not windows:
            return ""
        trials = [Trial(member.program, member.parameters) for member in (chosen, *known)]
        mine, *theirs = self.evaluator.prove(trials, windows, "predictions")
        others = theirs[[member.digest for member in known].index(rival.digest)]
        parts = []
        for kind in dict.fromkeys(window.partition("+")[2] for window in windows):
            here = [window for window in windows if window.partition("+")[2] == kind]
            ratio = geometric_mean(mine[w].objective / others[w].objective for w in here)
            parts.append(f"{1.0 - ratio:.1%} on {len(here)} windows with {kind}")
        return f" Besides the proof, the gain against {rival.name} is {', '.join(parts)}."

    def _doubts(self, member: Member) -> tuple[str, ...]:
        task = self.task
        return task.doubts(member.program) if isinstance(task, Doubting) else ()

    def _known(self, member: Member, doubts: Sequence[str]) -> Results:
        """Its results on every window that counts and that it ran on."""
        windows = [w for split in Split for w in self.task.windows(split)]
        found = {w: self.evaluator.known.get((member.digest, w))
                 for w in (*windows, *self.task.variants(), *doubts)}  # fmt: skip
        return {w: result for w, result in found.items() if result is not None}

    def _effect(
        self, candidate: Results, rival: Member, theirs: Results, roles: tuple[Role, ...]
    ) -> Effect:
        ratios = gain_by_window(
            {window: result.objective for window, result in theirs.items()},
            {window: result.objective for window, result in candidate.items()},
            {window: self.task.unit(window) for window in candidate},
        )
        interval, p_value = compare(ratios, seed=self.seed)
        gain, low, high = map(relative_gain, (interval.mean, interval.low, interval.high))
        return Effect(rival, gain, low, high, interval.windows, p_value, roles)
