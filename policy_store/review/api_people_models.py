"""What the API says about people and their tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import Field

from policy_store.people import MAX_ACCOUNT_CHARS
from policy_store.records import Role, Scope
from policy_store.review.api_models import PLAIN, Asked, Said
from policy_store.tokens import MAX_DAYS, USUAL_DAYS

Name = Annotated[
    str, Path(min_length=1, max_length=MAX_ACCOUNT_CHARS, pattern=PLAIN, examples=["ada"])
]
TokenId = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="`id` in the list.")]
ROLE = Field(strict=False, description="Each may do what those before it may.")


class Me(Said):
    """Who is asking."""

    name: str
    role: Role
    scopes: list[Scope] | None = Field(description="Of a token; null for a session.")
    csrf: str | None = Field(description="A session's X-CSRF-Token; null for a token.")


class Token(Said):
    """A program's key; its secret is known to nobody but who made it."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


class Tokens(Said):
    """Tokens, newest first; those that are over, too."""

    items: list[Token]


class TokenWanted(Asked):
    """A token to make."""

    name: str = Field(min_length=1, max_length=80, pattern=PLAIN, examples=["nightly"])
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(
        min_length=1, max_length=3, description="Some of those that your role allows."
    )
    days: int = Field(USUAL_DAYS, ge=1, le=MAX_DAYS, description="How long it lasts.")


class TokenMade(Said):
    """A new token, with its secret, this once."""

    secret: str
    token: Token


class Account(Said):
    """Somebody who may sign in."""

    name: str
    role: Role
    created_at: datetime
    has_password: bool
    identity: str | None = Field(description="As an identity provider knows them.")
    disabled: bool
    invited: bool = Field(description="A link was made for them that nobody has used yet.")


class Accounts(Said):
    """Everybody, by name."""

    items: list[Account]


class Invitation(Asked):
    """Somebody to let in."""

    name: str = Field(
        min_length=1, max_length=MAX_ACCOUNT_CHARS, pattern=PLAIN, examples=["ada"],
        description="Letters and digits of one alphabet, between them any of . @ + ' _ - space.",
    )  # fmt: skip
    role: Annotated[Role, ROLE]
    link: bool = Field(True, description="Make a link that sets a password; not for a provider's.")


class Invited(Said):
    """An account with its link, this once."""

    account: Account
    link: str | None


class Changed(Asked):
    """What is to change about somebody; what is left out stays."""

    role: Annotated[Role | None, ROLE] = None
    disabled: bool | None = Field(None, description="Whether they are kept out.")
