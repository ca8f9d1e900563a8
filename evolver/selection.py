"""The choice of one winner and its proof: validation windows choose, sealed windows decide once.

The claim is a gain against every rival on windows that nobody has looked at: the human policy best
on validation, the one best on the sealed windows in hindsight, and the active one. `no change` is
a normal outcome. Humans count with their own constants and with constants tuned by this run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from evolver.archive import Member
from evolver.evaluation import Evaluator, Trial, Yardstick
from evolver.journal import EventKind, Journal, first_fault
from evolver.task import Gate, Results, Split, Task
from sandbox.stats import MIN_WINDOWS, log_ratios, paired_bootstrap, relative_gain

if TYPE_CHECKING:
    from sandbox.cluster import ClusterSpec

RESAMPLES = 10_000
MIN_GAIN = 0.005  # whatever the profile claims, below half a percent nothing is told apart


def smallest_gain(cluster: ClusterSpec) -> float:
    """The smallest gain that means something where times are off by the profile's own error."""
    from sandbox.hardware import differential_error

    return max(MIN_GAIN, differential_error(cluster))


class Outcome(StrEnum):
    """What a run concludes."""

    IMPROVED = "improved"
    NO_CHANGE = "no_change"


@dataclass(frozen=True, slots=True)
class Effect:
    """Relative gain on the sealed windows against one rival: 0.05 is 5 % less than the rival's.

    `low` and `high` bound it with 95 % confidence (paired bootstrap over windows).
    """

    rival: Member
    gain: float
    low: float
    high: float
    windows: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome with its reason; `winner` is the candidate it is about, also when it lost."""

    outcome: Outcome
    reason: str
    best_human: Member
    winner: Member | None = None
    effects: tuple[Effect, ...] = ()  # weakest first
    gates: tuple[Gate, ...] = ()
    active: str | None = None  # digest of the policy that runs now, if it is among the rivals

    @property
    def effect(self) -> Effect | None:
        """The weakest effect: the one that the claim rests on."""
        return self.effects[0] if self.effects else None


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

    def judge(self, finalists: Sequence[Member]) -> Verdict:
        """Choose on validation windows, then prove on the sealed ones."""
        human, human_score, scores = self._validate(finalists)
        if not finalists:
            reason = "No candidate was better without breaking a guardrail on training windows."
            return Verdict(Outcome.NO_CHANGE, reason, human)
        able = [pair for pair in zip(finalists, scores, strict=True) if math.isfinite(pair[1])]
        if not able:
            reason = "Every finalist broke a guardrail on the validation windows."
            return Verdict(Outcome.NO_CHANGE, reason, human, finalists[0])
        chosen, score = min(able, key=lambda pair: (round(pair[1], 6), *pair[0].rank))
        self.journal.write(
            EventKind.CANDIDATE_CHOSEN,
            chosen.digest,
            name=chosen.name,
            score=score,
            human=human.name,
            human_score=human_score,
        )
        if score >= human_score:
            reason = f"On the validation windows no candidate was better than {human.name}."
            return Verdict(Outcome.NO_CHANGE, reason, human, chosen)
        return self._prove(chosen, human)

    def _validate(self, finalists: Sequence[Member]) -> tuple[Member, float, list[float]]:
        """The best human on validation with its score, and the finalists' scores.

        A finalist that breaks a guardrail scores infinity.
        """
        everyone = [*self.humans, *finalists]
        results = self.results(everyone, Split.VALIDATION)
        humans = results[: len(self.humans)]
        yardstick = Yardstick.of(humans)
        ranked = [(yardstick.score(r), *m.rank) for m, r in zip(self.humans, humans, strict=True)]
        best = min(range(len(ranked)), key=ranked.__getitem__)
        scores = []
        for result in results[len(self.humans) :]:
            kept = all(gate.passed for gate in self.task.gates(result, humans[best]))
            scores.append(yardstick.score(result) if kept else math.inf)
        return self.humans[best], ranked[best][0], scores

    def _prove(self, chosen: Member, human: Member) -> Verdict:
        """Open the sealed windows, once, for this one candidate."""
        sealed = self.task.windows(Split.SEALED)
        if len(sealed) < 2:
            reason = f"Not enough evidence: {len(sealed)} sealed windows cannot give an interval."
            return Verdict(Outcome.NO_CHANGE, reason, human, chosen)
        self.journal.write(
            EventKind.SEALED_OPENED,
            chosen.digest,
            windows=list(sealed),
            humans=[member.name for member in self.humans],
        )
        results = self.results([chosen, *self.humans], Split.SEALED)
        rivals = self._rivals(human, results[1:])
        effects = sorted(
            (self._effect(results[0], rival, theirs) for rival, theirs in rivals),
            key=lambda effect: effect.low,
        )
        gates = tuple(gate for _, theirs in rivals for gate in self.task.gates(results[0], theirs))
        outcome, reason = _decision(results[0], effects, gates, self.smallest_gain)
        return Verdict(outcome, reason, human, chosen, tuple(effects), gates, self.active)

    def _rivals(self, human: Member, sealed: Sequence[Results]) -> list[tuple[Member, Results]]:
        """Best on validation, best on the sealed windows in hindsight, and the active policy."""
        yardstick = Yardstick.of(sealed)
        pairs = list(zip(self.humans, sealed, strict=True))
        hindsight = min(pairs, key=lambda pair: (yardstick.score(pair[1]), *pair[0].rank))[0]
        named = {human.digest, hindsight.digest, self.active}
        return [pair for pair in pairs if pair[0].digest in named]

    def _effect(self, candidate: Results, rival: Member, theirs: Results) -> Effect:
        windows = sorted(candidate)
        ratios = log_ratios(
            [theirs[w].objective for w in windows], [candidate[w].objective for w in windows]
        )
        # One candidate reaches this gate, and it must beat every rival: nothing to correct for.
        interval = paired_bootstrap(ratios, seed=self.seed, resamples=RESAMPLES)
        gain, low, high = map(relative_gain, (interval.mean, interval.low, interval.high))
        return Effect(rival, gain, low, high, len(windows))


def _decision(
    candidate: Results, effects: Sequence[Effect], gates: Sequence[Gate], smallest_gain: float
) -> tuple[Outcome, str]:
    """The verdict and its reason, gravest objection first."""
    weakest = effects[0]
    span = f"{weakest.low:.1%} to {weakest.high:.1%} on {weakest.windows} sealed windows"
    fault = first_fault(candidate)
    broken = [gate.sentence for gate in gates if not gate.passed]
    if fault is not None:
        return Outcome.NO_CHANGE, f"The candidate failed on sealed window {fault}."
    if weakest.windows < MIN_WINDOWS:
        return Outcome.NO_CHANGE, (
            f"Not enough evidence: {weakest.windows} sealed windows, "
            f"{MIN_WINDOWS} are needed (gain against {weakest.rival.name} {span})."
        )
    if not weakest.low > 0:
        return Outcome.NO_CHANGE, (
            f"Not proved: the gain against {weakest.rival.name} is {span}, which includes none."
        )
    if weakest.gain < smallest_gain:
        return Outcome.NO_CHANGE, (
            f"Too small to trust: the gain against {weakest.rival.name} is {weakest.gain:.2%}, and "
            f"below {smallest_gain:.1%} the simulator's own error decides."
        )
    if broken:
        return Outcome.NO_CHANGE, f"Better, but a guardrail broke: {broken[0]}"
    return Outcome.IMPROVED, f"Better than {weakest.rival.name} by {span}."
