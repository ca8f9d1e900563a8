"""What every request and answer goes through: headers, where a form came from, its token."""

from __future__ import annotations

import hmac
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Form
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from policy_store.review.access import SAFE, Admin, NotAllowed, Reviewer, Viewer, Visitor
from policy_store.review.bodies import refusal

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Guards:
    """Strict headers on every answer; a form that another site sent is refused."""

    def __init__(self, app: ASGIApp, base_url: str) -> None:
        self._app = app
        self._origin = base_url
        self._headers = {
            "Content-Security-Policy": CONTENT_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if urlsplit(base_url).scheme == "https":
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check where a request came from, pass it on, add the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        app = self._app
        if self._from_elsewhere(scope["method"], Headers(scope=scope)):
            app = refusal(scope, 403, "This request came from another site.")
        await app(scope, receive, with_headers)

    def _from_elsewhere(self, method: str, headers: Headers) -> bool:
        """Another site may link to a page, and neither send it a form nor load things from it: a
        stream that somebody else's page opens with our cookie would take one of few places."""
        foreign = headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if method in SAFE:
            return foreign and headers.get("sec-fetch-mode", "navigate") != "navigate"
        return foreign or headers.get("origin") not in (None, self._origin)


def checked_token(visitor: Visitor, csrf: str) -> None:
    """Pass a form that this session was given.

    Raises:
        NotAllowed: it was not.
    """
    if not visitor.csrf or not hmac.compare_digest(visitor.csrf.encode(), csrf.encode()):
        raise NotAllowed("This form is not from your session: open the page again, then send it.")


def _posting(visitor: Viewer, csrf: Annotated[str, Form()] = "") -> Visitor:
    checked_token(visitor, csrf)
    return visitor


def _deciding(visitor: Reviewer, csrf: Annotated[str, Form()] = "") -> Visitor:
    checked_token(visitor, csrf)
    return visitor


def _administering(visitor: Admin, csrf: Annotated[str, Form()] = "") -> Visitor:
    checked_token(visitor, csrf)
    return visitor


Posting = Annotated[Visitor, Depends(_posting)]
"""Who sent a form of their own session."""
Deciding = Annotated[Visitor, Depends(_deciding)]
"""The same, who may decide."""
Administering = Annotated[Visitor, Depends(_administering)]
"""The same, who may say who comes in."""
