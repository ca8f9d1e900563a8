"""Leases: which one of many processes may act, by the database's clock, with a number that fences.

Who holds a lease renews it; who finds it run out takes it, and its number grows by one. A holder
that was paused and wakes up finds another number there, and `check_lease` refuses whatever it still
wants to write.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from policy_store.engine import Database
from policy_store.errors import Fenced, InvalidInput
from policy_store.intake import plain_name
from policy_store.tables import LeaseRow

# Seconds since 1970: every process asks the one clock that all of them share.
_NOW = {
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
}


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as its holder knows it.

    Attributes:
        holder: one process, by a name that no other has ever had.
        fencing: grows with each change of holder.
        taken: this very call took it from nobody or from somebody whose time was over.
    """

    name: str
    holder: str
    fencing: int
    taken: bool = False


@dataclass(frozen=True, slots=True)
class LeaseState:
    """Who holds a lease, and for how many seconds still; not above 0 when it has run out."""

    holder: str
    fencing: int
    left_s: float


class Leases:
    """Taking, renewing and giving back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take a lease that is free, or renew the own one; None while somebody else has it.

        Raises:
            InvalidInput: a name cannot be kept, or the time is not above 0.
        """
        name, holder = plain_name(name), plain_name(holder)
        if not 0.0 < ttl_s < 86_400.0:
            raise InvalidInput(f"A lease of {ttl_s:g} s is none: give 0 to 86400 s.")
        try:
            with self._database.appending() as connection:
                return _held(connection, name, holder, ttl_s)
        except IntegrityError:  # another process made the row first
            return None

    def release(self, lease: Lease) -> None:
        """Let the next one in at once; nothing happens when it is another's by now."""
        mine = (LeaseRow.name == lease.name, LeaseRow.fencing == lease.fencing)
        with self._database.appending() as connection:
            gone = update(LeaseRow).where(*mine, LeaseRow.holder == lease.holder)
            connection.execute(gone.values(expires_unix_s=_unix_s(connection)))

    def state(self, name: str) -> LeaseState | None:
        """Who holds it; None when nobody ever did."""
        with self._database.reading() as session:
            row = session.get(LeaseRow, name)
            if row is None:
                return None
            left_s = row.expires_unix_s - _unix_s(session.connection())
            return LeaseState(row.holder, row.fencing, left_s)


def check_lease(session: Session, lease: Lease) -> None:
    """Inside a decision: pass while nobody has taken the lease over.

    Raises:
        Fenced: somebody has.
    """
    query = select(LeaseRow.holder, LeaseRow.fencing).where(LeaseRow.name == lease.name)
    row = session.execute(query.with_for_update()).first()
    if row is None or (row.holder, row.fencing) != (lease.holder, lease.fencing):
        raise Fenced(
            f"The lease {lease.name} has another holder by now, so nothing more is written by "
            f"{lease.holder}: let the new one go on."
        )


def _held(connection: Connection, name: str, holder: str, ttl_s: float) -> Lease | None:
    query = select(LeaseRow.holder, LeaseRow.fencing, LeaseRow.expires_unix_s)
    row = connection.execute(query.where(LeaseRow.name == name).with_for_update()).first()
    now = _unix_s(connection)
    if row is None:
        values = {"name": name, "holder": holder, "fencing": 1, "expires_unix_s": now + ttl_s}
        connection.execute(insert(LeaseRow).values(**values))
        return Lease(name, holder, 1, taken=True)
    mine = row.holder == holder
    if not mine and row.expires_unix_s > now:
        return None
    fencing = row.fencing if mine else row.fencing + 1
    change = update(LeaseRow).where(LeaseRow.name == name)
    connection.execute(change.values(holder=holder, fencing=fencing, expires_unix_s=now + ttl_s))
    return Lease(name, holder, fencing, taken=not mine)


def _unix_s(connection: Connection) -> float:
    return float(connection.execute(text(_NOW[connection.dialect.name])).scalar_one())
