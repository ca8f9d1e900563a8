"""The approval rules: what each says, who installed it, what it did, and why it did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from policy_store.errors import RuleRefused
from policy_store.records import Role
from policy_store.review.access import Viewer, Visitor
from policy_store.review.guards import Administering
from policy_store.review.rendering import afterwards, page
from policy_store.review.site import Here, Site
from policy_store.rule_application import judged
from policy_store.rule_text import EXAMPLE, MAX_CHARS, read_rule, sentence_of

router = APIRouter(include_in_schema=False)
DEEDS = 5
# A browser sends line ends as two characters each.
Text = Annotated[str, Form(max_length=2 * MAX_CHARS)]
Note = Annotated[str, Form()]


@router.get("/rules")
def rules(
    request: Request,
    site: Here,
    visitor: Viewer,
    policy: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Every rule; with a policy, what each says about it."""
    facts: dict[str, object] = {"asked": "", "judgements": ()}
    if policy:
        digest = site.store.resolve(policy)
        facts = {
            "asked": digest,
            "judgements": judged(site.store, site.settings.deployment, digest),
        }
    return _page(request, site, visitor, facts)


@router.post("/rules/preview")
def preview(request: Request, site: Here, visitor: Administering, text: Text = "") -> Response:
    """What a text would mean as a rule; nothing is installed."""
    return _preview(request, site, visitor, _plain(text))


@router.post("/rules")
def install(
    request: Request, site: Here, visitor: Administering, text: Text = "", note: Note = ""
) -> Response:
    """Let a rule apply to what is measured from now on."""
    try:
        rule = site.store.rules.install(_plain(text), visitor.name, note)
    except RuleRefused:
        return _preview(request, site, visitor, _plain(text))
    return afterwards("/rules", f"Rule {rule.name} applies from now on.", site.settings)


@router.post("/rules/{name}/remove")
def remove(site: Here, visitor: Administering, name: str, note: Note = "") -> Response:
    """Let a rule apply no more."""
    rule = site.store.rules.remove(name, visitor.name, note)
    return afterwards("/rules", f"Rule {rule.name} applies no more.", site.settings)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _preview(request: Request, site: Site, visitor: Visitor, text: str) -> Response:
    facts: dict[str, object] = {"text": text}
    try:
        rule = read_rule(text)
        facts |= {"name": rule.name, "sentence": sentence_of(rule), "refused": ""}
    except RuleRefused as error:
        facts |= {"name": "", "sentence": "", "refused": str(error)}
    status = 422 if facts["refused"] else 200
    return _page(request, site, visitor, {"preview": facts}, status)


def _page(
    request: Request, site: Site, visitor: Visitor, facts: Mapping[str, object], status: int = 200
) -> Response:
    book = site.store.rules
    installed, removed = book.installed(), book.removed()
    shown = {
        "may_change": visitor.may(Role.ADMIN),
        "installed": installed,
        "removed": removed,
        "said_by": {one.id: sentence_of(one.rule) for one in (*installed, *removed) if one.rule},
        "deeds": {one.name: book.deeds(one.name, DEEDS) for one in installed},
        "example": EXAMPLE,
        "most": MAX_CHARS,
        "preview": None,
        "asked": "",
        "judgements": (),
    }
    return page(request, "rules.html", visitor, status=status, **(shown | dict(facts)))
