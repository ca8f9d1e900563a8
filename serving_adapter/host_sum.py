"""What the processes of one host say, put together as what the host says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving_adapter.decision import Author
from serving_adapter.process_report import (
    MAX_EJECTIONS,
    ProcessReport,
    ShadowReport,
    TrialReport,
)
from serving_adapter.safety.comparison import Standing
from serving_adapter.safety.ejection import Ejection


@dataclass(frozen=True, slots=True)
class HostSum:
    """One host.

    Attributes:
        sequence: the lowest that a process runs; digest: what that one asks first.
        facts: counts and words by name, as `policy_store.records.HostReport` has them.
    """

    sequence: int
    digest: str | None
    ejections: tuple[Ejection, ...]
    facts: Mapping[str, float | str]


def host_sum(reports: Sequence[ProcessReport]) -> HostSum | None:
    """The sum over living processes; None without any."""
    if not reports:
        return None
    last = min(reports, key=lambda one: one.sequence)
    decided: Counter[str] = Counter()
    ejections: dict[tuple[str, int], Ejection] = {}
    for report in reports:
        decided.update(report.decided)
        ejections |= {(one.digest, one.sequence): one for one in report.ejections}
    facts: dict[str, float | str] = {
        "processes": len(reports),
        "behind": sum(report.behind for report in reports),
        "decisions": sum(decided.values()),
        "fallbacks": sum(report.fallbacks for report in reports),
        "swaps": sum(report.swaps for report in reports),
        "longest_swap_s": max(report.swap_s for report in reports),
        "mean_swap_s": sum(report.mean_swap_s for report in reports) / len(reports),
        "inputs_dropped": sum(report.dropped for report in reports),
    }
    facts |= {f"decided_{author.value}": decided[author.value] for author in Author}
    facts |= _canary([one.canary for one in reports if one.canary is not None])
    facts |= _shadow([one.shadow for one in reports if one.shadow is not None])
    newest = sorted(ejections.values(), key=lambda one: one.unix_s)[-MAX_EJECTIONS:]
    return HostSum(last.sequence, last.digest, tuple(newest), facts)


def _canary(trials: list[TrialReport]) -> dict[str, float | str]:
    """Trials of one canary; in mid-swap, those of the one that most processes have."""
    if not trials:
        return {}
    ((digest, _),) = Counter(one.digest for one in trials).most_common(1)
    trials = [one for one in trials if one.digest == digest]
    return {
        "canary": digest,
        "canary_weight": trials[-1].weight,
        "trial_decisions": sum(one.decisions for one in trials),
        "canary_decisions": sum(one.canary_decisions for one in trials),
        "control_decisions": sum(one.control_decisions for one in trials),
        "canary_requests": sum(one.canary_requests for one in trials),
        "control_requests": sum(one.control_requests for one in trials),
        "canary_standing": _standing(trials).value,
        "canary_evidence": max(one.evidence for one in trials),
        "canary_advantage": sum(one.advantage for one in trials) / len(trials),
        "canary_proof": min(one.proof for one in trials),
    }


def _standing(trials: list[TrialReport]) -> Standing:
    """Worse as soon as one process has proven it, since that one has taken it out.

    Better by the mean of what the processes' bets have won: that is a fair bet itself, whatever
    the processes have in common, while the best of several is not.
    """
    if any(one.standing == Standing.WORSE for one in trials):
        return Standing.WORSE
    mean = sum(one.advantage for one in trials) / len(trials)
    return Standing.BETTER if mean >= min(one.proof for one in trials) else Standing.OPEN


def _shadow(shadows: list[ShadowReport]) -> dict[str, float | str]:
    if not shadows:
        return {}
    ((digest, _),) = Counter(one.digest for one in shadows).most_common(1)
    shadows = [one for one in shadows if one.digest == digest]
    return {
        "shadow": digest,
        "shadow_agree": sum(one.agree for one in shadows),
        "shadow_differ": sum(one.differ for one in shadows),
        "shadow_fault": sum(one.fault for one in shadows),
        "shadow_live_s": sum(one.live_s for one in shadows),
        "shadow_shadow_s": sum(one.shadow_s for one in shadows),
    }


def report_body(total: HostSum, host: str, deployment: str) -> dict[str, object]:
    """The sum as the store's page takes it over HTTP."""
    return {
        "host": host,
        "deployment": deployment,
        "sequence": total.sequence,
        "digest": total.digest,
        "facts": dict(total.facts),
        "ejections": [
            {
                "digest": one.digest,
                "sequence": one.sequence,
                "kind": one.kind.value,
                "reason": one.reason,
                "unix_s": one.unix_s,
            }
            for one in total.ejections
        ],
    }
