"""What is live: the named slots of a deployment, and the chain of activations behind them.

Every change to what a deployment runs takes the next number of that deployment, so a slot's
sequence only grows, and each sequence names one policy and its fallback for ever. An activation
points to the one that was good before it; going back follows that chain over whatever has since
lost its approval. All functions work inside the caller's decision.
"""

from collections.abc import Set
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from policy_store.errors import StaleDecision
from policy_store.lifecycle import APPROVED_STATES, State
from policy_store.records import Activation, Alias, Slot
from policy_store.rows import move
from policy_store.tables import ActivationRow, SlotRow, VersionRow

FURTHEST = (
    (Alias.ACTIVE, State.ACTIVE),
    (Alias.CANARY, State.CANARY),
    (Alias.SHADOW, State.SHADOW),
)


def read_slot(session: Session, deployment: str, alias: Alias) -> Slot:
    """What an alias names now; sequence 0 when it was never set."""
    row = session.get(SlotRow, (deployment, alias), populate_existing=True)
    if row is None:
        return Slot(deployment, alias, None, 0, None)
    return Slot(deployment, alias, row.version_digest, row.sequence, row.changed_at, row.weight)


def check_sequence(slot: Slot, expected: int) -> None:
    """Pass when the decision was made on what is there now.

    Raises:
        StaleDecision: the slot has changed since it was looked at.
    """
    if slot.sequence != expected:
        raise _stale(slot, expected)


def _stale(slot: Slot, expected: int) -> StaleDecision:
    holder = slot.digest[:12] if slot.digest else "nobody"
    return StaleDecision(
        f"The {slot.alias.value} policy of {slot.deployment} changed from sequence {expected} "
        f"to {slot.sequence} ({holder}) meanwhile: look at it again, then decide."
    )


def next_sequence(session: Session, deployment: str) -> int:
    """One above every sequence the deployment has used."""
    query = select(func.max(SlotRow.sequence)).where(SlotRow.deployment == deployment)
    return (session.scalar(query) or 0) + 1


def set_slot(
    session: Session,
    held: Slot,
    digest: str | None,
    sequence: int,
    now: datetime,
    weight: float | None = None,
) -> None:
    """Compare and swap: the slot changes only if it still is what `held` says."""
    key = {"deployment": held.deployment, "alias": held.alias}
    values = {
        "version_digest": digest,
        "sequence": sequence,
        "changed_at": now,
        "weight": weight,
    }
    if held.sequence == 0:
        session.add(SlotRow(**key, **values))  # type: ignore[arg-type]  # values match the columns
        session.flush()
        return
    swap = update(SlotRow).filter_by(**key, sequence=held.sequence).values(**values)
    session.flush()
    if session.connection().execute(swap).rowcount != 1:
        raise _stale(read_slot(session, held.deployment, held.alias), held.sequence)


def current_activation(session: Session, deployment: str) -> ActivationRow | None:
    """The newest activation of a deployment."""
    query = select(ActivationRow).where(ActivationRow.deployment == deployment)
    return session.scalars(query.order_by(ActivationRow.sequence.desc()).limit(1)).first()


def previous_good(
    session: Session, start: ActivationRow | None, leaving: Set[str]
) -> ActivationRow | None:
    """The nearest activation from `start` back whose policy still holds its approval."""
    good = start
    while good is not None:
        version = good.version_digest and session.get_one(VersionRow, good.version_digest)
        if version and version.state in APPROVED_STATES and version.digest not in leaving:
            return good
        good = before(session, good)
    return None


def before(session: Session, row: ActivationRow) -> ActivationRow | None:
    """The activation that was good when this one was made."""
    if row.good_sequence is None:
        return None
    return session.get_one(ActivationRow, (row.deployment, row.good_sequence))


def make_live(
    session: Session,
    deployment: str,
    digest: str | None,
    good: ActivationRow | None,
    now: datetime,
) -> Activation:
    """Name a policy and its fallback under the deployment's next sequence."""
    sequence = next_sequence(session, deployment)
    good_digest = good.version_digest if good else None
    for alias in (Alias.CANARY, Alias.SHADOW):
        trial = read_slot(session, deployment, alias)
        if digest is not None and trial.digest == digest:
            set_slot(session, trial, None, sequence, now)
    session.add(
        ActivationRow(
            deployment=deployment,
            sequence=sequence,
            version_digest=digest,
            good_sequence=good.sequence if good else None,
            good_digest=good_digest,
            at=now,
        )
    )
    session.flush()
    for alias, holder in ((Alias.ACTIVE, digest), (Alias.LAST_GOOD, good_digest)):
        set_slot(session, read_slot(session, deployment, alias), holder, sequence, now)
    if digest is not None:
        settle(session, digest, vacant=State.ACTIVE)
    return Activation(deployment, sequence, digest, good_digest, now)


def retreat(session: Session, deployment: str, digest: str, now: datetime) -> Activation | None:
    """Take a policy out of a deployment's live pair; None when it was in neither place."""
    current = current_activation(session, deployment)
    if current is None or digest not in (current.version_digest, current.good_digest):
        return None
    gone = {digest, current.version_digest or ""}
    good = previous_good(session, before(session, current), gone)
    if current.version_digest != digest:
        return make_live(session, deployment, current.version_digest, good, now)
    if good is None or good.version_digest is None:
        return make_live(session, deployment, None, None, now)
    deeper = previous_good(session, before(session, good), gone | {good.version_digest})
    return make_live(session, deployment, good.version_digest, deeper, now)


def vacate(session: Session, digest: str, now: datetime) -> dict[str, int]:
    """Take a policy out of every slot of every deployment; returns their new sequences."""
    query = select(SlotRow.deployment).where(SlotRow.version_digest == digest).distinct()
    changed = {}
    for deployment in session.scalars(query.order_by(SlotRow.deployment)).all():
        retreat(session, deployment, digest, now)
        for alias in (Alias.CANARY, Alias.SHADOW):
            slot = read_slot(session, deployment, alias)
            if slot.digest == digest:
                set_slot(session, slot, None, next_sequence(session, deployment), now)
        changed[deployment] = next_sequence(session, deployment) - 1
    return changed


def settle(session: Session, digest: str, vacant: State) -> VersionRow:
    """Bring a version's state in line with its slots: the furthest it holds, else `vacant`."""
    row = session.get_one(VersionRow, digest)
    query = select(SlotRow.alias).where(SlotRow.version_digest == digest)
    held = set(session.scalars(query))
    state = next((state for alias, state in FURTHEST if alias in held), vacant)
    return row if state is row.state else move(session, row, state)
