"""Who may use a route of the API: a bearer token with its scope, or a browser's session."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer

from policy_store.records import Role, Scope
from policy_store.review.access import (
    SCOPE_OF,
    NotAllowed,
    SignInNeeded,
    Visitor,
    needs,
    visitor_of,
)
from policy_store.review.guards import checked_token

bearer = HTTPBearer(
    scheme_name="token",
    description="A token that somebody made on /account. Its scopes say what it may be used for: "
    "`read`, `decide`, `administer`, `host`; never more than its owner may do.",
    auto_error=False,
)
session = APIKeyCookie(
    name="evolver-session",
    scheme_name="session",
    description="A browser that is signed in. Requests that change something also carry the "
    "`csrf` of GET /api/v1/me as X-CSRF-Token.",
    auto_error=False,
)
Csrf = Annotated[
    str,
    Header(alias="X-CSRF-Token", description="For a session's requests; a token needs none."),
]


def _reading(role: Role) -> Callable[..., Visitor]:
    allowed = needs(role)

    token = Security(bearer, scopes=[SCOPE_OF[role].value])

    def check(
        request: Request,
        _token: Annotated[object, token],
        _cookie: Annotated[object, Security(session)],
    ) -> Visitor:
        return allowed(request)

    return check


def _changing(role: Role) -> Callable[..., Visitor]:
    def check(visitor: Annotated[Visitor, Depends(_reading(role))], csrf: Csrf = "") -> Visitor:
        if visitor.scopes is None:
            checked_token(visitor, csrf)
        return visitor

    return check


def _in_person(visitor: Annotated[Visitor, Depends(_changing(Role.VIEWER))]) -> Visitor:
    """A token that could make tokens would outlive its own end.

    Raises:
        NotAllowed: a token asks.
    """
    if visitor.scopes is not None:
        raise NotAllowed("Tokens make and end no tokens: sign in, and do it on /account.")
    return visitor


def _host(
    request: Request, _token: Annotated[object, Security(bearer, scopes=[Scope.HOST.value])]
) -> Visitor:
    """A serving host; no person needs what it comes for.

    Raises:
        SignInNeeded: nobody is known.
        NotAllowed: no token of a host.
    """
    visitor = visitor_of(request)
    if visitor is None:
        raise SignInNeeded
    if not visitor.is_host:
        raise NotAllowed("This takes a token of scope `host`, which an admin makes for a host.")
    return visitor


Reads = Annotated[Visitor, Depends(_reading(Role.VIEWER))]
"""May read: every role, scope `read`."""
Decides = Annotated[Visitor, Depends(_changing(Role.REVIEWER))]
"""May decide: reviewers and admins, scope `decide`."""
Inspects = Annotated[Visitor, Depends(_reading(Role.ADMIN))]
"""May see what only admins see: scope `administer`."""
Administers = Annotated[Visitor, Depends(_changing(Role.ADMIN))]
"""May change who may do what: admins, scope `administer`."""
InPerson = Annotated[Visitor, Depends(_in_person)]
"""A person who changes what is their own, from a session; no token may."""
Hosts = Annotated[Visitor, Depends(_host)]
"""A serving host: scope `host`; no person and no other token."""
