"""What every page may use: the store, the settings, who may come in, and how hosts are told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from policy_store.errors import NotPublished, StoreError
from policy_store.review.access import Access, Visitor
from policy_store.review.actions import Order, perform
from policy_store.review.limits import Limits
from policy_store.review.oidc import Provider
from policy_store.review.settings import Settings
from policy_store.store import PolicyStore
from sandbox.report import Report

if TYPE_CHECKING:
    from policy_store.review.last_hours import Recent

_log = logging.getLogger("evolver.review")


@dataclass(frozen=True, slots=True)
class Site:
    """One review page; the parts that know of search and signing keys are handed in.

    Attributes:
        access: ways to tell who is asking; the first that knows decides.
        publish: writes the signed snapshot after a decision that changed what hosts run; called
            again, it writes the same.
        story: a run in full, by id; None where runs cannot be told.
        recent: what the gateway recorded last, read anew each time, None while there is nothing;
            None where no log is known. See `last_hours.recent_of`.
        snapshot: the signed file of a deployment, as published; None where there is none.
        provider: signs people in for us; None without one.
        limits: how often somebody may try.
    """

    store: PolicyStore
    settings: Settings
    access: Sequence[Access]
    publish: Callable[[], None]
    story: Callable[[str], Report] | None = None
    recent: Callable[[], Recent | None] | None = None
    snapshot: Callable[[str], bytes | None] = lambda _: None
    provider: Provider | None = None
    limits: Limits = field(default_factory=Limits)


def take(site: Site, policy: str | None, order: Order, visitor: Visitor) -> str:
    """Take a decision and have what hosts follow say it; a sentence of what happened.

    Raises:
        NotPublished: it cannot be written; what was decided stands all the same.
        NotAllowed, StoreError: as `actions.perform`, and nothing was decided.
    """
    said = perform(site.store, site.settings, policy, order, visitor)
    try:
        site.publish()
    except (StoreError, OSError) as error:
        _log.error("a decision stands, and hosts were not told: %s", error)
        raise NotPublished(
            f"{said} That is decided and in the audit log, but hosts were not told: {error} Mend "
            "that, then run `evolver policy publish`, or start this page again. Do not decide a "
            "second time."
        ) from error
    return said


def site_of(request: Request) -> Site:
    """The site that a request came to."""
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(site_of)]
