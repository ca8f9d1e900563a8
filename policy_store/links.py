"""One-time links: the first admin's, and those that set a password; kept as digests only."""

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from policy_store.account_rows import Told, create, end_sessions, find, record
from policy_store.errors import LinkSpent, SignInRefused
from policy_store.passwords import check_password, hashed
from policy_store.people import Account, account_name, digest_of, new_secret
from policy_store.records import Role
from policy_store.tables import AccountRow, LinkRow

LINK_LASTS = timedelta(hours=24)
SPENT = LinkSpent(
    "This link was used, replaced or is too old: ask an admin for a new one, or start the page "
    "again when there is no admin yet."
)


class Links(Told):
    """Making links and using them once."""

    def first_link(self, *, by: str, lasts: timedelta = LINK_LASTS) -> str | None:
        """The secret of a link that makes the first admin, instead of any before it.

        None when anybody has an account: then admins make links.
        """
        with self._database.deciding() as session:
            if _anybody(session):
                return None
            return self._make(session, None, by, lasts)

    def link_for(self, name: str, *, by: str, lasts: timedelta = LINK_LASTS) -> str:
        """The secret of a link that sets somebody's password, instead of any before it.

        Raises:
            UnknownAccount: nobody has that name.
            SignInRefused: the account is disabled, or an identity provider signs it in.
        """
        with self._database.deciding() as session:
            row = find(session, name)
            if row.disabled or row.identity is not None:
                why = "is disabled" if row.disabled else "signs in through an identity provider"
                raise SignInRefused(f"The account {name} {why}, so that a link would not help it.")
            return self._make(session, name, by, lasts)

    def link(self, secret: str) -> Account | None:
        """Whose link this is, which does not use it up; None for the first admin's.

        Raises:
            LinkSpent: it is no good any more, or never was.
        """
        with self._database.reading() as session:
            row = self._good(session, secret)
            return None if row.account is None else record(find(session, row.account))

    def use_first_link(self, secret: str, name: str, password: str) -> Account:
        """Make the first admin.

        Raises:
            LinkSpent: it is no good any more, or somebody has an account already.
            InvalidInput: a name or password that cannot be used; the link stays good.
        """
        plain = account_name(name)
        check_password(password, plain)
        self.link(secret)  # before the work of a hash
        kept = hashed(password)
        with self._database.deciding() as session:
            link = self._good(session, secret)
            if link.account is not None:
                raise SPENT
            link.used_at = self._database.clock()
            row = create(session, plain, Role.ADMIN, link.used_at)
            row.password = kept
            session.flush()
            self._tell(session, plain, "account_made", plain, way="first link", role=row.role.value)
            return record(row)

    def use_link(self, secret: str, password: str) -> Account:
        """Set the password of the link's account, which ends its sessions.

        Raises:
            LinkSpent: it is no good any more, or never was.
            InvalidInput: a password that cannot be used; the link stays good.
        """
        account = self.link(secret)
        if account is None:
            raise SPENT
        check_password(password, account.name)
        kept = hashed(password)
        with self._database.deciding() as session:
            link = self._good(session, secret)
            row = find(session, account.name)
            if row.disabled or row.identity is not None:
                raise SPENT
            link.used_at, row.password = self._database.clock(), kept
            end_sessions(session, row.name)
            self._tell(session, row.name, "password_set", row.name, way="link")
            return record(row)

    def _make(self, session: Session, name: str | None, by: str, lasts: timedelta) -> str:
        now, secret = self._database.clock(), new_secret()
        before = LinkRow.account.is_(None) if name is None else LinkRow.account == name
        session.execute(delete(LinkRow).where(before | (LinkRow.expires_at <= now)))
        expires = now + lasts
        session.add(
            LinkRow(digest=digest_of(secret), account=name, created_at=now, expires_at=expires)
        )
        self._tell(session, by, "link_made", name, expires_at=expires.isoformat())
        return secret

    def _good(self, session: Session, secret: str) -> LinkRow:
        row = session.get(LinkRow, digest_of(secret))
        if row is None or row.used_at is not None or self._database.clock() >= row.expires_at:
            raise SPENT
        if row.account is None and _anybody(session):
            raise SPENT  # somebody came in by the command line
        return row


def _anybody(session: Session) -> bool:
    return session.scalar(select(func.count()).select_from(AccountRow)) != 0
