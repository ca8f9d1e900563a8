"""Sessions in cookies, tokens in headers, and forms of browsers that are not signed in yet."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request, Response

from policy_store.accounts import Accounts
from policy_store.people import digest_of, new_secret
from policy_store.review.access import NotAllowed, Visitor
from policy_store.review.settings import Settings

SESSION, STRANGER = "session", "form"
EVENTS, REFRESH = "/events", "x-refresh"


@dataclass(frozen=True, slots=True)
class LocalAccess:
    """A browser with the cookie of a session."""

    accounts: Accounts
    settings: Settings

    def visitor(self, request: Request) -> Visitor | None:
        """Whose session it is, while it lasts."""
        secret = cookie(request, self.settings, SESSION)
        if not secret:
            return None
        # A page that keeps itself fresh is no use of the session: it would never end.
        used = request.url.path != EVENTS and REFRESH not in request.headers
        found = self.accounts.session_of(secret, self.settings.session_idles, used=used)
        if found is None:
            return None
        session, account = found
        return Visitor(account.name, account.role, csrf=session.csrf)


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """A program with a token: `Authorization: Bearer evt_...`."""

    accounts: Accounts

    def visitor(self, request: Request) -> Visitor | None:
        """Whose token it is; never with more than both its scopes and the owner's role allow."""
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        found = self.accounts.token_of(secret.strip()) if kind.lower() == "bearer" else None
        if found is None:
            return None
        token, account = found
        return Visitor(account.name, account.role, scopes=token.scopes)


def cookie_name(settings: Settings, kind: str) -> str:
    """What a cookie is called: over TLS, what no other host can set; else each port has its own."""
    if settings.https:
        return f"__Host-evolver-{kind}"
    return f"evolver-{kind}-{urlsplit(settings.base_url).port or 80}"


def cookie(request: Request, settings: Settings, kind: str) -> str:
    """The cookie that a browser sent; empty without one."""
    return request.cookies.get(cookie_name(settings, kind), "")


def set_cookie(
    response: Response, settings: Settings, kind: str, value: str, lasts_s: int | None = None
) -> None:
    """Give a browser a cookie that no script reads and no other site's form brings along."""
    response.set_cookie(
        cookie_name(settings, kind), value, max_age=lasts_s, path="/", httponly=True,
        secure=settings.https, samesite="lax",
    )  # fmt: skip


def drop_cookie(response: Response, settings: Settings, kind: str) -> None:
    """Take a cookie from a browser."""
    response.delete_cookie(
        cookie_name(settings, kind), path="/", httponly=True, secure=settings.https, samesite="lax"
    )


def session_id(request: Request, settings: Settings) -> str | None:
    """The id of the browser's session; None for who came in another way."""
    secret = cookie(request, settings, SESSION)
    return digest_of(secret) if secret else None


def stranger_of(request: Request, settings: Settings) -> str:
    """A cookie for a browser that is not signed in: the one it has, or a new one."""
    return cookie(request, settings, STRANGER) or new_secret()


def form_token(stranger: str, settings: Settings) -> str:
    """What forms of a browser that is not signed in carry, so that no other site sends them."""
    text = f"stranger {stranger}".encode("utf-8", "surrogatepass")
    return hmac.new(settings.secret, text, hashlib.sha256).hexdigest()


def check_form(request: Request, settings: Settings, token: str) -> None:
    """Pass a form that this browser was given.

    Raises:
        NotAllowed: it was not; another site could sign somebody in as somebody else with it.
    """
    stranger = cookie(request, settings, STRANGER)
    expected = form_token(stranger, settings).encode()
    if not stranger or not hmac.compare_digest(expected, token.encode("utf-8", "surrogatepass")):
        raise NotAllowed(
            "This form was not made for this browser: allow cookies, open the page again, then "
            "send it."
        )
