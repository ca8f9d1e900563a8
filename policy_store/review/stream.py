"""Live updates: one watch over the store for all browsers, told to each as server-sent events.

An event says what has changed, never what to: the browser asks for its page again, as whoever it is
signed in as. A stream ends with its session, at shutdown, and when a browser has too many.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from policy_store.errors import StoreError
from policy_store.records import Pulse
from policy_store.review.access import Viewer, visitor_of
from policy_store.review.limits import TooMany
from policy_store.store import PolicyStore

router = APIRouter(include_in_schema=False)
_log = logging.getLogger("evolver.review")

LOOK_EVERY_S, BEAT_EVERY_S, RETRY_MS = 2.0, 15.0, 5000
MOST_EACH, MOST = 8, 256  # streams of one visitor, and of all
TOPICS = ("audit", "hosts", "runs")


def mark_of(pulse: Pulse) -> str:
    """A pulse as a page and a browser carry it: one part for each topic."""
    hosts = 0 if pulse.hosts is None else int(pulse.hosts.timestamp() * 1e6)
    return f"{pulse.audit}-{hosts}-{zlib.crc32(repr(pulse.runs).encode())}"


def changed(seen: str, now: str) -> list[str]:
    """The topics in which two marks differ; all of them when the first is none of ours."""
    before, after = seen.split("-"), now.split("-")
    if len(before) != len(after):
        return list(TOPICS)
    return [topic for topic, a, b in zip(TOPICS, before, after, strict=True) if a != b]


class Watch:
    """Looks at the store while anybody listens, once for all of them."""

    def __init__(self, store: PolicyStore, every_s: float = LOOK_EVERY_S) -> None:
        self._store, self._every_s = store, every_s
        self._listeners: Counter[str] = Counter()
        self._looking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.mark = ""
        self.stopped = False

    @contextmanager
    def listener(self, name: str) -> Iterator[None]:
        """Count somebody as listening, from within the event loop.

        Raises:
            TooMany: they have too many streams, or there are too many in all.
        """
        if self._listeners[name] >= MOST_EACH or self._listeners.total() >= MOST:
            raise TooMany(60)
        self._listeners[name] += 1
        if self._looking is None:
            self._loop = asyncio.get_running_loop()
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self._listeners[name] -= 1
            self._listeners = +self._listeners
            if not self._listeners and self._looking is not None:
                self._looking.cancel()
                self._looking, self.mark = None, ""

    async def news(self, patience_s: float) -> None:
        """Wait until something has changed, or for so long."""
        news = self._news
        try:
            async with asyncio.timeout(patience_s):
                await news.wait()
        except TimeoutError:
            return

    def stop(self) -> None:
        """End every stream, since the server is about to; from any thread."""
        self.stopped = True
        if self._listeners and self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _look(self) -> None:
        while True:
            try:
                mark = mark_of(await to_thread.run_sync(self._store.pulse))
            except StoreError as error:  # pages say so themselves; the next look may work
                _log.warning("live updates pause: %s", error)
            else:
                if mark != self.mark:
                    self.mark = mark
                    self._tell()
            await asyncio.sleep(self._every_s)


async def told(
    watch: Watch, seen: str, still_in: Callable[[], bool], beat_every_s: float = BEAT_EVERY_S
) -> AsyncIterator[str]:
    """The text of one stream.

    Args:
        seen: mark of what the browser shows.
        still_in: asked at each beat whether the session goes on.
    """
    yield f"retry: {RETRY_MS}\n\n"
    beat_at = time.monotonic() + beat_every_s
    while not watch.stopped:
        if watch.mark and watch.mark != seen:
            topics = changed(seen, watch.mark)
            seen = watch.mark
            yield f"id: {seen}\ndata: {json.dumps({'changed': topics})}\n\n"
        await watch.news(max(beat_at - time.monotonic(), 0.0))
        if time.monotonic() >= beat_at:
            beat_at = time.monotonic() + beat_every_s
            if not await to_thread.run_sync(still_in):
                yield "event: over\ndata: {}\n\n"
                return
            yield ": still here\n\n"


@router.get("/events")
async def events(
    request: Request,
    visitor: Viewer,
    seen: Annotated[str, Query(max_length=80)] = "",
    last_event_id: Annotated[str, Header(max_length=80)] = "",
) -> Response:
    """Tells a browser when to ask for its page again."""
    watch: Watch = request.app.state.watch

    def still_in() -> bool:
        try:
            now = visitor_of(request)
        except StoreError:
            return True  # it cannot be told; the next beat asks again
        return now is not None and now.name == visitor.name

    return Stream(watch, visitor.name, told(watch, last_event_id or seen, still_in))


class Stream(StreamingResponse):
    """An event stream that counts as long as it is sent, however that ends."""

    media_type = "text/event-stream"

    def __init__(self, watch: Watch, name: str, text: AsyncIterator[str]) -> None:
        super().__init__(text, headers={"X-Accel-Buffering": "no"})
        self._watch, self._name = watch, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; refused before it begins when there are too many."""
        with self._watch.listener(self._name):
            await super().__call__(scope, receive, send)
