"""What the API's routes share: answers that are not sent twice, and what they refuse."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

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
