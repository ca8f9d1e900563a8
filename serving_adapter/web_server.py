"""How the adapter serves HTTP: OpenAI error objects, and logs that quote no request."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

from serving_adapter.errors import BadBody, defect
from serving_adapter.openai_api import error_object

MAX_BODY_BYTES = 32 * 2**20
LOOPBACK = "127.0.0.1"

_log = logging.getLogger("evolver.http")


class WithoutRequestText(logging.Filter):
    """Keeps the kind of a server error and drops its details.

    aiohttp logs malformed requests with the offending bytes, in the message and in the traceback.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; always keep it."""
        error = record.exc_info[1] if record.exc_info else None
        kind = f" ({type(error).__name__})" if error else ""
        record.msg, record.args = f"a request failed in the server{kind}", ()
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def new_runner(
    app: web.Application, shutdown_timeout_s: float = 30.0, keepalive_timeout_s: float = 75.0
) -> web.AppRunner:
    """A server without access log, whose handlers are cancelled when their client goes."""
    quiet = logging.getLogger("evolver.http.server")
    if not quiet.filters:
        quiet.addFilter(WithoutRequestText())
    return web.AppRunner(
        app,
        access_log=None,
        logger=quiet,
        handler_cancellation=True,
        shutdown_timeout=shutdown_timeout_s,
        keepalive_timeout=keepalive_timeout_s,
    )


def bound_port(runner: web.AppRunner) -> int:
    """The TCP port of a runner's first site."""
    return int(runner.addresses[0][1])


def openai_error(
    status: int, message: str, kind: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error response as OpenAI clients expect it; `message` must not quote the request."""
    return web.Response(
        status=status,
        body=error_object(message, kind, status),
        content_type="application/json",
        headers=headers,
    )


@web.middleware
async def openai_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal and every failure as an OpenAI error object."""
    try:
        return await handler(request)
    except BadBody as refusal:
        return openai_error(400, str(refusal), "BadRequestError")
    except web.RequestPayloadError:
        return openai_error(400, "The body does not arrive as announced.", "BadRequestError")
    except web.HTTPException as refusal:
        return openai_error(refusal.status, refusal.reason, "invalid_request_error")
    except ConnectionResetError:
        raise
    except Exception as error:
        _log.error("%s", defect(error))
        return openai_error(500, "The server failed: see its log.", "InternalServerError")
