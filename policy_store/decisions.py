"""What people, rules and watchdogs decide; each decision and its audit entry commit together."""

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.orm import Session

from policy_store.errors import ForbiddenMove, NothingLive, OwnWork
from policy_store.intake import plain_name, required_note
from policy_store.lifecycle import APPROVED_STATES, State, check_move
from policy_store.people import likeness
from policy_store.records import DEFAULT_DEPLOYMENT, Activation, Alias, Origin, PolicyVersion
from policy_store.rows import check_evidence, check_state, find_version, move, version_record
from policy_store.slots import (
    check_sequence,
    current_activation,
    make_live,
    previous_good,
    read_slot,
    retreat,
    settle,
    vacate,
)
from policy_store.tables import VersionRow
from policy_store.trials import Trial, Trials, approved


class Decisions(Trials):
    """Approving, rejecting, putting live and taking back.

    Every method takes `by` (who decides) and `note` (why; never empty), and raises `InvalidInput`
    without them, `UnknownPolicy` for a digest it does not find, and `ForbiddenMove` for a step
    that the lifecycle does not have.
    """

    def approve(
        self,
        policy: str,
        by: str,
        note: str,
        *,
        evidence: Sequence[str] | None = None,
        state: State | None = None,
        trial: Trial | None = None,
        facts: Mapping[str, object] | None = None,
        check: Callable[[Session, VersionRow], None] | None = None,
    ) -> PolicyVersion:
        """Allow an evaluated policy to go live; also one that was taken back before.

        Args:
            evidence: digests of all evidence that the decision was made on, oldest first.
            state: that the policy had then.
            trial: starts at once, in the same transaction.
            facts: more for the audit entry, such as that a failed gate was overridden.
            check: looks once more, inside the decision, and raises what it has against it.

        Raises:
            OwnWork: who decides wrote the policy by hand.
            StaleDecision: there is other evidence by now, or the state or the trial's slot has
                changed.
        """
        note = required_note(note)
        with self._database.deciding() as session:
            row = find_version(session, policy)
            _check_waits(row, by)
            check_state(row, state)
            known = check_evidence(session, row, evidence)
            if check is not None:
                check(session, row)
            move(session, row, State.APPROVED)
            details = {**(facts or {}), "evidence": known}
            self._write(session, "approved", by, note, subject=row.digest, details=details)
            if trial is not None:
                self._start(session, row, trial, by, note)
            return version_record(session, row)

    def reject(
        self,
        policy: str,
        by: str,
        note: str,
        *,
        evidence: Sequence[str] | None = None,
        state: State | None = None,
    ) -> PolicyVersion:
        """Decide against a policy; a trial of it ends. What is active is rolled back instead.

        Raises:
            StaleDecision: there is other evidence by now than what the decision was made on, or
                it was made on another state.
        """
        note = required_note(note)
        with self._database.deciding() as session:
            row = find_version(session, policy)
            check_state(row, state)
            check_evidence(session, row, evidence)
            check_move(row.state, State.REJECTED)
            self._remove(session, row, State.REJECTED, by, note, {})
            return version_record(session, row)

    def activate(
        self,
        policy: str,
        expected_sequence: int,
        by: str,
        note: str,
        deployment: str = DEFAULT_DEPLOYMENT,
        *,
        facts: Mapping[str, object] | None = None,
        check: Callable[[Session], None] | None = None,
    ) -> Activation:
        """Make an approved policy the active one; what was active becomes the last good one.

        Args:
            expected_sequence: the active slot's sequence that the decision was made on (0: none).
            facts: more for the audit entry.
            check: looks once more, inside the decision, and raises what it has against it.

        Raises:
            StaleDecision: the active slot has changed since.
        """
        note, deployment = required_note(note), plain_name(deployment)
        with self._database.deciding() as session:
            if check is not None:
                check(session)
            row = approved(session, policy)
            active = read_slot(session, deployment, Alias.ACTIVE)
            check_sequence(active, expected_sequence)
            if active.digest == row.digest:
                raise ForbiddenMove(f"Policy {row.digest[:12]} is active already: nothing to do.")
            good = previous_good(session, current_activation(session, deployment), {row.digest})
            now = self._database.clock()
            live = make_live(session, deployment, row.digest, good, now)
            if active.digest is not None:
                settle(session, active.digest, vacant=State.RETIRED)
            details = {**(facts or {}), "sequence": live.sequence, "replaces": active.digest}
            self._write(
                session, "activated", by, note,
                subject=row.digest, deployment=deployment, details=details,
            )  # fmt: skip
            return live

    def renew(
        self, expected_sequence: int, by: str, note: str, deployment: str = DEFAULT_DEPLOYMENT
    ) -> Activation:
        """Let the active policy run for another term, before or after its snapshot expires.

        Raises:
            NothingLive: no policy is active.
            StaleDecision: the active slot has changed since it had `expected_sequence`.
        """
        note, deployment = required_note(note), plain_name(deployment)
        with self._database.deciding() as session:
            active = read_slot(session, deployment, Alias.ACTIVE)
            check_sequence(active, expected_sequence)
            if active.digest is None:
                raise NothingLive(
                    f"Deployment {deployment} runs the built-in default, which needs no renewal."
                )
            good = previous_good(session, current_activation(session, deployment), {active.digest})
            live = make_live(session, deployment, active.digest, good, self._database.clock())
            self._write(
                session, "renewed", by, note,
                subject=active.digest, deployment=deployment, details={"sequence": live.sequence},
            )  # fmt: skip
            return live

    def rollback(
        self,
        by: str,
        note: str,
        deployment: str = DEFAULT_DEPLOYMENT,
        expected_sequence: int | None = None,
    ) -> Activation:
        """Take the active policy back to the previous good one, or to the built-in default.

        Raises:
            NothingLive: no policy is active.
            StaleDecision: `expected_sequence` is given and the active slot has changed since.
        """
        note = required_note(note)
        with self._database.deciding() as session:
            active = read_slot(session, deployment, Alias.ACTIVE)
            if expected_sequence is not None:
                check_sequence(active, expected_sequence)
            if active.digest is None:
                raise NothingLive(
                    f"Deployment {deployment} runs the built-in default: there is nothing to take "
                    "back."
                )
            now = self._database.clock()
            live = retreat(session, deployment, active.digest, now)
            if live is None:
                raise NothingLive(f"Deployment {deployment} has no activation to take back.")
            row = settle(session, active.digest, vacant=State.ROLLED_BACK)
            # Other deployments may keep it as their last good one.
            gone = row.state not in APPROVED_STATES
            elsewhere = vacate(session, row.digest, now) if gone else {}
            details = {
                "sequence": live.sequence,
                "restores": live.digest,
                "elsewhere": elsewhere,
            }
            self._write(
                session, "rolled_back", by, note,
                subject=active.digest, deployment=deployment, details=details,
            )  # fmt: skip
            return live

    def eject(
        self,
        policy: str,
        by: str,
        note: str,
        kind: str = "ERROR",
        *,
        check: Callable[[Session], None] | None = None,
    ) -> PolicyVersion:
        """Take a misbehaving policy out of every deployment; only a person approves it again.

        Ejected again (many hosts may say so), nothing changes. `kind` is the watchdog's word.
        `check` looks once more, inside the decision, and raises what it has against it.
        """
        note = required_note(note)
        with self._database.deciding() as session:
            if check is not None:
                check(session)
            row = find_version(session, policy)
            if row.state is not State.EJECTED:
                check_move(row.state, State.EJECTED)
                self._remove(session, row, State.EJECTED, by, note, {"kind": plain_name(kind)})
            return version_record(session, row)

    def remark(self, policy: str, by: str, note: str, deployment: str = DEFAULT_DEPLOYMENT) -> None:
        """Say more about a decision that was taken; it changes nothing else."""
        note = required_note(note)
        with self._database.deciding() as session:
            row = find_version(session, policy)
            self._write(
                session, "remarked", by, note,
                subject=row.digest, deployment=plain_name(deployment),
            )  # fmt: skip

    def _remove(
        self,
        session: Session,
        row: VersionRow,
        state: State,
        by: str,
        note: str,
        details: Mapping[str, object],
    ) -> None:
        sequences = vacate(session, row.digest, self._database.clock())
        move(session, row, state)
        details = {**details, "sequences": sequences}
        self._write(session, state.value, by, note, subject=row.digest, details=details)


def _check_waits(row: VersionRow, by: str) -> None:
    if row.state in APPROVED_STATES:
        raise ForbiddenMove(
            f"Policy {row.digest[:12]} is {row.state.value}, so it is approved already: activate "
            "it."
        )
    if row.origin is Origin.PERSON and likeness(row.author) == likeness(by):
        raise OwnWork(
            f"{row.author} submitted policy {row.digest[:12]} by hand: somebody else has to "
            "approve it."
        )
