"""Coming in and going out: sign-in, sign-out, and one-time links."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from policy_store.errors import InvalidInput, SignInRefused
from policy_store.people import Account
from policy_store.review.access import visitor_of
from policy_store.review.guards import Posting
from policy_store.review.limits import block_of
from policy_store.review.local_access import (
    SESSION,
    STRANGER,
    check_form,
    cookie,
    drop_cookie,
    form_token,
    session_id,
    set_cookie,
    stranger_of,
)
from policy_store.review.proxy import address_of
from policy_store.review.rendering import afterwards, page
from policy_store.review.site import Here, Site

LINKS_PER_MINUTE = 30

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Form()]


def local_path(address: str) -> str:
    """Where to go after sign-in: a path of this page, else the queue."""
    parts = urlsplit(address)
    plain = address.isprintable() and "\\" not in address and not address.startswith("//")
    if not plain or not address.startswith("/") or parts.scheme or parts.netloc:
        return "/"
    return address


@router.get("/sign-in")
def sign_in_page(request: Request, site: Here, next: str = "/") -> Response:
    """The form; who is signed in already goes on."""
    if visitor_of(request) is not None:
        return RedirectResponse(local_path(next), 303)
    return _form(request, site, "sign_in.html", next=local_path(next), name="")


@router.post("/sign-in")
def sign_in(
    request: Request,
    site: Here,
    name: Text = "",
    password: Text = "",
    form: Text = "",
    next: Text = "/",
) -> Response:
    """Sign somebody in with name and password; why it fails is never said."""
    check_form(request, site.settings, form)
    name, address = name.strip(), address_of(request, site.settings)
    site.limits.trying(name, address)
    try:
        account = site.store.accounts.sign_in(name, password)
    except SignInRefused as error:
        return _form(
            request, site, "sign_in.html", status=401, refused=str(error), name=name,
            next=local_path(next),
        )  # fmt: skip
    site.limits.succeeded(name, address)
    return entered(request, site, account, "password", local_path(next))


@router.post("/sign-out")
def sign_out(request: Request, site: Here, visitor: Posting) -> Response:
    """End the browser's session."""
    mine = session_id(request, site.settings)
    if mine is not None:
        site.store.accounts.end_session(visitor.name, mine)
    answer = afterwards("/sign-in", "You are signed out.", site.settings)
    drop_cookie(answer, site.settings, SESSION)
    return answer


@router.get("/welcome/{secret}")
def welcome(request: Request, site: Here, secret: str) -> Response:
    """The first start: a form for the first admin; looking at it does not use the link up."""
    _look(request, site)
    whose = site.store.accounts.link(secret)
    if whose is not None:
        return RedirectResponse(f"/link/{secret}", 303)
    return _form(request, site, "welcome.html", name="", secret=secret)


@router.post("/welcome/{secret}")
def first_admin(
    request: Request,
    site: Here,
    secret: str,
    name: Text = "",
    password: Text = "",
    again: Text = "",
    form: Text = "",
) -> Response:
    """Make the first admin and sign them in."""
    _check_link_form(request, site, form)
    accounts = site.store.accounts
    try:
        check_same(password, again)
        account = accounts.use_first_link(secret, name.strip(), password)
    except InvalidInput as error:
        return _form(
            request, site, "welcome.html", status=422, refused=str(error), name=name,
            secret=secret,
        )  # fmt: skip
    return entered(request, site, account, "first link", "/")


@router.get("/link/{secret}")
def link(request: Request, site: Here, secret: str) -> Response:
    """A form for a password; looking at it does not use the link up."""
    _look(request, site)
    account = site.store.accounts.link(secret)
    if account is None:
        return RedirectResponse(f"/welcome/{secret}", 303)
    return _form(request, site, "link.html", account=account, secret=secret)


@router.post("/link/{secret}")
def set_password(
    request: Request,
    site: Here,
    secret: str,
    password: Text = "",
    again: Text = "",
    form: Text = "",
) -> Response:
    """Set the password of the link's account and sign it in."""
    _check_link_form(request, site, form)
    accounts = site.store.accounts
    try:
        check_same(password, again)
        account = accounts.use_link(secret, password)
    except InvalidInput as error:
        return _form(
            request, site, "link.html", status=422, refused=str(error), secret=secret,
            account=accounts.link(secret),
        )  # fmt: skip
    return entered(request, site, account, "link", "/")


def entered(request: Request, site: Site, account: Account, way: str, address: str) -> Response:
    """Lead somebody who has proved who they are in, with a cookie that nobody knew before."""
    settings = site.settings
    secret, _ = site.store.accounts.start_session(
        account.name, settings.session_lasts, way=way,
        instead_of=cookie(request, settings, SESSION),
    )  # fmt: skip
    answer = RedirectResponse(address, 303)
    lasts_s = int(settings.session_lasts.total_seconds())
    set_cookie(answer, settings, SESSION, secret, lasts_s)
    drop_cookie(answer, settings, STRANGER)
    return answer


def _form(
    request: Request, site: Site, template: str, *, status: int = 200, refused: str = "",
    **facts: object,
) -> Response:  # fmt: skip
    """A form for a browser that is not signed in, and the cookie that makes it this browser's."""
    stranger = stranger_of(request, site.settings)
    token = form_token(stranger, site.settings)
    provider = site.provider.name if site.provider else ""
    answer = page(
        request, template, None, status=status, form=token, refused=refused, provider=provider,
        **facts,
    )  # fmt: skip
    set_cookie(answer, site.settings, STRANGER, stranger)
    return answer


def _check_link_form(request: Request, site: Site, form: str) -> None:
    check_form(request, site.settings, form)
    _look(request, site)


def _look(request: Request, site: Site) -> None:
    """Nobody tries secrets of links one after the other."""
    who = f"link {block_of(address_of(request, site.settings))}"
    site.limits.posted(who, min(LINKS_PER_MINUTE, site.settings.posts_per_minute))


def check_same(password: str, again: str) -> None:
    """Pass a new password that was typed the same twice.

    Raises:
        InvalidInput: it was not.
    """
    if password != again:
        raise InvalidInput("The two passwords differ: type the same one twice.")
