"""What a run concludes: the outcome, its reason in one sentence, and the numbers it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from evolver.archive import Member
from evolver.journal import first_fault
from evolver.task import Gate, Results
from sandbox.evidence import Role
from sandbox.stats import MIN_WINDOWS

LEVEL = 0.01  # of the sign-flip test: so often do candidates win that are no better
MIN_GAIN = 0.005  # whatever the profile claims, below half a percent nothing is told apart
ROLE_WORDS = {
    Role.BEST_HUMAN: "best on validation",
    Role.BEST_HUMAN_HINDSIGHT: "best in hindsight",
    Role.ACTIVE: "active",
    Role.BEST_HUMAN_TUNED: "best tuned",
    Role.BEST_HUMAN_UNTUNED: "best untuned",
}


class Outcome(StrEnum):
    """What a run concludes."""

    IMPROVED = "improved"
    NO_CHANGE = "no_change"
    NOT_ENOUGH = "not_enough_evidence"  # too few sealed units; they were not opened


@dataclass(frozen=True, slots=True)
class Tried:
    """What the finalists are the best of.

    Attributes:
        proposed: texts that proposers gave.
        legal: those that were verified and new, so that they ran.
        scored: those that were scored on all training windows.
        objections: sentences that kept scored ones from being finalists, to the best first.
    """

    proposed: int = 0
    legal: int = 0
    scored: int = 0
    objections: tuple[str, ...] = ()

    def objection(self) -> str:
        """Why there is no finalist at all."""
        if not self.proposed:
            return "no candidate was proposed."
        if not self.legal:
            return f"none of the {self.proposed} candidates proposed was legal and new."
        if not self.scored:
            return (
                f"none of the {self.legal} candidates tried was scored on all training windows: "
                "each failed, behaved as another does, or fell behind before."
            )
        if self.objections:
            return (
                f"none of the {self.scored} candidates scored could be a finalist, the best of "
                f"those that behave unlike a human for this reason: {self.objections[0]}"
            )
        return f"each of the {self.scored} candidates scored behaves just as a human policy does."


@dataclass(frozen=True, slots=True)
class Effect:
    """Relative gain on the sealed windows against one rival: 0.05 is 5 % less than the rival's.

    `low` and `high` bound it with 95 % confidence, `p_value` is of the one-sided sign-flip test,
    and `windows` counts independent units.
    """

    rival: Member
    gain: float
    low: float
    high: float
    windows: int
    p_value: float = 1.0
    roles: tuple[Role, ...] = ()

    @property
    def proved(self) -> bool:
        """Whether chance is ruled out against this rival."""
        return self.low > 0.0 and self.p_value <= LEVEL

    @property
    def against(self) -> str:
        """The rival by name, and why it is one."""
        words = ", ".join(ROLE_WORDS[role] for role in self.roles)
        return f"{self.rival.name} ({words})" if words else self.rival.name

    def as_data(self) -> dict[str, object]:
        """The effect as plain JSON values."""
        return {
            "name": self.rival.name,
            "roles": [role.value for role in self.roles],
            "gain": self.gain,
            "low": self.low,
            "high": self.high,
            "windows": self.windows,
            "p_value": self.p_value,
        }

    @property
    def span(self) -> str:
        """The interval in words."""
        return f"{self.low:.1%} to {self.high:.1%} on {self.windows} sealed windows"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome with its reason; `winner` is the candidate it is about, also when it lost.

    Attributes:
        effects: against each rival, weakest first; none when no sealed window was opened.
        tried: candidates that ran; the winner is the best of them.
        finalists: those of them that were compared on validation windows.
        results: of winner and rivals on every window that they ran on, by digest.
    """

    outcome: Outcome
    reason: str
    best_human: Member
    winner: Member | None = None
    effects: tuple[Effect, ...] = ()
    gates: tuple[Gate, ...] = ()
    tried: int = 0
    finalists: int = 0
    results: Mapping[str, Results] = field(default_factory=dict, repr=False)

    @property
    def effect(self) -> Effect | None:
        """The weakest effect: the one that the claim rests on."""
        return self.effects[0] if self.effects else None


def decide(
    candidate: Results, effects: Sequence[Effect], gates: Sequence[Gate], smallest_gain: float
) -> tuple[Outcome, str]:
    """The outcome and its reason from what the sealed windows say, gravest objection first."""
    weakest = min(effects, key=weakness)
    smallest = min(effects, key=lambda effect: effect.gain)
    fault = first_fault(candidate)
    broken = [gate.sentence for gate in gates if not gate.passed]
    if fault is not None:
        return Outcome.NO_CHANGE, f"The candidate failed on sealed window {fault}."
    if not weakest.proved:
        return Outcome.NO_CHANGE, (
            f"Not proved: the gain against {weakest.against} is {weakest.span}, p = "
            f"{weakest.p_value:.2g}, where an interval above 0 and p <= {LEVEL:g} were needed."
        )
    if smallest.gain < smallest_gain:
        return Outcome.NO_CHANGE, (
            f"Too small to trust: the gain against {smallest.against} is {smallest.gain:.2%}, and "
            f"below {smallest_gain:.1%} the simulator's own error decides."
        )
    if broken:
        return Outcome.NO_CHANGE, f"Better, but a guardrail broke: {broken[0]}"
    return Outcome.IMPROVED, (
        f"Better than {weakest.against} by {weakest.span}, p = {weakest.p_value:.2g}."
    )


def weakness(effect: Effect) -> tuple[bool, float, float, str]:
    """Sort key: what is not proved first, then by the lower end of the interval."""
    return (effect.proved, effect.low, -effect.p_value, effect.rival.digest)


def too_few(units: int, objection: str) -> str:
    """What is missing, what would help, and what the validation windows said already."""
    besides = f"; besides, {objection}" if objection else "."
    return (
        f"Not enough evidence: a win needs {MIN_WINDOWS} independent sealed windows and there are "
        f"{units}, so they stay sealed, and only a longer stretch of time (a longer trace) has "
        f"enough{besides}"
    )
