"""API keys: nobody without one, the tenant is the key's own, and no engine learns the key."""

import asyncio

import pytest
from aiohttp import web

from serving_adapter.errors import AdapterError
from serving_adapter.gateway import access
from serving_adapter.gateway.access import ClientKeys, new_client_key
from serving_adapter.gateway.headers import EngineHeaders


@pytest.fixture
def key_file(tmp_path):
    """A file with keys of two tenants, and the keys."""
    (mine, line), (other, other_line) = new_client_key("search"), new_client_key("ads")
    path = tmp_path / "clients.keys"
    path.write_text("# tenants\n" + line + other_line)
    path.chmod(0o600)
    return path, mine, other


async def echo_headers(request: web.Request) -> web.Response:
    return web.json_response(dict(request.headers))


def engine() -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/v1/{rest:.*}", echo_headers)
    return app


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_without_a_known_key_nobody_comes_in_and_health_stays_open(serve, stand, key_file):
    gate = await stand(await serve(engine()), parts={"keys": ClientKeys(key_file[0])})
    for headers in ({}, bearer("sk-guess"), {"Authorization": f"Basic {key_file[1]}"}):
        async with gate.client.get(gate.url + "/v1/models", headers=headers) as answer:
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert (await answer.json())["error"]["type"] == "invalid_request_error"
    async with gate.client.get(gate.url + "/healthz") as alive:
        assert alive.status == 200


async def test_the_tenant_is_the_keys_and_the_key_stays_here(serve, stand, key_file):
    path, mine, other = key_file
    gate = await stand(await serve(engine()), parts={"keys": ClientKeys(path)})
    url, claimed = gate.url + "/v1/completions", {"X-Tenant-Id": "ads", "X-Session-Id": "1"}
    for key in (mine, other):
        body = {"prompt": "x", "user": "ads"}
        async with gate.client.post(url, json=body, headers=bearer(key) | claimed) as answer:
            seen = await answer.json()
            assert "Authorization" not in seen
            assert seen["X-Tenant-Id"] == ("search" if key == mine else "ads")
    first, second = await gate.recorded(2)
    assert first.tenant != second.tenant
    assert first.session != second.session  # two tenants may call their sessions the same


async def test_engines_get_the_clients_key_or_their_own_if_the_operator_says_so(
    serve, stand, key_file
):
    for headers, told in (
        (EngineHeaders(forward_keys=True), key_file[1]),
        (EngineHeaders(engine_key="engine-side"), "engine-side"),
    ):
        parts = {"keys": ClientKeys(key_file[0]), "headers": headers}
        gate = await stand(await serve(engine()), parts=parts)
        url = gate.url + "/v1/models"
        async with gate.client.get(url, headers=bearer(key_file[1])) as answer:
            assert (await answer.json())["Authorization"] == f"Bearer {told}"


async def test_without_keys_of_ours_a_clients_own_passes(serve, stand):
    gate = await stand(await serve(engine()))
    async with gate.client.get(gate.url + "/v1/models", headers=bearer("theirs")) as answer:
        assert (await answer.json())["Authorization"] == "Bearer theirs"


async def test_a_key_that_is_removed_is_refused_and_a_damaged_file_changes_nothing(
    key_file, monkeypatch
):
    path, mine, other = key_file
    monkeypatch.setattr(access, "POLL_S", 0.005)
    keys = ClientKeys(path)
    following = asyncio.create_task(keys.follow())
    async with asyncio.timeout(10):
        path.write_text(path.read_text().replace("ads ", "# ads "))
        while keys.tenant(f"Bearer {other}") is not None:
            await asyncio.sleep(0.005)
        path.write_text("no key at all\n")
        await asyncio.sleep(0.05)
    following.cancel()
    assert keys.tenant(f"Bearer {mine}") == "search"


@pytest.mark.parametrize("text", ["search", "search abc", "a b c", "x" * 100 + " " + "0" * 64])
def test_a_file_that_holds_something_else_is_refused(tmp_path, text):
    path = tmp_path / "clients.keys"
    path.write_text(text + "\n")
    path.chmod(0o600)
    with pytest.raises(AdapterError, match="Line 1"):
        ClientKeys(path)


def test_a_file_that_others_may_write_is_refused(key_file):
    key_file[0].chmod(0o666)
    with pytest.raises(AdapterError, match="chmod"):
        ClientKeys(key_file[0])


def test_a_tenants_name_cannot_smuggle_a_line_in():
    with pytest.raises(AdapterError, match="tenant"):
        new_client_key("a\nb")


async def test_origins_are_believed_of_trusted_proxies_only(serve, stand):
    from ipaddress import ip_network

    claimed = {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"}
    for trusted, seen_for in (((), "127.0.0.1"), ("127.0.0.0/8", "203.0.113.9, 127.0.0.1")):
        networks = (ip_network(trusted),) if trusted else ()
        gate = await stand(
            await serve(engine()), parts={"headers": EngineHeaders(trusted=networks)}
        )
        async with gate.client.get(gate.url + "/v1/models", headers=claimed) as answer:
            seen = await answer.json()
        assert (seen["X-Forwarded-For"], "X-Real-IP" in seen) == (seen_for, bool(trusted))
        assert seen["X-Forwarded-Proto"] == "http"


async def test_a_client_cannot_speak_in_our_name(serve, stand):
    gate = await stand(await serve(engine()))
    headers = {"X-Evolver-Sequence": "99", "x-evolver-policy": "a" * 64, "Proxy-Connection": "x",
               "X-Mark": "mine"}  # fmt: skip
    url = gate.url + "/v1/completions"
    async with gate.client.post(url, json={}, headers=headers) as answer:
        seen = {name.lower() for name in await answer.json()}
        assert int(answer.headers["X-Evolver-Sequence"]) != 99
    assert "x-mark" in seen
    assert not seen & {"x-evolver-sequence", "x-evolver-policy", "proxy-connection"}
