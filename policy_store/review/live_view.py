"""What a deployment runs, worked out for a page: places, hosts, and the decisions behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from policy_store.records import Alias, AuditEntry, Ejection, HostReport, PolicyVersion, Slot
from policy_store.review.live_trials import (
    CanaryTold,
    ShadowTold,
    canary_told,
    number,
    shadow_told,
)
from policy_store.snapshot import VALID_FOR
from policy_store.store import PolicyStore

SILENT_AFTER = timedelta(minutes=2)
EXPIRES_SOON = timedelta(days=7)
IN_SNAPSHOT = (Alias.ACTIVE, Alias.CANARY, Alias.SHADOW)  # whose changes hosts are to follow


@dataclass(frozen=True, slots=True)
class Place:
    """One alias of the deployment.

    Attributes:
        version: None where nobody holds it, or what holds it is unknown.
        decision: the audit entry that put it there, when it is among the latest.
        since: when its present holder came; later renewals do not count.
    """

    slot: Slot
    version: PolicyVersion | None
    decision: AuditEntry | None
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Host:
    """One serving host, as it last said.

    Attributes:
        word: how it stands: "current", "behind", "ahead", "other" or "silent".
        decisions, fallbacks: counts since it started; None where it does not say.
        canary_share: of its decisions since the canary came; None where it has no canary.
        processes: that take requests behind its name; None where it does not say.
    """

    report: HostReport
    word: str
    sentence: str
    decisions: float | None
    fallbacks: float | None
    canary_share: float | None
    processes: float | None


@dataclass(frozen=True, slots=True)
class Live:
    """All of it; decisions newest first, names by digest.

    Attributes:
        expires_at: when hosts stop believing the snapshot; None with the built-in default.
        canary, shadow: what hosts say of what is on trial.
    """

    deployment: str
    places: Mapping[Alias, Place]
    hosts: tuple[Host, ...]
    ejections: tuple[tuple[str, Ejection], ...]
    decisions: tuple[AuditEntry, ...]
    names: Mapping[str, str]
    expires_at: datetime | None
    canary: CanaryTold
    shadow: ShadowTold

    def expiry(self, now: datetime) -> str:
        """How near the end of the snapshot is: "", "soon" or "past"."""
        if self.expires_at is None or self.expires_at - now > EXPIRES_SOON:
            return ""
        return "soon" if self.expires_at > now else "past"


def live_of(store: PolicyStore, deployment: str, now: datetime) -> Live:
    """What a deployment runs at this moment."""
    slots = {slot.alias: slot for slot in store.slots(deployment)}
    decisions = store.audit.about_deployment(deployment)
    reports = store.hosts(deployment)
    ejections = [(one.host, ejection) for one in reports for ejection in one.ejections]
    known = store.find_policies(_digests(slots.values(), reports, decisions))
    active = slots[Alias.ACTIVE]
    places = {
        alias: Place(slot, known.get(slot.digest or ""), _made(decisions, slot), slot.changed_at)
        for alias, slot in slots.items()
    }
    places[Alias.ACTIVE] = Place(
        active, known.get(active.digest or ""), _made(decisions, active), store.active_since(active)
    )
    sequence = max(slot.sequence for alias, slot in slots.items() if alias in IN_SNAPSHOT)
    decided = replace(active, sequence=sequence)
    hosts = tuple(_host(report, decided, slots[Alias.CANARY], now) for report in reports)
    heard = [report for report in reports if now - report.seen_at <= SILENT_AFTER]
    return Live(
        deployment=deployment,
        places=places,
        hosts=hosts,
        ejections=tuple(sorted(ejections, key=lambda one: one[1].at, reverse=True)),
        decisions=decisions,
        names={digest: version.name for digest, version in known.items()},
        expires_at=active.changed_at + VALID_FOR if active.digest and active.changed_at else None,
        canary=canary_told(slots[Alias.CANARY], heard),
        shadow=shadow_told(slots[Alias.SHADOW], heard),
    )


def _digests(
    slots: Iterable[Slot], reports: Iterable[HostReport], decisions: Iterable[AuditEntry]
) -> set[str]:
    found = {slot.digest for slot in slots} | {report.digest for report in reports}
    for report in reports:
        found |= {ejection.digest for ejection in report.ejections}
    for entry in decisions:
        found |= {
            entry.subject,
            *(_digest(entry.details.get(of)) for of in ("restores", "replaces")),
        }
    return {digest for digest in found if digest}


def _digest(value: object) -> str:
    return value if isinstance(value, str) else ""


def _made(decisions: Sequence[AuditEntry], slot: Slot) -> AuditEntry | None:
    """The decision that gave a slot the sequence that it has."""
    return next(
        (one for one in decisions if _sequence(one, slot.deployment) == slot.sequence), None
    )


def _sequence(entry: AuditEntry, deployment: str) -> object:
    if entry.deployment == deployment:
        return entry.details.get("sequence")
    changed = entry.details.get("sequences") or entry.details.get("elsewhere")
    return changed.get(deployment) if isinstance(changed, Mapping) else None


def _host(report: HostReport, decided: Slot, canary: Slot, now: datetime) -> Host:
    """One host beside the active slot under the sequence that the snapshot has."""
    word, sentence = _standing(report, decided, now)
    decisions, fallbacks, processes = (
        number(report, name, math.nan) for name in ("decisions", "fallbacks", "processes")
    )
    share = canary_told(canary, (report,)).share
    return Host(report, word, sentence, _known(decisions), _known(fallbacks), share,
                _known(processes))  # fmt: skip


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _standing(report: HostReport, active: Slot, now: datetime) -> tuple[str, str]:
    behind = active.sequence - report.sequence
    if now - report.seen_at > SILENT_AFTER:
        return "silent", "It has not been heard of lately; it goes on with what it has."
    if behind > 0:
        return "behind", f"{behind} sequence{'s' if behind > 1 else ''} behind what was decided."
    if late := int(number(report, "behind")):
        return "behind", f"{late} of its processes took no work, being behind the others."
    if behind < 0:
        return "ahead", "It reports a sequence that this store has not given."
    if report.digest != active.digest:
        return "other", "It runs something else than what was decided: it may have fallen back."
    return "current", "It runs what was decided."
