"""The kill switch: three ways to stop every policy of a host, each enough alone.

    touch STATE/kill                                       a file
    kill -USR1 PID                                         a signal
    curl -X POST -H "Authorization: Bearer $(cat STATE/admin.token)" 127.0.0.1:PORT/admin/kill

None needs a store, a snapshot or one of the others. Within 100 ms the built-in default decides, in
all processes that share the state folder, for as long as the file is there; a person takes it away
with `evolver host enable everything`. The HTTP way answers on a loopback listener of its own, never
on the gateway's public one, and only to who can read the token file.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web

from policy_store.files import create_file, open_file
from serving_adapter.errors import AdapterError
from serving_adapter.host import PolicyHost
from serving_adapter.inbox import SnapshotInbox
from serving_adapter.push import add_push
from serving_adapter.web_server import openai_errors

KILL_PATH = "/admin/kill"
STATUS_PATH = "/admin/status"
TOKEN_BYTES = 32
MAX_ADMIN_BYTES = 1024

_log = logging.getLogger("evolver.host")


@contextlib.contextmanager
def killed_by_signal(host: PolicyHost, number: signal.Signals = signal.SIGUSR1) -> Iterator[None]:
    """Let a signal throw the switch, while entered; only the main thread can arrange it.

    Raises:
        AdapterError: called in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise AdapterError("Signals reach the main thread only: arrange the kill switch there.")
    before = signal.signal(number, lambda *_: host.slot.kill(f"signal {number.name}"))
    try:
        yield
    finally:
        signal.signal(number, before)


def admin_token(path: Path) -> str:
    """The token of the admin listener; a fresh one for the owner's eyes where there is none.

    Raises:
        AdapterError: the file is readable by others, is empty, or cannot be made.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            create_file(path, f"{secrets.token_urlsafe(TOKEN_BYTES)}\n".encode("ascii"), 0o600)
        with open_file(path) as file:
            private = os.fstat(file.fileno()).st_mode & 0o077 == 0
            token = file.read(MAX_ADMIN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AdapterError(
            f"The token file {path} cannot be used ({error}): remove it, and start again."
        ) from error
    if not private or len(token) < TOKEN_BYTES:
        raise AdapterError(f"The token file {path} is no secret: remove it, and start again.")
    return token


def admin_application(
    host: PolicyHost, token: str, inbox: SnapshotInbox | None = None
) -> web.Application:
    """The admin listener's application; serve it on a loopback address only.

    With an inbox it takes snapshots, too.
    """

    def check(request: web.Request) -> None:
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        peer = request.transport.get_extra_info("peername") if request.transport else None
        local = isinstance(peer, tuple) and ip_address(peer[0]).is_loopback
        if not local or not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise web.HTTPForbidden(reason="Give the token of this host.")

    async def kill(request: web.Request) -> web.Response:
        check(request)
        host.slot.kill("the admin listener")
        _log.error("kill switch: by the admin listener")
        return _status(host)

    async def status(request: web.Request) -> web.Response:
        check(request)
        return _status(host)

    app = web.Application(client_max_size=MAX_ADMIN_BYTES, middlewares=[openai_errors])
    app.router.add_post(KILL_PATH, kill)
    app.router.add_get(STATUS_PATH, status)
    if inbox is not None:
        add_push(app, host, inbox, check)
    return app


def _status(host: PolicyHost) -> web.Response:
    live, off = host.live, host.slot.off
    latched = [
        {"policy": one.digest, "kind": one.kind.value, "reason": one.reason}
        for one in host.slot.latched
    ]
    body = {
        "sequence": live.sequence,
        "policy": live.digest,
        "off": off.value if off else None,
        "enable_seq": host.slot.enable_seq,
        "latched": latched,
    }
    return web.json_response(body)
