"""Who may be judged: the best of the search that behave differently and hold up elsewhere, too.

The best run once more on variants of the training windows (other rates, lengths, capacities),
beside the best human: whoever wins only under the very conditions it was searched on ends here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evolver.archive import Member
from evolver.budget import Budget
from evolver.candidates import Tally
from evolver.chronicle import Chronicle
from evolver.evaluation import Evaluator, Trial, Yardstick
from evolver.founders import Founders
from evolver.journal import first_fault
from evolver.task import Task
from evolver.verdict import Tried

ALIKE = 0.005  # root mean square, over windows, of the logarithm of two objectives' ratio


@dataclass(frozen=True, slots=True)
class Finals:
    """Chooses the finalists of a run.

    Attributes:
        most: finalists that are compared on the validation windows.
    """

    task: Task
    evaluator: Evaluator
    budget: Budget
    chronicle: Chronicle
    founders: Founders
    most: int

    def choose(self, members: Sequence[Member], tally: Tally) -> tuple[list[Member], Tried]:
        """The finalists, best first, and what they are the best of; members come best first."""
        distinct, objections = self._distinct(members)
        varied = self._varied(distinct)
        for member, score in varied:
            self.chronicle.finalist(member, score)
        if distinct and not varied:
            objections = ["Under other conditions it failed or was no better than the best human."]
        legal = tally.proposed - tally.refused - tally.duplicates
        tried = Tried(tally.proposed, legal, tally.scored, tuple(objections))
        return [member for member, _ in varied], tried

    def _distinct(self, members: Sequence[Member]) -> tuple[list[Member], list[str]]:
        """Those that do differently, from each other and from every human.

        Steps of one lineage do nearly the same: to choose among them would be to choose by noise.
        A human's text with other constants is that human, tuned, and no candidate. One that breaks
        a guardrail on the training windows already would only lose in the end: it is left out, and
        the sentences of these guardrails come second.
        """
        human = self.founders.best
        texts = {member.program.canonical for member in self.founders.members}
        known = list(self.founders.members)
        chosen: list[Member] = []
        broken: list[str] = []
        for member in members:
            if member.program.canonical in texts or any(_alike(member, one) for one in known):
                continue
            gates = self.task.gates(member.results, human.results)
            refused = [gate.sentence for gate in gates if not gate.passed]
            broken += refused[:1]
            if not refused:
                known.append(member)
                chosen.append(member)
            if len(chosen) == self.most:
                break
        return chosen, broken

    def _varied(self, members: Sequence[Member]) -> list[tuple[Member, float | None]]:
        """With their score on the variants, best first, without those that lose there.

        Those that the budget does not try there come last, without a score.
        """
        variants = self.task.variants()
        payable = self.budget.left() // max(self.evaluator.cost(variants), 1)
        count = min(len(members), payable - 1)
        if not variants or count < 1:
            return [(member, None) for member in members]
        human, *tested = [self.founders.best, *members[:count]]
        trials = [Trial(m.program, m.parameters) for m in (human, *tested)]
        results = self.evaluator.score(trials, variants, "variants")
        if len(results) < 2:
            return [(member, None) for member in members]
        yardstick = Yardstick.of(results[:1])
        held = [
            (member, score)
            for member, found in zip(tested, results[1:], strict=False)
            if first_fault(found) is None and (score := yardstick.score(found)) < 1.0
        ]
        held.sort(key=lambda pair: (round(pair[1] * pair[0].score, 6), *pair[0].rank))
        return [*held, *((member, None) for member in members[len(results) - 1 :])]


def _alike(one: Member, other: Member) -> bool:
    """Whether two did about the same on each training window."""
    ratios = [
        math.log(result.objective / other.results[window].objective)
        for window, result in one.results.items()
    ]
    return math.sqrt(math.fsum(r * r for r in ratios) / len(ratios)) < ALIKE
