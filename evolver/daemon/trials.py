"""Follows every trial and what is live by what hosts report, as far as installed rules allow.

Nothing is remembered between two turns but what was said to people: what is to be done is read
from the store each time, so that a turn that was cut short is simply done again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from evolver.daemon.config import DaemonConfig
from evolver.daemon.pen import Pen
from policy_store.daemon_book import DaemonState
from policy_store.errors import Fenced, ForbiddenMove, NothingLive, StaleDecision
from policy_store.leases import Lease, check_lease
from policy_store.records import Alias, Slot
from policy_store.rule_trials import Course, Fate, course_of, follow, witness_of
from policy_store.store import PolicyStore

MOST_SAID = 32
PLACES = (Alias.ACTIVE, Alias.CANARY, Alias.SHADOW)
_DONE = {
    Fate.PROMOTE: "promoted it", Fate.END: "ended its trial", Fate.TAKE_BACK: "took it back",
}  # fmt: skip


def follow_trials(
    store: PolicyStore, config: DaemonConfig, lease: Lease, state: DaemonState, pen: Pen
) -> DaemonState:
    """Promote, end or take back what rules allow; say what is left to a person.

    Raises:
        Fenced: another daemon leads.
    """
    reports = store.hosts(config.deployment)
    alive_after = pen.moment - timedelta(seconds=config.hosts_s)
    for slot in store.slots(config.deployment):
        if slot.digest is None or slot.alias not in PLACES or slot.changed_at is None:
            continue
        witness = witness_of(reports, slot, slot.changed_at, alive_after)
        course = course_of(store, slot, witness, store.rules.now())
        state = _followed(store, lease, state, pen, course)
    return state


def _followed(
    store: PolicyStore, lease: Lease, state: DaemonState, pen: Pen, course: Course
) -> DaemonState:
    if course.fate is Fate.PERSON:
        return _left(state, pen, course)
    try:
        done = follow(store, course, lambda session: check_lease(session, lease))
    except Fenced:
        raise
    except (StaleDecision, ForbiddenMove, NothingLive):
        return state  # somebody decided meanwhile; the next turn looks again
    if not done or course.rule is None:
        return state
    what = f"By rule {course.rule.name} the daemon {_DONE[course.fate]}. {_why(course)}"
    return pen.note(state, "daemon_trial", what, subject=course.slot.digest)


def _left(state: DaemonState, pen: Pen, course: Course) -> DaemonState:
    """Say once that a person has to look."""
    key = _key(course.slot)
    said = _said(state)
    if said.get(key) == course.reason:
        return state
    newest = dict(list({**said, key: course.reason}.items())[-MOST_SAID:])
    note = f"This is left to a person. {_why(course)}"
    body = {**state.body, "said": newest}
    return pen.note(state, "daemon_trial", note, subject=course.slot.digest, body=body)


def _why(course: Course) -> str:
    return f"{course.reason} {course.witness.sentence()}"


def _key(slot: Slot) -> str:
    return f"{slot.alias.value} {slot.sequence}"


def _said(state: DaemonState) -> dict[str, object]:
    said = state.body.get("said")
    return dict(said) if isinstance(said, Mapping) else {}
