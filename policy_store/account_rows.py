"""Rows of accounts: finding and making them, and what goes into the audit log with each change."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from policy_store import audit
from policy_store.engine import Database
from policy_store.errors import InvalidInput, LastAdmin, UnknownAccount
from policy_store.people import Account, account_name, could_be_name, likeness
from policy_store.records import Role
from policy_store.tables import AccountRow, SessionRow

MAX_IDENTITY_CHARS = 512


def record(row: AccountRow) -> Account:
    """A row as others see it."""
    return Account(
        row.name, row.role, row.created_at, row.password is not None, row.identity, row.disabled
    )


def find(session: Session, name: str) -> AccountRow:
    """The row of an account.

    Raises:
        UnknownAccount: nobody has that name.
    """
    row = session.get(AccountRow, name) if could_be_name(name) else None
    if row is None:
        raise UnknownAccount(f"Nobody here is called {name[:80]!r}: look at the list of people.")
    return row


def create(session: Session, name: str, role: Role, at: datetime) -> AccountRow:
    """A new row.

    Raises:
        InvalidInput: the name cannot be used, or somebody has it or one that looks like it.
    """
    plain = account_name(name)
    alike = select(AccountRow.name).where(AccountRow.likeness == likeness(plain))
    taken = session.scalars(alike).first()
    if taken is not None:
        raise InvalidInput(f"{taken!r} has that name or one that looks like it: choose another.")
    row = AccountRow(name=plain, likeness=likeness(plain), role=role, created_at=at)
    session.add(row)
    return row


def check_others(session: Session, row: AccountRow) -> None:
    """Pass a change that takes an admin away while another stays.

    Raises:
        LastAdmin: none would.
    """
    others = select(AccountRow.name).where(
        AccountRow.role == Role.ADMIN, AccountRow.disabled.is_(False), AccountRow.name != row.name
    )
    if row.role is Role.ADMIN and session.scalars(others.limit(1)).first() is None:
        raise LastAdmin(
            f"{row.name} is the last admin, and nobody could let anybody in: make somebody else an "
            "admin first."
        )


def checked_identity(identity: str | None) -> str | None:
    """Who an identity provider says somebody is: `issuer|subject`."""
    if identity is None:
        return None
    if len(identity) > MAX_IDENTITY_CHARS or not identity.isprintable() or "|" not in identity:
        raise InvalidInput("An identity is ISSUER|SUBJECT, in 512 printable characters at most.")
    return identity


def end_sessions(session: Session, name: str, but: str | None = None) -> None:
    """Sign somebody out everywhere, but for one session."""
    ended = delete(SessionRow).where(SessionRow.account == name)
    session.execute(ended if but is None else ended.where(SessionRow.digest != but))


class Told:
    """What parts of `Accounts` share: the database, and the audit log."""

    _database: Database

    def _tell(
        self, session: Session, by: str, action: str, about: str | None, note: str = "",
        **details: object,
    ) -> None:  # fmt: skip
        """Put a change into the audit log; details that are None are left out."""
        kept = {key: value for key, value in details.items() if value is not None}
        at = self._database.clock()
        audit.append(
            session, at=at, actor=by, action=action, subject=about, note=note, details=kept
        )
