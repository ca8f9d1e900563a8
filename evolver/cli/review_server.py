"""Runs the review page under uvicorn: bounds, an end in time, a log without secrets."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
import sys
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

PATIENCE_S = 2  # for answers on their way, at the end; streams have none
HEAD_S = 10.0  # for a request's first line and headers, however they trickle
AT_ONCE = 600  # connections; 256 of them may be streams
_SECRET = re.compile(r"^(/link|/welcome)/.*")


def serve(app: FastAPI, listening: socket.socket, *, quiet: bool) -> None:
    """Serve until SIGTERM or SIGINT; the socket is closed then."""
    import uvicorn

    class Server(uvicorn.Server):
        """Ends with the signal that it was sent, and not by it: that is no failure."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Listen to the signals while serving."""
            ending = (signal.SIGTERM, signal.SIGINT)
            before = {each: signal.signal(each, self.handle_exit) for each in ending}
            try:
                yield
            finally:
                for each, handler in before.items():
                    signal.signal(each, handler)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """End live updates first: nothing else does, and every answer is waited for."""
            app.state.watch.stop()
            await super().shutdown(sockets)

    _log_to_stderr(quiet)
    # Whose word about addresses counts is asked where it matters, not here.
    config = uvicorn.Config(
        app, log_config=None, access_log=not quiet, proxy_headers=False, server_header=False,
        ws="none", timeout_graceful_shutdown=PATIENCE_S, limit_concurrency=AT_ONCE,
        http=impatient(HEAD_S),
    )  # fmt: skip
    Server(config).run(sockets=[listening])


def impatient(head_s: float) -> type[asyncio.Protocol]:
    """HTTP/1.1 as uvicorn speaks it, for clients that say what they want within some seconds.

    uvicorn bounds how long a connection says nothing after an answer, and nothing else.
    """
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        """Closes a connection whose request does not get on."""

        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self._wait()
            else:
                self._stop()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self._late is None:
                self._late = self.loop.call_later(head_s, self.transport.close)

        def _stop(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Impatient


class WithoutSecrets(logging.Filter):
    """Takes queries and links' secrets out of what is logged of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record's address; always true."""
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, address, version, status = record.args
            path = _SECRET.sub(r"\1/...", str(address).partition("?")[0])
            record.args = (client, method, path, version, status)
        return True


def is_failure(record: logging.LogRecord) -> bool:
    """Whether the server tells of more than that it cut streams off at its end."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, CancelledError) and not record.getMessage().startswith("Cancel ")


def _log_to_stderr(quiet: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name, level in (("uvicorn.error", logging.WARNING), ("uvicorn.access", logging.INFO)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING if quiet else level)
    logging.getLogger("uvicorn.access").filters = [WithoutSecrets()]
    logging.getLogger("uvicorn.error").filters = [is_failure]
