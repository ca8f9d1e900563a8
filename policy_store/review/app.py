"""The wiring of the review page: routes, guards, and what becomes of errors."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from policy_store.errors import (
    ForbiddenMove,
    InvalidInput,
    LastAdmin,
    LinkSpent,
    NothingLive,
    NotPublished,
    OwnWork,
    SignInRefused,
    StaleDecision,
    StoreError,
    StoreUnavailable,
    UnknownAccount,
    UnknownPolicy,
    UnknownRule,
    UnknownRun,
)
from policy_store.review import (
    api,
    pages_account,
    pages_audit,
    pages_explore,
    pages_hour,
    pages_lineage,
    pages_live,
    pages_people,
    pages_policy,
    pages_queue,
    pages_rules,
    pages_runs,
    sign_in,
    sign_in_elsewhere,
    stream,
)
from policy_store.review.access import NotAllowed, SignInNeeded, visitor_of
from policy_store.review.api_errors import answer, is_api
from policy_store.review.bodies import Bounds, refusal
from policy_store.review.guards import Guards
from policy_store.review.limits import TooMany
from policy_store.review.oidc import ProviderUnavailable
from policy_store.review.rendering import ASSETS, FOR_EVER, asset, page
from policy_store.review.site import Site
from policy_store.review.submission import Busy

STATUS: dict[type[Exception], int] = {
    NotAllowed: 403, OwnWork: 403, StaleDecision: 409, ForbiddenMove: 409, NothingLive: 409,
    LastAdmin: 409, LinkSpent: 410, SignInRefused: 403, TooMany: 429, Busy: 429,
    UnknownPolicy: 404, UnknownRun: 404, UnknownRule: 404, UnknownAccount: 404, InvalidInput: 422,
    ProviderUnavailable: 503, StoreUnavailable: 503, StoreError: 500,
}  # fmt: skip


def create_app(site: Site) -> FastAPI:
    """The application, for any ASGI server."""
    app = FastAPI(
        title="Evolver review", version="1", description=api.DESCRIPTION, openapi_tags=api.TAGS,
        docs_url=None, redoc_url=None, openapi_url=None,
    )  # fmt: skip
    app.state.site = site
    app.state.watch = stream.Watch(site.store)
    host = urlsplit(site.settings.base_url).hostname or "127.0.0.1"
    app.add_middleware(Bounds)
    app.add_middleware(Guards, base_url=site.settings.base_url)
    # A name that somebody else points at this machine is not ours.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[host], www_redirect=False)
    for pages in (
        pages_queue, pages_live, pages_hour, pages_explore, pages_policy, pages_account,
        pages_people, sign_in, sign_in_elsewhere, pages_lineage, pages_runs, pages_audit,
        pages_rules, stream,
    ):  # fmt: skip
        app.include_router(pages.router)
    for router in api.ROUTERS:
        app.include_router(router)
    app.add_api_route("/static/{digest}/{name}", static, include_in_schema=False)
    app.add_exception_handler(SignInNeeded, _sign_in)
    for kind in STATUS:
        app.add_exception_handler(kind, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _failed)
    return app


def static(digest: str, name: str) -> Response:
    """A file of ours; browsers keep it, since its address changes with it."""
    if name not in ASSETS:
        raise HTTPException(404, "There is no such file.")
    content, now = asset(name)
    kept = FOR_EVER if digest == now else "no-store"
    return Response(content, media_type=ASSETS[name], headers={"Cache-Control": kept})


def status_of(error: Exception) -> int:
    """The HTTP status of a refusal, by the nearest kind that has one."""
    if isinstance(error, HTTPException):
        return error.status_code
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 422)


def sentence_of(error: Exception) -> str:
    """The refusal in words; of the request, no more than the names of fields that we know."""
    if isinstance(error, RequestValidationError):
        names = sorted({_field(one["loc"], one["type"]) for one in error.errors()})
        return f"The request cannot be read: look at {', '.join(names)}."
    return str(error.detail if isinstance(error, HTTPException) else error)


def _field(place: tuple[str | int, ...], kind: str) -> str:
    if kind == "extra_forbidden" and len(place) == 2:
        return "a field that is not known here"
    return str(place[1]) if len(place) > 1 and isinstance(place[1], str) else str(place[0])


async def _sign_in(request: Request, error: Exception) -> Response:
    if is_api(request.url.path):
        headers = {"WWW-Authenticate": "Bearer"}
        return answer(401, "Nobody is signed in.", error, headers)
    wanted = request.url.path if request.method == "GET" else "/"
    return RedirectResponse(f"/sign-in?next={quote(wanted)}", 303)


def _refused(request: Request, error: Exception) -> Response:
    status = status_of(error)
    if is_api(request.url.path):
        return answer(status, sentence_of(error), error, getattr(error, "headers", None))
    # Who asks and what is live are in the store, too: without it, the page says only why.
    visitor = visitor_of(request) if status < 500 else None
    shown = page(
        request, "refused.html", visitor, status=status,
        sentence=sentence_of(error), code=status, stands=isinstance(error, NotPublished),
    )  # fmt: skip
    shown.headers.update(getattr(error, "headers", None) or {})
    return shown


async def _failed(request: Request, _: Exception) -> Response:
    return refusal(request.scope, 500, "Something failed inside; the server's log says what.")
