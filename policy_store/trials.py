"""Trials: approved policies that run as shadow or canary, beside what is active."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from policy_store import audit
from policy_store.engine import Database
from policy_store.errors import ForbiddenMove, InvalidInput, NothingLive
from policy_store.intake import plain_name, required_note
from policy_store.lifecycle import APPROVED_STATES, State
from policy_store.records import DEFAULT_DEPLOYMENT, Alias, Slot
from policy_store.rows import find_version
from policy_store.slots import check_sequence, next_sequence, read_slot, set_slot, settle
from policy_store.tables import VersionRow


@dataclass(frozen=True, slots=True)
class Trial:
    """A shadow or a canary to start, or to end.

    Attributes:
        expected_sequence: of its slot, which the decision was made on (0: never set).
        weight: share of traffic that a canary is to get, above 0 and at most 1.
    """

    alias: Alias
    expected_sequence: int
    deployment: str = DEFAULT_DEPLOYMENT
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.alias not in (Alias.SHADOW, Alias.CANARY):
            raise InvalidInput(
                f"{self.alias} is no trial: place shadow or canary, activate the rest."
            )
        if self.weight is None:
            return
        if self.alias is not Alias.CANARY or not 0.0 < self.weight <= 1.0:
            raise InvalidInput("A canary's weight is above 0 and at most 1; a shadow has none.")


class Trials:
    """Starting and ending trials; what they take and raise is as for all `Decisions`."""

    _database: Database

    def place(
        self,
        policy: str,
        alias: Alias,
        expected_sequence: int,
        by: str,
        note: str,
        deployment: str = DEFAULT_DEPLOYMENT,
        weight: float | None = None,
    ) -> Slot:
        """Start an approved policy as the shadow or the canary of a deployment.

        Raises:
            InvalidInput: the weight is not for this alias, or not in 0..1.
            StaleDecision: that slot has changed since it had `expected_sequence`.
        """
        note = required_note(note)
        trial = Trial(alias, expected_sequence, plain_name(deployment), weight)
        with self._database.deciding() as session:
            return self._start(session, approved(session, policy), trial, by, note)

    def withdraw(
        self,
        alias: Alias,
        expected_sequence: int,
        by: str,
        note: str,
        deployment: str = DEFAULT_DEPLOYMENT,
        *,
        check: Callable[[Session], None] | None = None,
    ) -> Slot:
        """End a shadow or canary without a verdict on the policy, which stays approved.

        Args:
            check: looks once more, inside the decision, and raises what it has against it.

        Raises:
            NothingLive: the slot is empty.
            StaleDecision: that slot has changed since it had `expected_sequence`.
        """
        note, trial = required_note(note), Trial(alias, expected_sequence, plain_name(deployment))
        with self._database.deciding() as session:
            if check is not None:
                check(session)
            held = read_slot(session, deployment, alias)
            if held.digest is None:
                raise NothingLive(f"Deployment {deployment} has no {alias.value} policy to end.")
            slot = self._fill(session, trial, None)
            details = {"sequence": slot.sequence, "alias": slot.alias.value}
            self._write(
                session, "withdrawn", by, note,
                subject=held.digest, deployment=deployment, details=details,
            )  # fmt: skip
            return slot

    def _start(self, session: Session, row: VersionRow, trial: Trial, by: str, note: str) -> Slot:
        deployment, alias = trial.deployment, trial.alias
        if row.digest == read_slot(session, deployment, Alias.ACTIVE).digest:
            raise ForbiddenMove(f"Policy {row.digest[:12]} is active there already.")
        slot = self._fill(session, trial, row.digest)
        other = Alias.SHADOW if alias is Alias.CANARY else Alias.CANARY
        held = read_slot(session, deployment, other)
        if held.digest == row.digest:
            set_slot(session, held, None, slot.sequence, self._database.clock())
        settle(session, row.digest, vacant=row.state)
        details = {"sequence": slot.sequence, "alias": alias.value, "weight": slot.weight}
        self._write(
            session, "placed", by, note,
            subject=row.digest, deployment=deployment, details=details,
        )  # fmt: skip
        return slot

    def _fill(self, session: Session, trial: Trial, digest: str | None) -> Slot:
        held = read_slot(session, trial.deployment, trial.alias)
        check_sequence(held, trial.expected_sequence)
        sequence = next_sequence(session, trial.deployment)
        set_slot(session, held, digest, sequence, self._database.clock(), trial.weight)
        if held.digest not in (None, digest):
            settle(session, str(held.digest), vacant=State.APPROVED)
        return read_slot(session, trial.deployment, trial.alias)

    def _write(
        self,
        session: Session,
        action: str,
        by: str,
        note: str,
        *,
        subject: str,
        deployment: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        audit.append(
            session,
            at=self._database.clock(),
            actor=by,
            action=action,
            subject=subject,
            deployment=deployment,
            note=note,
            details=details,
        )


def approved(session: Session, policy: str) -> VersionRow:
    """The row of a policy that may go live.

    Raises:
        UnknownPolicy, ForbiddenMove: there is no such policy, or nobody approved it.
    """
    row = find_version(session, policy)
    if row.state not in APPROVED_STATES:
        raise ForbiddenMove(
            f"Policy {row.digest[:12]} is {row.state.value}, and only an approved policy goes "
            f"live: `evolver policy show {row.digest[:12]}` says what it still needs."
        )
    return row
