"""Sign-in through an identity provider: going there, and coming back once."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.exceptions import HTTPException

from policy_store.errors import SignInRefused
from policy_store.review.limits import block_of
from policy_store.review.local_access import cookie, drop_cookie, set_cookie
from policy_store.review.oidc import BACK, Flow, Provider, account_of
from policy_store.review.proxy import address_of
from policy_store.review.settings import Settings
from policy_store.review.sign_in import entered, local_path
from policy_store.review.site import Here, Site

FLOW, FLOW_LASTS_S = "provider", 600
TRIES_PER_MINUTE = 30

router = APIRouter(include_in_schema=False)


@router.get("/sign-in/provider")
def leave(request: Request, site: Here, next: str = "/") -> Response:
    """Lead to the provider."""
    provider = _provider(request, site)
    url, flow = provider.begin(local_path(next))
    answer = RedirectResponse(url, 303)
    text = _serializer(site.settings).dumps(asdict(flow))
    set_cookie(answer, site.settings, FLOW, str(text), FLOW_LASTS_S)
    return answer


@router.get(BACK)
def come_back(
    request: Request, site: Here, code: str = "", state: str = "", error: str = "", iss: str = ""
) -> Response:
    """Sign in whom the provider vouches for."""
    provider = _provider(request, site)
    try:
        kept = cookie(request, site.settings, FLOW)
        flow = Flow(**_serializer(site.settings).loads(kept, max_age=FLOW_LASTS_S))
    except BadSignature:
        raise SignInRefused(
            "That sign-in was not begun in this browser, or too long ago: begin it again."
        ) from None
    if error:
        raise SignInRefused(f"{provider.name} did not sign you in: begin again, or ask an admin.")
    claims = provider.finish(flow, code=code, state=state, issuer=iss)
    account = account_of(claims, provider.trust, site.store.accounts)
    answer = entered(request, site, account, "provider", flow.next)
    drop_cookie(answer, site.settings, FLOW)
    return answer


def _provider(request: Request, site: Site) -> Provider:
    if site.provider is None:
        raise HTTPException(404, "There is no identity provider here: sign in with a password.")
    who = f"provider {block_of(address_of(request, site.settings))}"
    site.limits.posted(who, min(TRIES_PER_MINUTE, site.settings.posts_per_minute))
    return site.provider


def _serializer(settings: Settings) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(settings.secret, salt="provider")
