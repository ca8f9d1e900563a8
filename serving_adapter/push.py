r"""A snapshot that is pushed to a host: `PUT /admin/snapshot` on its loopback admin listener.

    curl -T active.json -H "Authorization: Bearer $(cat STATE/admin.token)" \
         http://127.0.0.1:PORT/admin/snapshot

It goes live in this process before the answer, and reaches the others as the file that they follow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web

from policy_store.errors import SnapshotStale, StoreError
from policy_store.snapshot import MAX_BYTES
from serving_adapter.errors import AdapterError, PolicyUnusable, StateUnusable
from serving_adapter.host import PolicyHost
from serving_adapter.inbox import SnapshotInbox
from serving_adapter.web_server import openai_error

SNAPSHOT_PATH = "/admin/snapshot"
BODY_S = 10.0

_log = logging.getLogger("evolver.host")


def add_push(
    app: web.Application,
    host: PolicyHost,
    inbox: SnapshotInbox,
    check: Callable[[web.Request], None],
) -> None:
    """Take pushed snapshots on an admin application; `check` says who may."""

    async def push(request: web.Request) -> web.Response:
        check(request)
        content = await _body(request)
        try:
            return await _pushed(host, inbox, content)
        except (AdapterError, StoreError) as refusal:
            host.metrics.refused(type(refusal).__name__)
            _log.warning("a pushed snapshot was refused: %s", refusal)
            return openai_error(_status(refusal), str(refusal), type(refusal).__name__)

    app.router.add_put(SNAPSHOT_PATH, push)


async def _pushed(host: PolicyHost, inbox: SnapshotInbox, content: bytes) -> web.Response:
    """Live here first: what does not load here is not handed to the other processes."""
    snapshot = await asyncio.to_thread(inbox.check, content)
    changed = await host.apply(snapshot)
    await asyncio.to_thread(inbox.put, content)
    live = host.live
    body = {
        "did": "went live" if changed else "runs already",
        "sequence": live.sequence,
        "policy": live.digest,
        "named": snapshot.digest,
        "kept_out": [one.digest for one in host.slot.latched],
    }
    return web.json_response(body)


async def _body(request: web.Request) -> bytes:
    """The whole body, counted while it comes: a length that is told may be a lie, or missing."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > MAX_BYTES:
                    raise web.HTTPRequestEntityTooLarge(max_size=MAX_BYTES, actual_size=size)
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason=f"The snapshot took over {BODY_S:g} s.") from None
    return b"".join(parts)


def _status(refusal: Exception) -> int:
    if isinstance(refusal, StateUnusable):
        return 500
    if isinstance(refusal, SnapshotStale):
        return 409
    return 422 if isinstance(refusal, PolicyUnusable) else 403
