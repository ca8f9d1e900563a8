"""Restores a backup into an empty store: whole and verified, or not at all.

The file is read through and checked first. Then tables, rows and the checks of `verification` are
one transaction. What is newer than the backup is forgotten, but not that hosts have seen it: each
deployment goes on above the sequences that were given out (`seen`), so that hosts follow.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, TableClause, column, delete, inspect, select, table
from sqlalchemy.exc import OperationalError, StatementError
from sqlalchemy.orm import Session

from policy_store import audit
from policy_store.backup_format import Backup, check_backup, contents, damaged, kept_tables
from policy_store.engine import Database
from policy_store.errors import BackupTooNew, BackupUnusable, StoreNotEmpty
from policy_store.records import Alias
from policy_store.schema import HEAD, downgrade, known_revisions, revision_of, upgrade
from policy_store.slots import current_activation, make_live, previous_good, read_slot, set_slot
from policy_store.tables import AuditHeadRow, Base, UtcDateTime
from policy_store.verification import check_session

ROWS_AT_ONCE = 500
BYTES_AT_ONCE = 1 << 22
Progress = Callable[[str, int], object]


def restore_backup(
    database: Database,
    source: Path,
    *,
    by: str,
    note: str = "",
    seen: Mapping[str, int] | None = None,
    progress: Progress = lambda *_: None,
) -> Backup:
    """Fill an empty store with what a backup holds.

    Args:
        database: a fresh file, or a database without tables or without rows.
        by, note: who restores and why, for the audit log.
        seen: highest sequence by deployment that hosts may have seen since the backup.
        progress: told a table and how many more of its rows were written.

    Raises:
        StoreNotEmpty: there is something in the store.
        BackupTooNew: a later version wrote the backup.
        BackupUnusable: it is none, is damaged, or does not hold together.
    """
    backup = check_backup(source)
    if backup.schema not in known_revisions():
        raise BackupTooNew(
            f"{source} has schema {backup.schema}, and this version knows up to {HEAD}: type "
            "`pip install --upgrade evolver`, then restore it."
        )
    with database.migrating() as connection:
        _prepare(connection, backup, database.where)
        try:
            _Filling(connection, backup, progress).fill()
        except OperationalError:
            raise
        except (StatementError, ValueError) as error:
            raise damaged(source, f"its rows do not fit together, {_cause(error)}") from error
        upgrade(connection)
        with Session(connection) as session:
            _check(session, backup, progress)
            _continue(session, database.clock(), by, note, backup, seen or {})
            session.flush()
    return backup


def _prepare(connection: Connection, backup: Backup, where: str) -> None:
    """Tables as they were when the backup was taken, all empty."""
    revision = revision_of(connection, where)
    if revision is not None:
        if revision != HEAD or _holds_anything(connection):
            raise StoreNotEmpty(
                f"{where} is not empty: restore into a new file or an empty database, and put it "
                "in place of the old one when it is good."
            )
        if backup.schema != HEAD:
            downgrade(connection)
    upgrade(connection, backup.schema)
    connection.execute(delete(AuditHeadRow))


def _holds_anything(connection: Connection) -> bool:
    begun = connection.scalar(select(AuditHeadRow.sequence)) != 0
    others = [each for each in Base.metadata.sorted_tables if each.name != "audit_head"]
    return begun or any(connection.execute(select(each).limit(1)).first() for each in others)


@dataclass
class _Filling:
    """The rows of a backup on their way into its tables."""

    connection: Connection
    backup: Backup
    progress: Progress
    counts: dict[str, int] = field(default_factory=dict)
    _target: TableClause | None = None
    _moments: tuple[str, ...] = ()
    _waiting: list[dict[str, object]] = field(default_factory=list)
    _bytes: int = 0

    def fill(self) -> None:
        """Write all rows, and see that there are as many as there were."""
        known = {each.name: each for each in kept_tables()}
        for name, columns, values in contents(self.backup):
            if self._target is None or self._target.name != name:
                self._flush()
                present = self._columns(name) if name in known else frozenset()
                fits = present.issuperset(columns)
                self._target = _typed(name, columns) if fits and columns else None
                self._moments = _moments(self._target)
            if self._target is None or len(columns) != len(values):
                raise damaged(self.backup.path, f"it has rows of {name[:80]!r} that fit nothing")
            self._add(columns, values)
        self._flush()
        expected = {name: count for name, count in self.backup.rows.items() if count}
        if self.counts != expected:
            raise damaged(self.backup.path, f"it has {self.counts} rows, not {expected}")

    def _columns(self, name: str) -> frozenset[str]:
        return frozenset(one["name"] for one in inspect(self.connection).get_columns(name))

    def _add(self, columns: list[str], values: list[Any]) -> None:
        row = dict(zip(columns, values, strict=True))
        for name in self._moments:
            if isinstance(row[name], str):
                row[name] = datetime.fromisoformat(row[name])
        self._waiting.append(row)
        self._bytes += sum(len(value) for value in values if isinstance(value, str))
        if len(self._waiting) >= ROWS_AT_ONCE or self._bytes >= BYTES_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._target is not None and self._waiting:
            self.connection.execute(self._target.insert(), self._waiting)
            count = len(self._waiting)
            self.counts[self._target.name] = self.counts.get(self._target.name, 0) + count
            self.progress(self._target.name, count)
        self._waiting, self._bytes = [], 0


def _moments(target: TableClause | None) -> tuple[str, ...]:
    """The columns that hold times."""
    columns = () if target is None else target.columns
    return tuple(one.name for one in columns if isinstance(one.type, UtcDateTime))


def _typed(name: str, columns: list[str]) -> TableClause:
    """A table with the columns that the backup has; an older one may lack some of today's."""
    present = Base.metadata.tables[name].columns
    return table(
        name, *(column(one, present[one].type if one in present else None) for one in columns)
    )


def _cause(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())


def _check(session: Session, backup: Backup, progress: Progress) -> None:
    verdict = check_session(session, progress=progress)
    if verdict.findings:
        first = verdict.findings[0]
        raise BackupUnusable(
            f"{backup.path} is of a damaged store ({first.kind} {first.subject[:12]}: "
            f"{first.problem}): restore an older backup."
        )


def _continue(
    session: Session, now: datetime, by: str, note: str, backup: Backup, seen: Mapping[str, int]
) -> None:
    """Go on above what hosts have seen, and write into the log that all this was restored."""
    sequences = {}
    for deployment, newest in sorted(seen.items()):
        active = read_slot(session, deployment, Alias.ACTIVE)
        if active.sequence >= newest:
            continue
        current = current_activation(session, deployment)
        good = previous_good(session, current, {active.digest}) if active.digest else None
        set_slot(session, active, active.digest, newest, now)
        sequences[deployment] = make_live(session, deployment, active.digest, good, now).sequence
    taken_at = audit.moment_text(backup.taken_at)
    details = {"taken_at": taken_at, "sha256": backup.sha256, "sequences": sequences}
    audit.append(session, at=now, actor=by, action="restored", note=note, details=details)
