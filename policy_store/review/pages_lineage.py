"""Who was made from whom, and how a policy came about, ancestor by ancestor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from policy_store.records import PolicyVersion
from policy_store.review.access import Viewer
from policy_store.review.comparison import sentence_of
from policy_store.review.family_tree import tree_of
from policy_store.review.glance import Glance, glances
from policy_store.review.rendering import page
from policy_store.review.site import Here, Site
from policy_store.store import PolicyStore

router = APIRouter(include_in_schema=False)

RELATIVES = 60  # of each direction: more is no picture any more
TOLD = 40  # ancestors in words
NOT_TOLD = "One of the two is no policy of this version, so the change cannot be told."


@dataclass(frozen=True, slots=True)
class Step:
    """One ancestor on the way to a policy.

    Attributes:
        change: what became of its first parent in it, in sentences; empty without a parent.
    """

    glance: Glance
    change: str


@router.get("/lineage")
def lineage(
    request: Request,
    site: Here,
    visitor: Viewer,
    policy: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """The family of a policy; without one, of what is active, else of what came last."""
    asked = policy.strip() or _somebody(site)
    if asked is None:
        return page(request, "lineage.html", visitor, family=None)
    family = site.store.family(asked, most=RELATIVES)
    line = family.main_line[-TOLD:]
    lines = glances(site.store, tuple(family.versions.values()))
    return page(
        request, "lineage.html", visitor,
        family=family, root=family.versions[family.root], tree=tree_of(family),
        steps=_steps(site.store, line, {one.version.digest: one for one in lines}),
        left_out=len(family.main_line) - len(line) or bool(line[0].parents),
        gains={one.version.digest: one.said.gain for one in lines if one.said.gain},
    )  # fmt: skip


def _somebody(site: Site) -> str | None:
    newest = site.store.list_policies(limit=1)
    active = site.store.slot(deployment=site.settings.deployment).digest
    return active or (newest[0].digest if newest else None)


def _steps(
    store: PolicyStore, line: Sequence[PolicyVersion], known: dict[str, Glance]
) -> list[Step]:
    parents = (None, *line)
    return [
        Step(known[one.digest], _change(store, parent, one) if parent else "")
        for parent, one in zip(parents, line, strict=False)
    ]


def _change(store: PolicyStore, parent: PolicyVersion, child: PolicyVersion) -> str:
    old, new = store.sources_to_diff(parent.digest, child.digest)
    said = sentence_of(old.text, new.text, parent.parameters, child.parameters)
    return said or NOT_TOLD
