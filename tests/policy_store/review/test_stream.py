"""Live updates: what is told, to whom, how often the store is asked, and how streams end."""

import asyncio
import contextlib
import socket
import threading
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import uvicorn

from policy_store.errors import StoreUnavailable
from policy_store.records import HostReport, Role
from policy_store.review import create_app
from policy_store.review.limits import TooMany
from policy_store.review.stream import MOST_EACH, Watch, changed, mark_of, told

FAST_S = 0.01


class Counting:
    """A store that counts how often it is asked; it fails as often as `fails` says."""

    def __init__(self, store, fails=0):
        self.store, self.asked, self.fails = store, 0, fails

    def pulse(self):
        self.asked += 1
        if self.asked <= self.fails:
            raise StoreUnavailable("The disk is full.")
        return self.store.pulse()


async def until(stream, start):
    async with asyncio.timeout(20):
        async for text in stream:
            if text.startswith(start):
                return text
    raise AssertionError(f"the stream ended without {start!r}")


def always():
    return True


async def test_a_change_is_told_by_its_topics(store, proposed):
    watch = Watch(store, FAST_S)
    with watch.listener("ada"):
        stream = told(watch, mark_of(store.pulse()), always)
        await anext(stream)
        await asyncio.to_thread(proposed)
        assert '{"changed": ["audit"]}' in await until(stream, "id:")
        report = HostReport("h", "default", 0, None, datetime.now(UTC))
        await asyncio.to_thread(store.report_host, report)
        assert '{"changed": ["hosts"]}' in await until(stream, "id:")


async def test_who_comes_back_is_told_what_was_missed_and_nothing_else(store, proposed):
    before = mark_of(store.pulse())
    proposed()
    watch = Watch(store, FAST_S)
    with watch.listener("ada"):
        missed = await until(told(watch, before, always), "id:")
        assert f"id: {mark_of(store.pulse())}\n" in missed
        fresh = told(watch, mark_of(store.pulse()), always, beat_every_s=FAST_S)
        assert [await anext(fresh) for _ in range(2)][1] == ": still here\n\n"


async def test_one_look_serves_all_and_nobody_listening_none(store):
    counting = Counting(store)
    watch = Watch(counting, every_s=60)
    with contextlib.ExitStack() as listeners:
        for name in ("ada", "ben", "cyd"):
            listeners.enter_context(watch.listener(name))
            await until(told(watch, "", always), "id:")
        assert counting.asked == 1
    await asyncio.sleep(0)
    assert watch._looking is None


async def test_a_store_that_fails_for_a_while_ends_nothing(store):
    watch = Watch(Counting(store, fails=3), FAST_S)
    with watch.listener("ada"):
        assert await until(told(watch, "", always), "id:")


async def test_a_stream_ends_with_its_session(store):
    watch = Watch(store, FAST_S)
    answers = iter([True, False])
    with watch.listener("ada"):
        stream = told(watch, "", lambda: next(answers), beat_every_s=FAST_S)
        assert await until(stream, "event: over")
        assert [text async for text in stream] == []


async def test_nobody_has_too_many_streams(store):
    watch = Watch(store, 60)
    with contextlib.ExitStack() as listeners:
        for _ in range(MOST_EACH):
            listeners.enter_context(watch.listener("ada"))
        with pytest.raises(TooMany):
            listeners.enter_context(watch.listener("ada"))
        listeners.enter_context(watch.listener("ben"))
    with watch.listener("ada"):
        pass


def test_marks_of_others_count_as_never_seen():
    assert changed("1-2-3", "1-2-3") == []
    for strange in ("", "x", "1-2-3-4", "é"):
        assert changed(strange, "1-2-3") == ["audit", "hosts", "runs"]


def test_strangers_are_told_nothing(reviewing):
    assert reviewing.browser.get("/events", follow_redirects=False).status_code == 303


def test_a_real_server_tells_and_ends_its_streams_when_it_stops(reviewing, measured):
    reviewing.as_("vic", Role.VIEWER)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = replace(reviewing.site.settings, base_url=base)
        app = create_app(replace(reviewing.site, settings=settings))
        app.state.watch = Watch(reviewing.site.store, FAST_S)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        serving.start()
        try:
            with urllib.request.urlopen(f"{base}/events", timeout=20) as stream:
                assert stream.headers["content-type"].startswith("text/event-stream")
                while not stream.readline().startswith(b"id:"):
                    pass
                measured()
                while b"audit" not in stream.readline():
                    pass
                server.should_exit = True
                app.state.watch.stop()
                rest = stream.read()
        finally:
            server.should_exit = True
            serving.join(20)
    assert b"over" not in rest
    assert not serving.is_alive()
