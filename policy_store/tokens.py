"""API tokens: keys of programs, each with a name, scopes and an end; kept as digests only."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update

from policy_store.account_rows import Told, find, record
from policy_store.errors import InvalidInput, SignInRefused, StoreUnavailable
from policy_store.intake import DIGEST, plain_name
from policy_store.people import Account, Token, digest_of, new_secret
from policy_store.records import SCOPES, Scope
from policy_store.sessions import SEEN_EVERY
from policy_store.tables import AccountRow, TokenRow

PREFIX = "evt_"  # so that scanners of published code can tell one
USUAL_DAYS, MAX_DAYS, MAX_TOKENS = 90, 366, 100


class Tokens(Told):
    """Making, finding and revoking tokens."""

    def make_token(
        self, account: str, name: str, scopes: Collection[Scope], lasts: timedelta, *, by: str
    ) -> tuple[str, Token]:
        """A new token of somebody; returns its secret, which nobody can show again.

        Raises:
            UnknownAccount: nobody has that name.
            SignInRefused: the account is disabled.
            InvalidInput: scopes beyond its owner's role, or a life of over a year.
        """
        secret, now = PREFIX + new_secret(), self._database.clock()
        if not timedelta(0) < lasts <= timedelta(days=MAX_DAYS):
            raise InvalidInput(f"A token lasts up to {MAX_DAYS} days: give fewer.")
        with self._database.deciding() as session:
            owner = find(session, account)
            if owner.disabled:
                raise SignInRefused(f"The account {account} is disabled: it gets no token.")
            mine = select(TokenRow).where(
                TokenRow.account == account, TokenRow.revoked_at.is_(None),
                TokenRow.expires_at > now,
            )  # fmt: skip
            if len(session.scalars(mine).all()) >= MAX_TOKENS:
                raise InvalidInput(f"{account} has {MAX_TOKENS} tokens: revoke some first.")
            row = TokenRow(
                digest=digest_of(secret), name=plain_name(name), account=account,
                scopes=_scopes_text(scopes, SCOPES[owner.role]), created_at=now,
                expires_at=now + lasts,
            )  # fmt: skip
            session.add(row)
            self._tell(
                session, by, "token_made", account, token=row.name, id=row.digest[:12],
                scopes=row.scopes, expires_at=row.expires_at.isoformat(),
            )  # fmt: skip
            session.flush()
            return secret, _token(row)

    def token_of(self, secret: str) -> tuple[Token, Account] | None:
        """Whose token this is; None when it is nobody's, over, revoked or its owner is disabled."""
        now, digest = self._database.clock(), digest_of(secret)
        if not secret.startswith(PREFIX):
            return None
        query = select(TokenRow, AccountRow).join(AccountRow).where(TokenRow.digest == digest)
        with self._database.reading() as session:
            found = session.execute(query).one_or_none()
            if found is None:
                return None
            token, account = _token(found[0]), record(found[1])
        if not token.good(now) or account.disabled:
            return None
        if token.used_at is None or now - token.used_at >= SEEN_EVERY:
            self._used(digest, now)
        return token, account

    def tokens_of(self, account: str | None = None) -> Sequence[Token]:
        """The tokens of somebody, or of all, the newest first; those that are over, too."""
        query = select(TokenRow).order_by(TokenRow.created_at.desc(), TokenRow.digest)
        if account is not None:
            query = query.where(TokenRow.account == account)
        with self._database.reading() as session:
            return tuple(_token(row) for row in session.scalars(query))

    def revoke_token(self, digest: str, *, by: str, account: str | None = None) -> Token:
        """Make a token useless at once; `account` says whose it must be.

        Raises:
            InvalidInput: there is no such token, or it is somebody else's.
        """
        with self._database.deciding() as session:
            row = session.get(TokenRow, digest) if DIGEST.fullmatch(digest) else None
            if row is None or account not in (None, row.account):
                raise InvalidInput("There is no such token: look at the list again.")
            if row.revoked_at is None:
                row.revoked_at = self._database.clock()
                self._tell(
                    session, by, "token_revoked", row.account, token=row.name, id=digest[:12]
                )
            return _token(row)

    def _used(self, digest: str, now: datetime) -> None:
        try:
            with self._database.appending() as connection:
                mine = TokenRow.digest == digest
                connection.execute(update(TokenRow).where(mine).values(used_at=now))
        except StoreUnavailable:
            return  # a program that reads need not wait for a writer; the next use tells


def _scopes_text(scopes: Collection[Scope], allowed: Collection[Scope]) -> str:
    beyond = sorted(set(scopes) - set(allowed))
    if beyond or not scopes:
        raise InvalidInput(
            "A token's scopes are some of its owner's, here "
            f"{', '.join(allowed)}: leave out {', '.join(beyond) or 'nothing'}."
        )
    return " ".join(sorted({scope.value for scope in scopes}))


def _token(row: TokenRow) -> Token:
    scopes = frozenset(Scope(word) for word in row.scopes.split())
    return Token(
        row.digest, row.name, row.account, scopes, row.created_at, row.expires_at, row.used_at,
        row.revoked_at,
    )  # fmt: skip
