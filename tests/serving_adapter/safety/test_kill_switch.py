"""The kill switch's own doors: a secret token, the right thread, and no way around either."""

import asyncio
import os

import pytest

from serving_adapter.errors import AdapterError
from serving_adapter.safety.kill_switch import admin_application, admin_token, killed_by_signal


def test_the_token_is_made_once_and_for_its_owner_only(tmp_path):
    path = tmp_path / "state" / "admin.token"
    token = admin_token(path)
    assert (admin_token(path), len(token) > 40, path.stat().st_mode & 0o777) == (token, True, 0o600)


@pytest.mark.parametrize(("text", "mode"), [("x" * 43, 0o644), ("short", 0o600), ("é" * 43, 0o600)])
def test_a_token_that_is_no_secret_is_refused(tmp_path, text, mode):
    path = tmp_path / "admin.token"
    path.write_text(text, encoding="utf-8")
    os.chmod(path, mode)
    with pytest.raises(AdapterError):
        admin_token(path)


@pytest.mark.parametrize("given", [None, "Bearer ", "Bearer wrong", "token", "Bearer \u00e9"])
async def test_without_the_token_nothing_is_said_or_done(new_host, serve, client, given):
    host = new_host()
    url = await serve(admin_application(host, "t" * 43))
    headers = {} if given is None else {"Authorization": given}
    for method, path in (("POST", "/admin/kill"), ("GET", "/admin/status")):
        async with client.request(method, url + path, headers=headers) as answer:
            assert answer.status == 403
    assert host.slot.off is None


async def test_looking_does_not_kill(new_host, serve, client):
    host = new_host()
    url = await serve(admin_application(host, "t" * 43))
    headers = {"Authorization": "Bearer " + "t" * 43}
    async with client.get(url + "/admin/kill", headers=headers) as answer:
        assert answer.status == 405
    async with client.get(url + "/admin/status", headers=headers) as answer:
        assert (await answer.json())["off"] is None


async def test_a_signal_is_arranged_in_the_main_thread_only(new_host):
    def arrange():
        with killed_by_signal(new_host()):
            pass

    with pytest.raises(AdapterError, match="main thread"):
        await asyncio.to_thread(arrange)


def test_a_pipe_is_no_token_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "token", 0o600)
    with pytest.raises(AdapterError, match="cannot be used"):
        admin_token(tmp_path / "token")
