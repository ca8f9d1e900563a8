"""Who is asking, and what they may do: visitors, roles and scopes as dependencies of the routes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request

from policy_store.records import Role, Scope

SAFE = ("GET", "HEAD", "OPTIONS")
RANK = {Role.VIEWER: 0, Role.REVIEWER: 1, Role.ADMIN: 2}


SCOPE_OF = {Role.VIEWER: Scope.READ, Role.REVIEWER: Scope.DECIDE, Role.ADMIN: Scope.ADMINISTER}
"""The scope that a token needs where a person needs this role."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in.

    Attributes:
        csrf: what forms of this session carry; empty for a token, which browsers never send
            unasked.
        scopes: of a token; None for a session, which has no limit but its role.
    """

    name: str
    role: Role
    csrf: str = ""
    scopes: frozenset[Scope] | None = None

    def may(self, role: Role) -> bool:
        """Whether both the role and the scopes of a token reach so far."""
        scoped = self.scopes is None or SCOPE_OF[role] in self.scopes
        return scoped and RANK[self.role] >= RANK[role]

    @property
    def is_host(self) -> bool:
        """Whether this is the token of a serving host, whose owner may still give it out."""
        scoped = self.scopes is not None and Scope.HOST in self.scopes
        return scoped and self.role is Role.ADMIN


class Access(Protocol):
    """One way to tell who is asking."""

    def visitor(self, request: Request) -> Visitor | None:
        """Who sent this request; None when it cannot be told. Never raises for bad credentials."""
        ...


class SignInNeeded(Exception):
    """Nobody is signed in: pages lead to the sign-in page, the API answers 401."""


class NotAllowed(Exception):
    """Who is signed in may not do this: 403, with the sentence shown."""


def visitor_of(request: Request) -> Visitor | None:
    """Who is asking, when anybody can tell; for pages that do without."""
    for access in request.app.state.site.access:
        visitor: Visitor | None = access.visitor(request)
        if visitor is not None:
            return visitor
    return None


def needs(role: Role) -> Callable[[Request], Visitor]:
    """A dependency that lets only those through who may act in that role."""

    def check(request: Request) -> Visitor:
        visitor = visitor_of(request)
        if visitor is None:
            raise SignInNeeded
        if not visitor.may(role):
            raise NotAllowed(_lacks(visitor, role))
        if request.method not in SAFE:
            site = request.app.state.site
            site.limits.posted(visitor.name, site.settings.posts_per_minute)
        return visitor

    return check


def _lacks(visitor: Visitor, role: Role) -> str:
    if RANK[visitor.role] >= RANK[role]:
        return f"This token has no scope `{SCOPE_OF[role].value}`: make one that has it."
    return (
        f"This needs the role {role.value}, and {visitor.name} has the role {visitor.role.value}: "
        "ask an admin for it."
    )


Viewer = Annotated[Visitor, Depends(needs(Role.VIEWER))]
Reviewer = Annotated[Visitor, Depends(needs(Role.REVIEWER))]
Admin = Annotated[Visitor, Depends(needs(Role.ADMIN))]
