"""What becomes of a trial that a rule started: promoted, ended, taken back, or left to a person.

A rule may do with its own trial what its text says, and no more. It takes back what serving hosts
have thrown out, which they have done already; it promotes only where it says after how many
requests, and only what hosts have proven better than its control. A trial that a person started is
that person's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.orm import Session

from policy_store.errors import StaleDecision
from policy_store.records import Alias, AuditEntry, Ejection, HostReport, Slot
from policy_store.rule_application import Check
from policy_store.rule_book import InstalledRule
from policy_store.slots import check_sequence, read_slot
from policy_store.store import PolicyStore

RULE = "rule:"
WORSE, BETTER, OPEN = "worse", "better", "open"  # as hosts say it
MOST_CHARS = 500
LOOKED_BACK, MOST_ACTIVATIONS = 1000, 10_000  # sequences
REPLACED = (
    "It is proven better than what was active when its trial began, and another policy became "
    "active since: a person decides between the two."
)


class Fate(StrEnum):
    """What is to become of a trial, or of what is active."""

    WAIT = "wait"
    PROMOTE = "promote"
    END = "end"
    TAKE_BACK = "take_back"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Witness:
    """What serving hosts say about one policy, together.

    Attributes:
        standing: `worse` as soon as one says so, `better` when all that compare say so.
        requests, control_requests: compared ones, of the policy and of its control.
        ejections: of the policy, since it took its place.
        hosts: how many ran it or compared it.
    """

    standing: str = OPEN
    requests: int = 0
    control_requests: int = 0
    ejections: tuple[Ejection, ...] = ()
    hosts: int = 0

    def sentence(self) -> str:
        """In words."""
        if self.ejections:
            last = self.ejections[-1]
            return f"Hosts threw it out: {last.reason[:MOST_CHARS]}"
        return (
            f"{self.hosts} host{'' if self.hosts == 1 else 's'} compared {self.requests} requests "
            f"of it with {self.control_requests} of its control, and it stands {self.standing}."
        )


@dataclass(frozen=True, slots=True)
class Course:
    """What is to be done about a policy in a place, by whom and why.

    Attributes:
        slot: its place, as it was looked at.
        rule: that started it; None where a person did.
    """

    fate: Fate
    reason: str
    slot: Slot
    rule: InstalledRule | None
    witness: Witness


def witness_of(
    reports: Sequence[HostReport], slot: Slot, since: datetime, alive_after: datetime
) -> Witness:
    """What hosts say about what holds a slot.

    Args:
        since: when it took the place; earlier ejections are of an earlier try.
        alive_after: what a host said before is not counted, apart from ejections.
    """
    digest = slot.digest
    thrown = [one for report in reports for one in report.ejections
              if one.digest == digest and one.sequence >= slot.sequence
              and one.at >= since - timedelta(minutes=1)]  # fmt: skip
    facts = [report.facts for report in reports
             if report.seen_at >= alive_after and report.facts.get("canary") == digest]  # fmt: skip
    standings = {str(one.get("canary_standing", OPEN)) for one in facts}
    standing = BETTER if standings == {BETTER} else OPEN
    return Witness(
        WORSE if WORSE in standings else standing,
        sum(_count(one, "canary_requests") for one in facts),
        sum(_count(one, "control_requests") for one in facts),
        tuple(sorted(thrown, key=lambda one: one.at)),
        len(facts),
    )


def course_of(store: PolicyStore, slot: Slot, witness: Witness, now: datetime) -> Course:
    """What is to become of what holds a slot; nothing is decided."""
    rule, why = _started_by(store, slot)
    fate, reason = _judged(slot, rule, witness, now)
    if fate is Fate.PROMOTE and _replaced(store, slot):
        return Course(Fate.PERSON, REPLACED, slot, rule, witness)
    if rule is None and fate is not Fate.WAIT:
        fate, reason = Fate.PERSON, f"{reason} {why}"
    return Course(fate, reason, slot, rule, witness)


def follow(store: PolicyStore, course: Course, check: Check | None = None) -> bool:
    """Carry a course out, in the name of the rule; False where nothing is to be done.

    Args:
        check: looks once more, inside the decision, and raises what it has against it.

    Raises:
        StaleDecision: the place has changed, the rule was removed, or `check` says so.
        ForbiddenMove: the lifecycle has no such step any more.
    """
    slot, rule = course.slot, course.rule
    if rule is None or rule.rule is None or slot.digest is None:
        return False
    actor, note = rule.rule.actor, f"{course.reason} {course.witness.sentence()}"

    def still(session: Session) -> None:
        if check is not None:
            check(session)
        store.rules.check_installed(session, rule)

    if course.fate is Fate.PROMOTE:
        active = store.slot(Alias.ACTIVE, slot.deployment)
        if _replaced(store, slot):
            raise StaleDecision(REPLACED)
        store.activate(
            slot.digest, active.sequence, actor, note, slot.deployment,
            facts={"rule": _about(rule)}, check=lambda session: _same(session, slot, still),
        )  # fmt: skip
    elif course.fate is Fate.END:
        store.withdraw(slot.alias, slot.sequence, actor, note, slot.deployment, check=still)
    elif course.fate is Fate.TAKE_BACK:
        thrown = course.witness.ejections
        kind = thrown[-1].kind if thrown else "WORSE"
        store.eject(slot.digest, actor, note, kind, check=still)
    else:
        return False
    return True


def _replaced(store: PolicyStore, slot: Slot) -> bool:
    """Whether what hosts compared a trial with was not the active policy all the time."""
    earliest = max(slot.sequence - LOOKED_BACK, 0)
    was: str | None = None
    for one in store.activations(slot.deployment, after=earliest, limit=MOST_ACTIVATIONS):
        if one.sequence > slot.sequence and one.digest != was:
            return True
        was = one.digest
    return False


def _judged(
    slot: Slot, rule: InstalledRule | None, witness: Witness, now: datetime
) -> tuple[Fate, str]:
    if witness.ejections or (slot.alias is Alias.CANARY and witness.standing == WORSE):
        what = "threw it out" if witness.ejections else "proved it worse than its control"
        return Fate.TAKE_BACK, f"Serving hosts {what}."
    if slot.alias is not Alias.CANARY:
        return Fate.WAIT, "Nothing speaks against it."
    terms = rule.rule.trial if rule is not None and rule.rule is not None else None
    if witness.standing == BETTER:
        least = terms.promote_after_requests if terms else None
        if least is None:
            return Fate.PERSON, "It is proven better than its control; a person promotes it."
        if witness.requests >= least:
            return Fate.PROMOTE, f"Proven better on at least {least} requests, as the rule asks."
        return Fate.WAIT, f"It is proven better, and {least} compared requests are asked for."
    if terms is not None and terms.end_after_hours is not None and slot.changed_at is not None:
        hours = (now - slot.changed_at) / timedelta(hours=1)
        if hours >= terms.end_after_hours:
            return Fate.END, f"Neither better nor worse after {hours:.1f} h."
    return Fate.WAIT, "Neither better nor worse so far."


def _started_by(store: PolicyStore, slot: Slot) -> tuple[InstalledRule | None, str]:
    """The installed rule that put it there; why there is none."""
    if slot.digest is None:
        return None, "Nothing is there."
    entries = store.audit.latest([slot.digest], ["placed", "activated"])
    entry = entries.get(slot.digest)
    mine = entry is not None and entry.deployment == slot.deployment
    if entry is None or not mine or not entry.actor.startswith(RULE):
        who = entry.actor if entry and mine else "somebody else"
        return None, f"It was put there by {who}, so it is left to a person."
    name = entry.actor.removeprefix(RULE)
    number = _number(store, slot.digest, entry)
    for one in store.rules.installed():
        if one.name == name and one.rule is not None and one.id == number:
            return one, ""
    return None, f"Rule {name}, which put it there, is not installed any more: ask a person."


def _number(store: PolicyStore, digest: str, entry: AuditEntry) -> int | None:
    """Which of all rules that ever had the name."""
    for one in (entry, store.audit.latest([digest], ["approved"]).get(digest)):
        rule = one.details.get("rule") if one is not None else None
        if isinstance(rule, Mapping) and isinstance(rule.get("number"), int):
            return int(rule["number"])
    return None


def _about(rule: InstalledRule) -> dict[str, object]:
    return {
        "name": rule.name, "number": rule.id, "digest": rule.digest,
        "installed_by": rule.installed_by,
    }  # fmt: skip


def _same(session: Session, slot: Slot, still: Check) -> None:
    """The trial is the one that was looked at."""

    still(session)
    check_sequence(read_slot(session, slot.deployment, slot.alias), slot.sequence)


def _count(facts: Mapping[str, float | str], name: str) -> int:
    value = facts.get(name, 0)
    return int(value) if isinstance(value, int | float) and 0 <= value < 2**53 else 0
