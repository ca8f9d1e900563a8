"""Templates and the files they refer to: everything escaped, every address with its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from itsdangerous import BadSignature, URLSafeTimedSerializer
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from policy_store.errors import InvalidInput
from policy_store.records import Alias
from policy_store.review.access import Visitor
from policy_store.review.actions import rollback_offer
from policy_store.review.evidence_words import lasting
from policy_store.review.settings import Settings
from policy_store.review.site import site_of
from policy_store.review.situation import sealed, situation_of
from policy_store.review.stream import mark_of
from policy_store.review.visible import seen

ASSETS = {
    "review.css": "text/css", "review.js": "text/javascript",
    "policy.css": "text/css", "charts.js": "text/javascript",
    "explore.css": "text/css", "explore.js": "text/javascript",
}  # fmt: skip
SAID_LASTS_S = 600  # so that an old address tells nobody of it as of news
FOR_EVER = "public, max-age=31536000, immutable"


@cache
def environment() -> Environment:
    """The templates; an undefined name is an error, and every value is escaped."""
    made = Environment(
        loader=PackageLoader("policy_store.review", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["asset"] = address_of
    made.globals["the_time"] = lambda: datetime.now(UTC)
    made.filters["seen"] = seen
    made.filters["short"] = lambda digest: digest[:12] if digest else "built-in default"
    made.filters["moment"] = lambda at: at.strftime("%Y-%m-%d %H:%M:%S UTC")
    made.filters["ago"] = lambda at: ago((datetime.now(UTC) - at).total_seconds())
    made.filters["lasting"] = lasting
    return made


def ago(seconds: float) -> str:
    """How long since, or until, a moment: the largest unit says enough."""
    words = " ".join(lasting(abs(seconds)).split()[:2])
    return f"{words} ago" if seconds >= 0 else f"in {words}"


def page(
    request: Request, template: str, visitor: Visitor | None, *, status: int = 200, **facts: object
) -> Response:
    """A template with what every page shows: who is here, what is live, how to take it back."""
    settings = site_of(request).settings
    said = _heard(request.query_params.get("said", ""), settings)
    shared: dict[str, object] = {"visitor": visitor, "path": request.url.path, "said": said}
    if visitor is not None:
        shared |= _live(request, visitor)
    html = environment().get_template(template).render(shared | facts)
    return HTMLResponse(html, status)


def afterwards(address: str, said: str, settings: Settings) -> Response:
    """Lead to a page that says what was done; nobody else can make it say something."""
    text = URLSafeTimedSerializer(settings.secret, salt="said").dumps(said)
    return RedirectResponse(f"{address}?said={text}", 303)


def other_page(request: Request, **changed: str) -> str:
    """The same page with other parameters; empty ones go, as does what was said."""
    kept = {**request.query_params, "said": "", **changed}
    return f"{request.url.path}?{urlencode({name: one for name, one in kept.items() if one})}"


def _heard(text: str, settings: Settings) -> str:
    try:
        sealer = URLSafeTimedSerializer(settings.secret, salt="said")
        return str(sealer.loads(text, max_age=SAID_LASTS_S))
    except BadSignature:
        return ""


def _live(request: Request, visitor: Visitor) -> Mapping[str, object]:
    site = site_of(request)
    now = situation_of(site.store, site.settings.deployment)
    return {
        "live": now.holders[Alias.ACTIVE.value],
        "rollback": rollback_offer(now, visitor),
        "rollback_seen": sealed(now, site.settings),
        "waiting": site.store.waiting(),
        "pulse": mark_of(site.store.pulse()),
    }


@cache
def asset(name: str) -> tuple[bytes, str]:
    """The bytes of a file of ours, and the first digits of their digest.

    Raises:
        InvalidInput: there is no such file.
    """
    if name not in ASSETS:
        raise InvalidInput(f"There is no file {name!r} here.")
    content = files("policy_store.review").joinpath("static", name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:16]


def address_of(name: str) -> str:
    """Where a page finds a file; it changes with the file, so that browsers may keep it."""
    return f"/static/{asset(name)[1]}/{name}"
