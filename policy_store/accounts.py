"""Accounts: who may come in, in which role, and how they prove who they are."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import delete, func, select, update

from policy_store.account_rows import (
    check_others,
    checked_identity,
    create,
    end_sessions,
    find,
    record,
)
from policy_store.engine import Database
from policy_store.errors import SignInRefused
from policy_store.links import Links
from policy_store.passwords import check_password, hashed, matches, outdated
from policy_store.people import Account, could_be_name
from policy_store.records import Role
from policy_store.sessions import Sessions
from policy_store.tables import AccountRow, LinkRow, TokenRow
from policy_store.tokens import Tokens


class Accounts(Sessions, Links, Tokens):
    """Everybody who may sign in, with their sessions, links and tokens.

    `by` is always the account, or the user of the command line, that asked for it. Every change is
    in the audit log under the account's name, and no secret ever is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def everybody(self) -> Sequence[Account]:
        """All accounts by name."""
        pending = select(LinkRow.account).where(
            LinkRow.used_at.is_(None), LinkRow.expires_at > self._database.clock()
        )
        with self._database.reading() as session:
            invited = set(session.scalars(pending))
            found = session.scalars(select(AccountRow).order_by(AccountRow.name)).all()
            return tuple(replace(record(row), invited=row.name in invited) for row in found)

    def get(self, name: str) -> Account:
        """One account.

        Raises:
            UnknownAccount: nobody has that name.
        """
        with self._database.reading() as session:
            return record(find(session, name))

    def of_identity(self, identity: str) -> Account | None:
        """Who an identity provider means by `issuer|subject`.

        Raises:
            InvalidInput: that is no identity.
        """
        checked_identity(identity)
        with self._database.reading() as session:
            row = session.scalars(select(AccountRow).where(AccountRow.identity == identity)).first()
            return None if row is None else record(row)

    def exist(self) -> bool:
        """Whether anybody has an account."""
        with self._database.reading() as session:
            return session.scalar(select(func.count()).select_from(AccountRow)) != 0

    def add(self, name: str, role: Role, *, by: str, identity: str | None = None) -> Account:
        """A new account, without a password: a link or an identity provider lets it in.

        Raises:
            InvalidInput: the name cannot be used, or somebody has it or one that looks like it.
        """
        with self._database.deciding() as session:
            row = create(session, name, role, self._database.clock())
            row.identity = checked_identity(identity)
            self._tell(session, by, "account_made", row.name, role=role.value, identity=identity)
            session.flush()
            return record(row)

    def set_role(self, name: str, role: Role, *, by: str) -> Account:
        """Let somebody do more or less from now on, sessions and tokens of theirs included.

        Raises:
            UnknownAccount, LastAdmin
        """
        with self._database.deciding() as session:
            row = find(session, name)
            if row.role is not role:
                if role is not Role.ADMIN:
                    check_others(session, row)
                self._tell(
                    session, by, "role_changed", row.name, was=row.role.value, role=role.value
                )
                row.role = role
            return record(row)

    def disable(self, name: str, *, by: str) -> Account:
        """Keep somebody out: sessions, open links and tokens end at once.

        Raises:
            UnknownAccount, LastAdmin
        """
        with self._database.deciding() as session:
            row = find(session, name)
            if not row.disabled:
                check_others(session, row)
                row.disabled = True
                end_sessions(session, name)
                session.execute(delete(LinkRow).where(LinkRow.account == name))
                mine = (TokenRow.account == name) & TokenRow.revoked_at.is_(None)
                session.execute(
                    update(TokenRow).where(mine).values(revoked_at=self._database.clock())
                )
                self._tell(session, by, "account_disabled", row.name)
            return record(row)

    def enable(self, name: str, *, by: str) -> Account:
        """Let somebody in again, who signs in anew.

        Raises:
            UnknownAccount: nobody has that name.
        """
        with self._database.deciding() as session:
            row = find(session, name)
            if row.disabled:
                row.disabled = False
                self._tell(session, by, "account_enabled", row.name)
            return record(row)

    def sign_in(self, name: str, password: str) -> Account:
        """Who has this name and this password.

        Raises:
            SignInRefused: nobody, or they are kept out; it says no more and takes as long.
        """
        with self._database.reading() as session:
            row = session.get(AccountRow, name) if could_be_name(name) else None
            kept = None if row is None or row.disabled else row.password
            account = None if row is None else record(row)
        if not matches(password, kept) or kept is None or account is None:
            raise SignInRefused("Name and password do not belong together: try again.")
        if outdated(kept):
            self._upgrade(name, kept, password)
        return account

    def change_password(
        self, name: str, password: str, fresh: str, *, keep: str | None = None
    ) -> None:
        """Replace one's own password; all sessions end but `keep`, an id.

        Raises:
            SignInRefused: `password` is not the present one.
            InvalidInput: the new one is too easily guessed.
        """
        self.sign_in(name, password)
        check_password(fresh, name)
        kept = hashed(fresh)
        with self._database.deciding() as session:
            row = find(session, name)
            row.password = kept
            end_sessions(session, name, but=keep)
            self._tell(session, name, "password_changed", row.name)

    def tie(self, name: str, identity: str, *, by: str) -> Account:
        """Let an account that has neither password nor identity sign in through a provider.

        Raises:
            UnknownAccount: nobody has that name.
            SignInRefused: the account is somebody's already.
        """
        with self._database.deciding() as session:
            row = find(session, name)
            if row.password is not None or row.identity is not None or row.disabled:
                raise SignInRefused(
                    f"The account {name} is signed in to in another way: ask an admin for one of "
                    "another name."
                )
            row.identity = checked_identity(identity)
            session.execute(delete(LinkRow).where(LinkRow.account == name))
            self._tell(session, by, "identity_tied", row.name, identity=identity)
            return record(row)

    def _upgrade(self, name: str, kept: str, password: str) -> None:
        fresh = hashed(password)
        with self._database.deciding() as session:
            row = find(session, name)
            if row.password == kept:
                row.password = fresh
