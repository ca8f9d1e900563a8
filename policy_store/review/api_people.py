"""Who you are here, your tokens, and, for admins, who may come in and as what."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, HTTPException

from policy_store.errors import UnknownAccount
from policy_store.people import Account
from policy_store.review import api_people_models as models
from policy_store.review.access import Visitor
from policy_store.review.api_access import Administers, InPerson, Inspects, Reads
from policy_store.review.api_errors import refusals
from policy_store.review.api_people_models import Name, TokenId
from policy_store.review.api_routes import Answered, Conflict, NotFound, TooLarge, UnlessSame
from policy_store.review.site import Here, Site

router = APIRouter(prefix="/api/v1", route_class=Answered, responses=refusals())


@router.get("/me", operation_id="getMe", tags=["self"], responses=UnlessSame)
def me(visitor: Reads) -> models.Me:
    """Who you are, and what you may do."""
    scopes = None if visitor.scopes is None else sorted(visitor.scopes)
    return models.Me(name=visitor.name, role=visitor.role, scopes=scopes, csrf=visitor.csrf or None)


@router.get("/tokens", operation_id="listTokens", tags=["self"], responses=UnlessSame)
def tokens(site: Here, visitor: Reads) -> models.Tokens:
    """Your tokens."""
    found = site.store.accounts.tokens_of(visitor.name)
    return models.Tokens.model_validate({"items": found})


@router.post(
    "/tokens", operation_id="makeToken", tags=["self"], status_code=201,
    responses=NotFound | TooLarge,
)  # fmt: skip
def make_token(site: Here, visitor: InPerson, body: models.TokenWanted) -> models.TokenMade:
    """Make a token; from a session only, and its secret is told this once."""
    lasts = timedelta(days=body.days)
    secret, token = site.store.accounts.make_token(
        visitor.name, body.name, body.scopes, lasts, by=visitor.name
    )
    return models.TokenMade.model_validate({"secret": secret, "token": token})


@router.delete("/tokens/{token}", operation_id="revokeToken", tags=["self"], responses=NotFound)
def revoke_token(site: Here, visitor: InPerson, token: TokenId) -> models.Token:
    """Make a token of yours useless at once; from a session only."""
    accounts = site.store.accounts
    if token not in {one.id for one in accounts.tokens_of(visitor.name)}:
        raise HTTPException(404, "You have no such token.")
    gone = accounts.revoke_token(token, by=visitor.name, account=visitor.name)
    return models.Token.model_validate(gone)


@router.get("/people", operation_id="listPeople", tags=["people"], responses=UnlessSame)
def people(site: Here, _: Inspects) -> models.Accounts:
    """Everybody who may sign in, or is kept out."""
    return models.Accounts.model_validate({"items": site.store.accounts.everybody()})


@router.post(
    "/people", operation_id="invite", tags=["people"], status_code=201,
    responses=NotFound | TooLarge,
)  # fmt: skip
def invite(site: Here, visitor: Administers, body: models.Invitation) -> models.Invited:
    """Make an account; its link is told this once."""
    account = site.store.accounts.add(body.name.strip(), body.role, by=visitor.name)
    return _with_link(site, visitor, account) if body.link else _without(account)


@router.patch("/people/{name}", operation_id="changePerson", tags=["people"], responses=Conflict)
def change(site: Here, visitor: Administers, name: Name, body: models.Changed) -> models.Account:
    """Give somebody another role, keep them out, or let them in again."""
    accounts = site.store.accounts
    if body.role is not None:
        accounts.set_role(name, body.role, by=visitor.name)
    if body.disabled is not None:
        (accounts.disable if body.disabled else accounts.enable)(name, by=visitor.name)
    return models.Account.model_validate(_known(site, name))


@router.post(
    "/people/{name}/link", operation_id="makeLink", tags=["people"], status_code=201,
    responses=NotFound,
)  # fmt: skip
def link(site: Here, visitor: Administers, name: Name) -> models.Invited:
    """Make a link that sets somebody's password, instead of any before it."""
    return _with_link(site, visitor, _known(site, name))


def _with_link(site: Site, visitor: Visitor, account: Account) -> models.Invited:
    secret = site.store.accounts.link_for(account.name, by=visitor.name)
    address = f"{site.settings.base_url}/link/{secret}"
    return models.Invited.model_validate({"account": _known(site, account.name), "link": address})


def _without(account: Account) -> models.Invited:
    return models.Invited.model_validate({"account": account, "link": None})


def _known(site: Site, name: str) -> Account:
    """Somebody, with whether a link waits for them."""
    found = [one for one in site.store.accounts.everybody() if one.name == name]
    if not found:
        raise UnknownAccount(f"Nobody here is called {name!r}.")
    return found[0]
