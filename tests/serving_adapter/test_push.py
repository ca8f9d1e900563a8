"""Snapshots that come over a network: believed for their signature, kept for every process."""

import asyncio
import io
from dataclasses import replace

import pytest
from aiohttp import web

from policy_store.statement import file_text
from serving_adapter.control_plane import ControlPlane, dealing, read_token
from serving_adapter.errors import AdapterError
from serving_adapter.inbox import SnapshotInbox
from serving_adapter.safety.kill_switch import admin_application

TOKEN = "t" * 43
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def sent(snapshot) -> bytes:
    return file_text(snapshot).encode("ascii")


@pytest.fixture
def pushing(new_host, new_admission, serve, client, tmp_path):
    """A host with its admin listener; pushes bytes to it, and says what came of it."""

    async def start():
        admission = new_admission(state=tmp_path)
        host = new_host(admission=admission, state=tmp_path)
        inbox = SnapshotInbox(tmp_path, admission)
        url = await serve(admin_application(host, TOKEN, inbox))

        async def push(content, headers=HEADERS):
            address = url + "/admin/snapshot"
            async with client.put(address, data=io.BytesIO(content), headers=headers) as answer:
                return answer.status, await answer.json()

        return host, push

    return start


async def test_what_is_pushed_goes_live_and_says_so(pushing, snapshot_of, word_digest, tmp_path):
    host, push = await pushing()
    status, said = await push(sent(snapshot_of(3, "first")))
    assert (status, said["did"], said["sequence"]) == (200, "went live", 3)
    assert said["policy"] == word_digest("first") == host.live.digest
    assert (await push(sent(snapshot_of(3, "first"))))[1]["did"] == "runs already"
    assert (tmp_path / "snapshot.json").read_bytes() == sent(snapshot_of(3, "first"))


async def test_the_other_processes_and_the_next_start_follow_what_was_pushed(
    pushing, new_host, new_admission, snapshot_of, tmp_path
):
    _, push = await pushing()
    other = new_host(admission=new_admission(state=tmp_path), state=tmp_path)
    following = asyncio.create_task(other.follow(tmp_path / "active.json", 0.005))
    await push(sent(snapshot_of(3, "first")))
    async with asyncio.timeout(5):
        while other.live.sequence != 3:
            await asyncio.sleep(0.005)
    following.cancel()


async def test_what_does_not_pass_is_refused_and_kept_nowhere(pushing, snapshot_of, tmp_path):
    host, push = await pushing()
    await push(sent(snapshot_of(3, "first")))
    good = snapshot_of(4, "last")
    for content, status, kind in (
        (sent(snapshot_of(2, "last")), 409, "SnapshotStale"),
        (sent(replace(good, signature=None)), 403, "SnapshotUnsigned"),
        (sent(replace(good, sequence=9)), 403, "SnapshotForged"),
        (sent(snapshot_of(4, "unusable")), 422, "PolicyUnusable"),
        (b"{", 403, "SnapshotDamaged"),
        (b"x" * (2 << 20), 413, "invalid_request_error"),
    ):
        answered, said = await push(content)
        assert (answered, said["error"]["type"]) == (status, kind)
    assert (await push(sent(good), {}))[0] == 403
    assert host.live.sequence == 3
    assert (tmp_path / "snapshot.json").read_bytes() == sent(snapshot_of(3, "first"))


class Store:
    """Answers as the review page does, and counts."""

    def __init__(self, content: bytes) -> None:
        self.content, self.tag, self.told, self.reports = content, '"1"', [], []

    async def snapshot(self, request: web.Request) -> web.Response:
        self.told.append(request.headers.get("Authorization"))
        if request.headers.get("If-None-Match") == self.tag:
            self.told[-1] = "same"
            return web.Response(status=304)
        return web.Response(body=self.content, headers={"ETag": self.tag})

    async def report(self, request: web.Request) -> web.Response:
        self.reports.append(await request.json())
        return web.Response(status=204)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/snapshot", self.snapshot)
        app.router.add_post("/report", self.report)
        return app


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_one_process_asks_the_store_and_all_follow(
    new_host, new_admission, serve, snapshot_of, tmp_path
):
    store = Store(sent(snapshot_of(3, "first")))
    url = await serve(store.application())
    admission = new_admission(state=tmp_path)
    inbox = SnapshotInbox(tmp_path, admission)
    plane = ControlPlane(
        snapshot_url=url + "/snapshot", report_url=url + "/report", token="evt_x", every_s=0.02
    )
    host = new_host(admission=admission, state=tmp_path)
    following = asyncio.create_task(host.follow(tmp_path / "active.json", 0.005))
    async with host.running(), dealing(plane, inbox, tmp_path, "default"):
        async with dealing(plane, inbox, tmp_path, "default"):  # of another process
            await until(lambda: host.live.sequence == 3 and "same" in store.told)
        for content, tag in ((b"{", '"2"'), (b"x" * (2 << 20), '"3"'),
                             (sent(replace(snapshot_of(5, "last"), signature=None)), '"4"')):
            store.content, store.tag = content, tag
            asked = len(store.told)
            await until(lambda asked=asked: len(store.told) > asked + 1)
        assert host.live.sequence == 3
        store.content, store.tag = sent(snapshot_of(6, "last")), '"5"'
        await until(lambda: host.live.sequence == 6)
        await until(lambda: store.reports and store.reports[-1]["sequence"] == 6)
    following.cancel()
    assert store.told[0] == "Bearer evt_x"
    assert store.reports[-1]["facts"]["processes"] == 1


async def test_a_store_that_is_gone_changes_nothing(new_admission, tmp_path):
    inbox = SnapshotInbox(tmp_path, new_admission(state=tmp_path))
    plane = ControlPlane(snapshot_url="http://127.0.0.1:9/snapshot", every_s=0.01)
    async with dealing(plane, inbox, tmp_path, "default"):
        await asyncio.sleep(0.05)
    assert not inbox.path.exists()


@pytest.mark.parametrize("text", ["", "two words", "é", "x" * 600])
def test_a_file_without_a_token_is_refused(tmp_path, text):
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(AdapterError):
        read_token(tmp_path / "token")
    with pytest.raises(AdapterError):
        read_token(tmp_path / "none")


async def test_a_defect_while_dealing_is_said_and_does_not_end_it(
    new_admission, serve, snapshot_of, tmp_path, monkeypatch, caplog
):
    store = Store(sent(snapshot_of(3, "first")))
    url = await serve(store.application())
    inbox = SnapshotInbox(tmp_path, new_admission(state=tmp_path))

    def broken(_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(inbox, "put", broken)
    plane = ControlPlane(snapshot_url=url + "/snapshot", token="evt_x", every_s=0.01)
    async with dealing(plane, inbox, tmp_path, "default"):
        await until(lambda: len(store.told) > 2)
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text
