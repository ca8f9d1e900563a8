"""One's own account: password, sessions that are open, and tokens for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from policy_store.errors import SignInRefused
from policy_store.records import SCOPES, Scope
from policy_store.review.access import Viewer, Visitor
from policy_store.review.guards import Posting
from policy_store.review.limits import block_of
from policy_store.review.local_access import session_id
from policy_store.review.proxy import address_of
from policy_store.review.rendering import afterwards, page
from policy_store.review.sign_in import check_same
from policy_store.review.site import Here, Site
from policy_store.tokens import MAX_DAYS, USUAL_DAYS

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Form()]


@router.get("/account")
def account(request: Request, site: Here, visitor: Viewer) -> Response:
    """What one may do, where one is signed in, which programs act in one's name."""
    return _page(request, site, visitor)


@router.post("/account/password")
def change_password(
    request: Request,
    site: Here,
    visitor: Posting,
    present: Text = "",
    password: Text = "",
    again: Text = "",
) -> Response:
    """Change one's password, which ends all other sessions."""
    check_same(password, again)
    address = block_of(address_of(request, site.settings))
    site.limits.trying(visitor.name, address)
    mine = session_id(request, site.settings)
    try:
        site.store.accounts.change_password(visitor.name, present, password, keep=mine)
    except SignInRefused:
        raise SignInRefused("That is not your present password: nothing was changed.") from None
    site.limits.succeeded(visitor.name, address)
    said = "Your password is changed, and all your other sessions are ended."
    return afterwards("/account", said, site.settings)


@router.post("/account/sessions/end")
def end_session(site: Here, visitor: Posting, session: Text = "") -> Response:
    """End one session of one's own."""
    site.store.accounts.end_session(visitor.name, session)
    return afterwards("/account", "That session is ended.", site.settings)


@router.post("/account/sessions/end-all")
def end_sessions(request: Request, site: Here, visitor: Posting) -> Response:
    """End all sessions of one's own but this."""
    mine = session_id(request, site.settings)
    site.store.accounts.end_sessions(visitor.name, by=visitor.name, but=mine)
    return afterwards("/account", "All your other sessions are ended.", site.settings)


@router.post("/account/tokens")
def make_token(
    request: Request,
    site: Here,
    visitor: Posting,
    name: Text = "",
    scope: Annotated[list[Scope] | None, Form()] = None,
    days: Annotated[int, Form(ge=1, le=MAX_DAYS)] = USUAL_DAYS,
) -> Response:
    """Make a token and show it, this once: in no address, so that no history keeps it."""
    secret, token = site.store.accounts.make_token(
        visitor.name, name, scope or [], timedelta(days=days), by=visitor.name
    )
    return _page(request, site, visitor, secret=secret, made=token)


@router.post("/account/tokens/revoke")
def revoke_token(site: Here, visitor: Posting, token: Text = "") -> Response:
    """Make a token of one's own useless at once."""
    gone = site.store.accounts.revoke_token(token, by=visitor.name, account=visitor.name)
    return afterwards("/account", f"The token {gone.name} opens nothing any more.", site.settings)


def _page(
    request: Request, site: Site, visitor: Visitor, *, secret: str = "", made: object = None
) -> Response:
    accounts, settings = site.store.accounts, site.settings
    mine = accounts.get(visitor.name)
    return page(
        request, "account.html", visitor,
        account=mine,
        sessions=accounts.sessions_of(visitor.name, settings.session_idles),
        this=session_id(request, settings),
        tokens=accounts.tokens_of(visitor.name),
        scopes=SCOPES[mine.role],
        now=datetime.now(UTC),
        secret=secret,
        made=made,
        usual_days=USUAL_DAYS,
        max_days=MAX_DAYS,
    )  # fmt: skip
