"""What the API's routes share: answers that are not sent twice, and how pages go on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from fastapi import Request, Response
from fastapi.routing import APIRoute

from policy_store.review.api_errors import refusals

UnlessSame: dict[int | str, dict[str, Any]] = {
    304: {"description": "As the ETag in If-None-Match says, it is the same."}
}
NotFound = refusals(404)
Conflict = refusals(404, 408, 409, 413)
TooLarge = refusals(408, 413)


class Answered(APIRoute):
    """A route whose answers to GET carry an ETag: what a program knows is not sent again."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, with the ETag added to what it answers."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            response = await handler(request)
            if request.method != "GET" or response.status_code != 200:
                return response
            tag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
            kept = {"ETag": tag, "Cache-Control": "private, no-cache"}
            if tag in request.headers.get("if-none-match", ""):
                return Response(status_code=304, headers=kept)
            response.headers.update(kept)
            return response

        return answered


class Numbered(Protocol):
    """Something that has a number in a row of others."""

    @property
    def sequence(self) -> int:
        """Its number."""
        ...


def next_number(found: Sequence[Numbered], limit: int) -> int | None:
    """Where the next page goes on; None when this one is the last."""
    return found[-1].sequence if len(found) == limit else None
