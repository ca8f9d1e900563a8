"""The policy store: what was proposed, who decided, what is live."""

import os
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from sqlalchemy import func, select, text, union
from sqlalchemy.orm import Session

from policy_store.accounts import Accounts
from policy_store.audit import AuditLog
from policy_store.backup import take_backup
from policy_store.backup_format import Backup
from policy_store.catalog import Catalog
from policy_store.daemon_book import DaemonBook
from policy_store.decisions import Decisions
from policy_store.engine import Database, make_engine, store_url, utc_now
from policy_store.errors import DamagedStore
from policy_store.gates import measured
from policy_store.hosts import Hosts
from policy_store.leases import Leases
from policy_store.lifecycle import APPROVED_STATES
from policy_store.lineage import Lineage
from policy_store.records import DEFAULT_DEPLOYMENT, Activation, Alias, Kind, Pulse, Slot
from policy_store.restore import restore_backup
from policy_store.retention import Retention
from policy_store.rows import documents_of, find_version, source_record, version_record
from policy_store.rule_book import RuleBook
from policy_store.runs import Runs
from policy_store.schema import ensure_schema
from policy_store.slots import current_activation, read_slot
from policy_store.snapshot import VALID_FOR, Approval, Snapshot, SnapshotCanary, SnapshotPolicy
from policy_store.tables import (
    ActivationRow,
    AuditHeadRow,
    AuditRow,
    Base,
    HostRow,
    RunEventRow,
    RunRow,
    SlotRow,
)
from policy_store.verification import StoreVerdict, check_store

LOOKED_BACK = 1000  # sequences
CANARY_WEIGHT = 0.05  # of a canary that was placed without one
Progress = Callable[[str, int], object]


def _nobody(table: str, count: int) -> None:
    """Listens to no progress."""


class PolicyStore(Catalog, Decisions, Hosts, Lineage):
    """One store, safe to use from many threads and processes at once.

    `Catalog` holds what was proposed, `Decisions` what people decided, `Hosts` what serving hosts
    reported, `Lineage` who was made from whom; `runs` are the evolution runs, `audit` is the log,
    `rules` the approval rules, `accounts` who may sign in, `retention` lets go of what is old,
    `daemons` what daemons do, `leases` which one of them may.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.runs = Runs(database)
        self.audit = AuditLog(database)
        self.rules = RuleBook(database)
        self.accounts = Accounts(database)
        self.retention = Retention(database)
        self.leases = Leases(database)
        self.daemons = DaemonBook(database)

    @classmethod
    def open(
        cls, url_or_path: str | os.PathLike[str], clock: Callable[[], datetime] = utc_now
    ) -> "PolicyStore":
        """Open the store at a SQLite file path or database URL; a fresh one gets its tables.

        Raises:
            InvalidInput: not a usable URL.
            StoreUnavailable: the database cannot be reached or is not one.
            UnknownSchema: its tables are newer than this version, or not a policy store's.
        """
        database = Database(make_engine(store_url(url_or_path)), clock)
        try:
            ensure_schema(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @classmethod
    def restore(
        cls,
        url_or_path: str | os.PathLike[str],
        backup: Path,
        *,
        by: str,
        note: str = "",
        seen: Mapping[str, int] | None = None,
        progress: Progress = _nobody,
    ) -> Backup:
        """Fill an empty store from a backup, whole and verified or not at all.

        Args:
            url_or_path: a file that is not there yet, or an empty database.
            backup: a file of `back_up`, of any database.
            seen: highest sequence by deployment that hosts may have seen since it was taken.

        Raises:
            StoreNotEmpty: there is something in the store.
            BackupUnusable: the file is no backup, damaged, cut short or too new.
        """
        database = Database(make_engine(store_url(url_or_path)))
        try:
            return restore_backup(database, backup, by=by, note=note, seen=seen, progress=progress)
        finally:
            database.close()

    @property
    def where(self) -> str:
        """URL of the database, without its password."""
        return self._database.where

    def back_up(self, target: Path, progress: Progress = _nobody) -> Backup:
        """Write all that is stored, at one moment, into one new compressed file of mode 0600.

        Raises:
            InvalidInput: there is something at `target` already.
        """
        return take_backup(self._database, target, progress)

    def check(
        self,
        *,
        heads: Collection[str] = (),
        snapshot: Snapshot | None = None,
        progress: Progress = _nobody,
    ) -> StoreVerdict:
        """Check the audit log, every digest, what is live, and the file that hosts read.

        Args:
            heads: hashes of last audit entries that were kept elsewhere.
            snapshot: what hosts read now.
            progress: told a kind and how many more of it were checked.
        """
        return check_store(self._database, heads=heads, snapshot=snapshot, progress=progress)

    def row_counts(self) -> dict[str, int]:
        """How many rows each table has."""
        with self._database.reading() as session:
            return {
                table.name: session.scalar(select(func.count()).select_from(table)) or 0
                for table in Base.metadata.sorted_tables
            }

    def size_bytes(self) -> int:
        """What the database takes on its disk."""
        queries = {
            "sqlite": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
            "postgresql": "SELECT pg_database_size(current_database())",
        }
        with self._database.reading() as session:
            return int(session.scalar(text(queries[session.get_bind().dialect.name])) or 0)

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    def __enter__(self) -> "PolicyStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def slot(self, alias: Alias = Alias.ACTIVE, deployment: str = DEFAULT_DEPLOYMENT) -> Slot:
        """What an alias names now; its sequence is what the next decision on it must expect."""
        with self._database.reading() as session:
            return read_slot(session, deployment, alias)

    def slots(self, deployment: str = DEFAULT_DEPLOYMENT) -> tuple[Slot, ...]:
        """All four aliases of a deployment, set or not, in one consistent view."""
        with self._database.reading() as session:
            return tuple(read_slot(session, deployment, alias) for alias in Alias)

    def deployments(self) -> tuple[str, ...]:
        """Every deployment that something was decided for or that a host reported from."""
        query = union(select(SlotRow.deployment), select(HostRow.deployment))
        with self._database.reading() as session:
            return tuple(sorted(session.scalars(query)))

    def pulse(self) -> Pulse:
        """What to compare with an earlier one to know whether anything has changed."""
        open_runs = select(RunRow.id).where(RunRow.finished_at.is_(None))
        last = select(RunEventRow.run_id, func.max(RunEventRow.sequence))
        last = last.where(RunEventRow.run_id.in_(open_runs)).group_by(RunEventRow.run_id)
        finished = select(func.max(RunRow.finished_at))
        with self._database.reading() as session:
            runs = ((run, str(sequence)) for run, sequence in session.execute(last))
            return Pulse(
                audit=session.get_one(AuditHeadRow, 1).sequence,
                hosts=session.scalar(select(func.max(HostRow.seen_at))),
                runs=(*sorted(runs), ("finished", str(session.scalar(finished)))),
            )

    def activations(
        self, deployment: str = DEFAULT_DEPLOYMENT, *, after: int = 0, limit: int = 1000
    ) -> tuple[Activation, ...]:
        """What each sequence above `after` names, in order: the record that law 9 checks against.

        Sequences used by a shadow or canary alone do not appear.
        """
        query = select(ActivationRow).where(
            ActivationRow.deployment == deployment, ActivationRow.sequence > after
        )
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(ActivationRow.sequence).limit(limit))
            return tuple(
                Activation(
                    row.deployment, row.sequence, row.version_digest, row.good_digest, row.at
                )
                for row in rows
            )

    def active_since(self, active: Slot) -> datetime | None:
        """When what is active became so, over renewals and changes of its last good one.

        Of a policy that was renewed more than a thousand times, one of the renewals.
        """
        since, recent = active.changed_at, max(active.sequence - LOOKED_BACK, 0)
        for one in reversed(self.activations(active.deployment, after=recent, limit=LOOKED_BACK)):
            if one.digest != active.digest:
                break
            since = one.at
        return since

    def snapshot(
        self, deployment: str = DEFAULT_DEPLOYMENT, valid_for: timedelta = VALID_FOR
    ) -> Snapshot:
        """What a host of the deployment should run now, for `write_snapshot`.

        It is valid from the decision that made the present policy active; writing it again does
        not make it valid for longer.

        Raises:
            DamagedStore: a policy in it no longer matches its digest or is not approved, or what is
                live is not what was activated last.
        """
        with self._database.reading() as session:
            active = read_slot(session, deployment, Alias.ACTIVE)
            good = read_slot(session, deployment, Alias.LAST_GOOD)
            named = current_activation(session, deployment)
            last = (named.sequence, named.version_digest) if named else (0, None)
            if (active.sequence, active.digest) != last:
                raise DamagedStore(
                    f"Deployment {deployment} does not run what its last activation names: "
                    "somebody changed the store from outside; `evolver store verify` says more."
                )
            now = self._database.clock()
            since = active.changed_at or now
            canary = read_slot(session, deployment, Alias.CANARY)
            shadow = read_slot(session, deployment, Alias.SHADOW)
            return Snapshot(
                sequence=max(slot.sequence for slot in (active, canary, shadow)),
                active=_in_full(session, active.digest),
                last_good=_in_full(session, good.digest),
                issued_at=now,
                not_before=since,
                expires_at=since + valid_for,
                audit_head=session.get_one(AuditHeadRow, 1).hash,
                deployment=deployment,
                canary=_canary(session, canary),
                shadow=_in_full(session, shadow.digest),
            )


def _canary(session: Session, slot: Slot) -> SnapshotCanary | None:
    policy = _in_full(session, slot.digest)
    return SnapshotCanary(policy, slot.weight or CANARY_WEIGHT) if policy else None


def _in_full(session: Session, digest: str | None) -> SnapshotPolicy | None:
    if digest is None:
        return None
    version = version_record(session, find_version(session, digest))
    if version.state not in APPROVED_STATES:
        raise DamagedStore(
            f"Policy {digest[:12]} is live, and it is {version.state.value.replace('_', ' ')}: "
            "somebody changed the store from outside; `evolver store verify` says more."
        )
    return SnapshotPolicy(
        digest=version.digest,
        source=source_record(session, version.source_digest).text,
        parameters=version.parameters,
        contract_version=version.contract_version,
        approved=_approval(session, digest),
        signals=_signals(session, digest),
    )


def _signals(session: Session, digest: str) -> str | None:
    """The signal profile of what was measured last; None when there is nothing to read."""
    evidence = [one for one in documents_of(session, digest) if one.kind is Kind.EVIDENCE]
    last = measured(evidence[-1]) if evidence else None
    return last.signals if last else None


def _approval(session: Session, digest: str) -> Approval:
    query = select(AuditRow).where(AuditRow.subject == digest, AuditRow.action == "approved")
    row = session.scalars(query.order_by(AuditRow.sequence.desc()).limit(1)).first()
    if row is None:
        raise DamagedStore(
            f"Policy {digest[:12]} is live, and the audit log has no approval of it: roll back, "
            "and check the log."
        )
    return Approval(row.actor, row.hash)
