"""Sessions: browsers that are signed in, known by the digest of their cookie."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, select, update

from policy_store.account_rows import Told, end_sessions, find, record
from policy_store.errors import SignInRefused, StoreUnavailable
from policy_store.intake import DIGEST
from policy_store.people import Account, SignedIn, digest_of, new_secret
from policy_store.tables import AccountRow, SessionRow

SEEN_EVERY = timedelta(minutes=1)
"""How exactly the last use of a session or token is known; each time costs a write."""


class Sessions(Told):
    """Starting, finding and ending sessions."""

    def start_session(
        self, name: str, lasts: timedelta, *, way: str, instead_of: str = ""
    ) -> tuple[str, SignedIn]:
        """Sign somebody in; returns the cookie, which is new each time, and what is kept of it.

        Args:
            name: an account that has just proved who it is.
            lasts: until it ends, however much it is used.
            way: how it did, for the audit log.
            instead_of: the browser's cookie so far, whose session ends.

        Raises:
            SignInRefused: the account was disabled meanwhile.
        """
        secret, now = new_secret(), self._database.clock()
        with self._database.deciding() as session:
            if find(session, name).disabled:
                raise SignInRefused(f"The account {name} is disabled: ask an admin.")
            over = (SessionRow.expires_at <= now) | (SessionRow.digest == digest_of(instead_of))
            session.execute(delete(SessionRow).where(over))
            row = SessionRow(
                digest=digest_of(secret), account=name, csrf=new_secret(), created_at=now,
                seen_at=now, expires_at=now + lasts,
            )  # fmt: skip
            session.add(row)
            self._tell(session, name, "signed_in", name, way=way)
            session.flush()
            return secret, _signed_in(row)

    def session_of(
        self, secret: str, idles: timedelta, *, used: bool = True
    ) -> tuple[SignedIn, Account] | None:
        """Whose cookie this is; None when it is nobody's, over, or was not used for `idles`.

        `used` says that a person did something, and not their browser by itself.
        """
        now, digest = self._database.clock(), digest_of(secret)
        query = select(SessionRow, AccountRow).join(AccountRow).where(SessionRow.digest == digest)
        with self._database.reading() as session:
            found = session.execute(query).one_or_none()
            if found is None:
                return None
            signed_in, account = _signed_in(found[0]), record(found[1])
        over = now >= signed_in.expires_at or now - signed_in.seen_at >= idles
        if over or account.disabled:
            return None
        if used and now - signed_in.seen_at >= SEEN_EVERY:
            self._seen(digest)
        return signed_in, account

    def sessions_of(self, name: str, idles: timedelta) -> Sequence[SignedIn]:
        """Somebody's sessions that have not ended, the last used first."""
        now = self._database.clock()
        mine = select(SessionRow).where(
            SessionRow.account == name,
            SessionRow.expires_at > now,
            SessionRow.seen_at > now - idles,
        )
        with self._database.reading() as session:
            rows = session.scalars(mine.order_by(SessionRow.seen_at.desc()))
            return tuple(_signed_in(row) for row in rows)

    def end_session(self, name: str, digest: str) -> None:
        """End one session of somebody; one that has ended already stays so."""
        if not DIGEST.fullmatch(digest):
            return
        mine = (SessionRow.digest == digest) & (SessionRow.account == name)
        with self._database.appending() as connection:
            connection.execute(delete(SessionRow).where(mine))

    def end_sessions(self, name: str, *, by: str, but: str | None = None) -> None:
        """End all sessions of somebody, but for one with this id.

        Raises:
            UnknownAccount: nobody has that name.
        """
        with self._database.deciding() as session:
            end_sessions(session, find(session, name).name, but)
            self._tell(session, by, "sessions_ended", name)

    def _seen(self, digest: str) -> None:
        now = self._database.clock()
        try:
            with self._database.appending() as connection:
                mine = SessionRow.digest == digest
                connection.execute(update(SessionRow).where(mine).values(seen_at=now))
        except StoreUnavailable:
            return  # whoever looks at a page need not wait for a writer; the next look tells


def _signed_in(row: SessionRow) -> SignedIn:
    return SignedIn(row.digest, row.account, row.csrf, row.created_at, row.seen_at, row.expires_at)
