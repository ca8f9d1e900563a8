"""What hosts say of a canary and of a shadow, over all hosts that were heard lately.

A host is believed about nothing but itself, and what it says of another policy than the one that is
on trial now is left out: until hosts have followed, nobody has said anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policy_store.records import HostReport, Slot

WORSE, BETTER, OPEN = "worse", "better", "open"


@dataclass(frozen=True, slots=True)
class CanaryTold:
    """A canary beside its control.

    Attributes:
        hosts: how many say that they have it.
        thrown_by: names of those that took it out.
        decisions, canary_decisions: of all decisions since it came, and of those its own.
        canary_requests, control_requests: outcomes that are compared.
        standing: "worse", "better" or "open".
        evidence, proof: the strongest host's evidence that it is worse, and how much proves it.
    """

    hosts: int
    thrown_by: tuple[str, ...]
    decisions: float = 0.0
    canary_decisions: float = 0.0
    canary_requests: float = 0.0
    control_requests: float = 0.0
    standing: str = OPEN
    evidence: float = math.nan
    proof: float = math.nan

    @property
    def share(self) -> float | None:
        """Of all decisions, since it came; None before the first."""
        return min(self.canary_decisions / self.decisions, 1.0) if self.decisions > 0 else None


@dataclass(frozen=True, slots=True)
class ShadowTold:
    """A shadow beside who decides.

    Attributes:
        asked: how often; agreed, failed: as often it chose the same, or nothing valid.
        gain: by how much its choices are predicted to be faster, as a share; None where the
            signals do not tell.
    """

    hosts: int
    thrown_by: tuple[str, ...]
    asked: float = 0.0
    agreed: float = 0.0
    failed: float = 0.0
    gain: float | None = None


def canary_told(slot: Slot, heard: Sequence[HostReport]) -> CanaryTold:
    """What those say that run this canary."""
    of = [report for report in heard if slot.digest and report.facts.get("canary") == slot.digest]
    thrown = _thrown_by(slot, heard)
    if not of:
        return CanaryTold(0, thrown)
    proof = min(number(report, "canary_proof", 100.0) for report in of)
    return CanaryTold(
        hosts=len(of),
        thrown_by=thrown,
        decisions=_total(of, "trial_decisions"),
        canary_decisions=_total(of, "canary_decisions"),
        canary_requests=_total(of, "canary_requests"),
        control_requests=_total(of, "control_requests"),
        standing=_standing(of, proof),
        evidence=max(number(report, "canary_evidence") for report in of),
        proof=proof,
    )


def shadow_told(slot: Slot, heard: Sequence[HostReport]) -> ShadowTold:
    """What those say that ask this shadow."""
    of = [report for report in heard if slot.digest and report.facts.get("shadow") == slot.digest]
    thrown = _thrown_by(slot, heard)
    if not of:
        return ShadowTold(0, thrown)
    agreed, failed = _total(of, "shadow_agree"), _total(of, "shadow_fault")
    live_s, shadow_s = _total(of, "shadow_live_s"), _total(of, "shadow_shadow_s")
    return ShadowTold(
        hosts=len(of),
        thrown_by=thrown,
        asked=agreed + failed + _total(of, "shadow_differ"),
        agreed=agreed,
        failed=failed,
        gain=1.0 - shadow_s / live_s if live_s > 0 else None,
    )


def number(report: HostReport, name: str, otherwise: float = 0.0) -> float:
    """A count or amount in a report; `otherwise` where it says none, or nothing that can be."""
    value = report.facts.get(name)
    if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        return float(value)
    return otherwise


def _standing(of: Sequence[HostReport], proof: float) -> str:
    """Worse as soon as one host has proven it; better by the mean of the hosts' bets.

    The mean of fair bets is a fair bet; the best of several hosts would be better by chance.
    """
    if any(report.facts.get("canary_standing") == WORSE for report in of):
        return WORSE
    return BETTER if _total(of, "canary_advantage") / len(of) >= proof else OPEN


def _thrown_by(slot: Slot, heard: Sequence[HostReport]) -> tuple[str, ...]:
    return tuple(
        report.host for report in heard
        if any(one.digest == slot.digest and one.sequence >= slot.sequence
               for one in report.ejections)
    )  # fmt: skip


def _total(of: Sequence[HostReport], name: str) -> float:
    return min(sum(number(report, name) for report in of), 1e300)
