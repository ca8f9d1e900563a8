"""The approval rules over the API: what each says, what it says of a policy, and changing them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from policy_store.review.api_access import Administers, Reads
from policy_store.review.api_errors import refusals
from policy_store.review.api_models import PLAIN, Asked, Digits, Note, Said
from policy_store.review.api_routes import Answered, Conflict, NotFound, TooLarge, UnlessSame
from policy_store.review.site import Here
from policy_store.rule_application import judged
from policy_store.rule_book import InstalledRule
from policy_store.rule_text import EXAMPLE, MAX_CHARS, sentence_of

router = APIRouter(
    prefix="/api/v1", tags=["rules"], route_class=Answered, responses=refusals()
)  # fmt: skip
Name = Annotated[str, Path(min_length=1, max_length=80, pattern=PLAIN)]


class Rule(Said):
    """An approval rule on record."""

    name: str
    text: str = Field(description="As somebody wrote it.")
    sentence: str = Field(description="What it does, in words; empty when it cannot be read.")
    problem: str = Field(description="Why it cannot be read any more; empty when it can.")
    installed_by: str
    installed_at: datetime
    removed_by: str | None
    removed_at: datetime | None


class Rules(Said):
    """Rules that apply, in the order in which they are asked, and those that did once."""

    installed: list[Rule]
    removed: list[Rule]


class Condition(Said):
    """One thing that has to hold."""

    name: str
    holds: bool
    reason: str


class Judgement(Said):
    """What a rule says about a policy."""

    rule: str
    fires: bool
    conditions: list[Condition]


class Judgements(Said):
    """What each installed rule says about a policy now; nothing is decided."""

    items: list[Judgement]


class RuleWanted(Asked):
    """A rule to install."""

    text: str = Field(min_length=1, max_length=MAX_CHARS, examples=[EXAMPLE])
    note: Note


class Reason(Asked):
    """Why a rule is removed."""

    note: Note


@router.get("/rules", operation_id="listRules", responses=UnlessSame)
def rules(site: Here, _: Reads) -> Rules:
    """Every rule."""
    book = site.store.rules
    return Rules(
        installed=[_told(one) for one in book.installed()],
        removed=[_told(one) for one in book.removed()],
    )


@router.post("/rules", operation_id="installRule", status_code=201, responses=Conflict | TooLarge)
def install(site: Here, visitor: Administers, body: RuleWanted) -> Rule:
    """Let a rule apply to what is measured from now on."""
    return _told(site.store.rules.install(body.text, visitor.name, body.note))


@router.post("/rules/{name}/remove", operation_id="removeRule", responses=Conflict | TooLarge)
def remove(site: Here, visitor: Administers, name: Name, body: Reason) -> Rule:
    """Let a rule apply no more; it stays on record."""
    return _told(site.store.rules.remove(name, visitor.name, body.note))


@router.get(
    "/policies/{policy}/judgements", operation_id="judgePolicy", responses=UnlessSame | NotFound
)
def judgements(site: Here, _: Reads, policy: Digits) -> Judgements:
    """What each rule says about it, condition by condition."""
    found = judged(site.store, site.settings.deployment, site.store.resolve(policy))
    return Judgements.model_validate({"items": found})


def _told(rule: InstalledRule) -> Rule:
    said = sentence_of(rule.rule) if rule.rule else ""
    facts = {name: getattr(rule, name) for name in Rule.model_fields if name != "sentence"}
    return Rule(sentence=said, **facts)
