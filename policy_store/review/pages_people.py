"""Who may come in: invitations, roles, and keeping people out; for admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from policy_store.records import Role
from policy_store.review.access import Admin, Visitor
from policy_store.review.guards import Administering
from policy_store.review.rendering import afterwards, page
from policy_store.review.site import Here, Site

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Form()]


@router.get("/people")
def people(request: Request, site: Here, visitor: Admin) -> Response:
    """Everybody, and what an admin may change about them."""
    return _page(request, site, visitor)


@router.post("/people")
def invite(
    request: Request,
    site: Here,
    visitor: Administering,
    name: Text = "",
    role: Annotated[Role, Form()] = Role.VIEWER,
    link: Annotated[bool, Form()] = False,
) -> Response:
    """Make an account, and show its link this once."""
    account = site.store.accounts.add(name.strip(), role, by=visitor.name)
    if not link:
        said = f"{account.name} is a {role.value}, for the proxy or provider to sign in."
        return afterwards("/people", said, site.settings)
    return _with_link(request, site, visitor, account.name)


@router.post("/people/role")
def set_role(
    site: Here, visitor: Administering, role: Annotated[Role, Form()], name: Text = ""
) -> Response:
    """Let somebody do more or less."""
    account = site.store.accounts.set_role(name, role, by=visitor.name)
    said = f"{account.name} is a {account.role.value} from now on."
    # Who has just stopped being an admin may not look at this page any more.
    address = "/account" if name == visitor.name and role is not Role.ADMIN else "/people"
    return afterwards(address, said, site.settings)


@router.post("/people/disable")
def disable(site: Here, visitor: Administering, name: Text = "") -> Response:
    """Keep somebody out."""
    account = site.store.accounts.disable(name, by=visitor.name)
    return afterwards("/people", f"{account.name} is kept out.", site.settings)


@router.post("/people/enable")
def enable(site: Here, visitor: Administering, name: Text = "") -> Response:
    """Let somebody in again."""
    account = site.store.accounts.enable(name, by=visitor.name)
    return afterwards("/people", f"{account.name} may sign in again.", site.settings)


@router.post("/people/link")
def link(request: Request, site: Here, visitor: Administering, name: Text = "") -> Response:
    """Make a link that sets somebody's password, and show it this once."""
    return _with_link(request, site, visitor, name)


def _with_link(request: Request, site: Site, visitor: Visitor, name: str) -> Response:
    secret = site.store.accounts.link_for(name, by=visitor.name)
    address = f"{site.settings.base_url}/link/{secret}"
    return _page(request, site, visitor, link=address, link_for=name)


def _page(
    request: Request, site: Site, visitor: Visitor, *, link: str = "", link_for: str = ""
) -> Response:
    everybody = site.store.accounts.everybody()
    return page(
        request, "people.html", visitor, people=everybody, roles=tuple(Role), link=link,
        link_for=link_for,
    )  # fmt: skip
