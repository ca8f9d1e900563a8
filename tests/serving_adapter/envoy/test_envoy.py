"""The endpoint picker behind a real Envoy: bodies, refusals, faults, and swaps under load."""

import asyncio
from functools import partial

import pytest
from aiohttp import web

pytest.importorskip("grpc", reason="needs the envoy extra")
pytest.importorskip("envoy._bin", reason="needs the real Envoy: run make test-envoy")

from serving_adapter.activation import prepare_policy
from serving_adapter.admission import Admission
from serving_adapter.decision import BUILT_IN_DIGEST
from serving_adapter.emulation.decision_audit import audit
from serving_adapter.emulation.load import LoadRequest, replay
from serving_adapter.emulation.swap_load import Publisher, finished_by, swap_under_load, to_file
from serving_adapter.request_log import RequestOutcome
from serving_adapter.safety.ejection import EjectionKind

from .conftest import filters_of

SHIPPED = ("envoy", "envoy-original-dst")
LOAD = [LoadRequest(0.1 * n, 20 + n % 7, 4 + n % 9, session=n % 11) for n in range(400)]


def full_duplex(config: dict) -> None:
    """The shipped configuration with the protocol's own body mode."""
    mode = filters_of(config)[0]["typed_config"]["processing_mode"]
    for name in ("request_body_mode", "response_body_mode"):
        mode[name] = "FULL_DUPLEX_STREAMED"
    for name in ("request_trailer_mode", "response_trailer_mode"):
        mode[name] = "SEND"


def as_shipped(_: dict) -> None:
    """No change."""


@pytest.fixture(params=["buffered", "full duplex", "original dst"])
def ways(request, scene):
    """Builds each way in which Envoy may be set up."""
    if request.param == "original dst":
        return partial(scene, "envoy-original-dst", fallbacks=0)
    return partial(scene, tweak=full_duplex if request.param == "full duplex" else as_shipped)


@pytest.fixture
async def served(ways):
    """Each way, with policies of one word."""
    return await ways()


async def test_the_policy_decides_and_the_answer_says_so(served, word_digest):
    await served.host.swap("last", 3)
    raw = b'{ "model":"tiny", "prompt":[1,2],  "max_tokens": 5, "unknown": "\xc3\xa9" }'
    for _ in range(3):
        async with served.client.post(served.url + "/v1/completions", data=raw) as answer:
            assert answer.status == 200
            assert (await answer.json())["usage"]["completion_tokens"] == 5
            named = [answer.headers[f"X-Evolver-{n}"] for n in ("Sequence", "Policy", "Instance")]
            assert named == ["3", word_digest("last"), "2"]
    async with served.ask(stream=True, stream_options={"include_usage": True}) as answer:
        text = await answer.text()
    assert text.count("data:") == 6
    async with served.client.get(served.url + "/v1/models") as answer:
        assert (await answer.json())["data"][0]["id"] == "tiny"
    records = await served.recorded(5)
    assert [one.outcome for one in records] == [RequestOutcome.OK] * 5
    assert [one.output_tokens for one in records] == [5, 5, 5, 4, 0]
    assert [one.instance_id for one in records[:4]] == [2] * 4
    assert all(engine["queued_requests"] == engine["running_requests"] == 0
               for engine in map(served.host.table.row, range(3)))  # fmt: skip


async def test_a_large_body_arrives_as_it_was_sent(served):
    prompt = "0123456789" * 12_000
    async with served.ask(prompt=prompt) as answer:
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["usage"]["prompt_tokens"] == 30_000


async def test_refusals_reach_the_client(served):
    async with served.client.post(served.url + "/v1/completions", data=b"no json") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "BadRequestError"
    await served.host.swap("reject", 1)
    async with served.ask() as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert (await answer.json())["error"]["type"] == "rate_limit_error"
    for engine in served.engines:
        await engine.kill()
    async with asyncio.timeout(10):
        while served.picker.engines.open_count():
            await asyncio.sleep(0.01)
    async with served.ask() as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (await answer.json())["error"]["code"] == 503


def subset_from_header(config: dict) -> None:
    """Envoy says which engines may be picked, here from what a client asked for."""
    rule = {
        "header": "x-subset",
        "on_header_present": {
            "metadata_namespace": "envoy.lb.subset_hint",
            "key": "x-gateway-destination-endpoint-subset",
        },
    }
    kind = "envoy.extensions.filters.http.header_to_metadata.v3.Config"
    config_of = {"@type": f"type.googleapis.com/{kind}", "request_rules": [rule]}
    name = "envoy.filters.http.header_to_metadata"
    filters_of(config).insert(0, {"name": name, "typed_config": config_of})


async def test_a_subset_is_respected(scene):
    behind = await scene(tweak=subset_from_header)
    await behind.host.swap("first", 1)
    last = behind.engines[2].url.removeprefix("http://")
    async with behind.ask(headers={"x-subset": last}) as answer:
        assert (answer.status, answer.headers["X-Evolver-Instance"]) == (200, "2")
    async with behind.ask(headers={"x-subset": "10.0.0.1:1"}) as answer:
        assert answer.status == 503


@pytest.mark.parametrize("name", SHIPPED)
async def test_a_client_cannot_choose_the_engine(scene, name):
    async def reached(_: web.Request) -> web.Response:
        return web.Response(text="reached")

    other = web.Application()
    other.router.add_post("/v1/completions", reached)
    behind = await scene(name, fallbacks=0)
    elsewhere = await type(behind.engines[0])(lambda: other).start()
    try:
        address = elsewhere.url.removeprefix("http://")
        headers = {"x-gateway-destination-endpoint": address}
        async with behind.ask(headers=headers) as answer:
            assert answer.status == 200
            assert "reached" not in await answer.text()
        await behind.stop_picker()
        async with behind.ask(headers=headers) as answer:
            assert "reached" not in await answer.text()
    finally:
        await elsewhere.kill()


@pytest.mark.parametrize("tweak", [as_shipped, full_duplex])
async def test_a_dead_engine_costs_no_request(scene, tweak):
    """Envoy goes down the picker's list; the picker then knows, and asks no more."""
    behind = await scene(tweak=tweak, scrape_s=60.0)
    await behind.host.swap("first", 1)
    await behind.engines[0].kill()
    async with behind.ask() as answer:
        assert (answer.status, answer.headers["X-Evolver-Policy"]) == (200, BUILT_IN_DIGEST)
        assert answer.headers["X-Evolver-Instance"] in ("1", "2")
        await answer.read()  # or it was left in the middle
    (record,) = await behind.recorded(1)
    assert (record.outcome, record.attempts) == (RequestOutcome.OK, 2)
    async with asyncio.timeout(10):
        while behind.host.table.is_open(0):
            await asyncio.sleep(0.005)
    async with behind.ask() as answer:
        assert answer.headers["X-Evolver-Instance"] == "1"


async def test_an_engine_that_fails_or_breaks_off_before_its_first_byte_costs_no_request(
    scene, new_emulator
):
    async def fail(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "broken"}}, status=500)

    async def die(request: web.Request) -> web.Response:
        request.transport.abort()
        return web.Response()

    def broken(answer):
        app = web.Application()
        app.router.add_post("/v1/completions", answer)
        return app

    apps = [lambda: broken(fail), lambda: broken(die), lambda: new_emulator().application()]
    behind = await scene(apps=apps)
    await behind.host.swap("first", 1)
    for _ in range(5):
        async with behind.ask() as answer:
            assert answer.status == 200
    assert {one.instance_id for one in await behind.recorded(5)} == {2}


@pytest.mark.parametrize(("tweak", "without"), [(as_shipped, 200), (full_duplex, 500)])
async def test_the_picker_dies_and_comes_back(scene, tweak, without):
    """Without it Envoy decides, or nobody; answers that have begun are finished in both cases."""
    behind = await scene(tweak=tweak)
    async with behind.ask(stream=True, max_tokens=200) as answer:
        assert answer.headers["X-Evolver-Sequence"] == "0"
        await behind.stop_picker()
        assert "[DONE]" in await answer.text()
    for _ in range(5):
        async with behind.ask() as answer:
            assert answer.status == without
            assert "X-Evolver-Sequence" not in answer.headers
    await behind.start_picker()
    async with asyncio.timeout(20):
        while True:
            async with behind.ask() as answer:
                if "X-Evolver-Sequence" in answer.headers:
                    break
                assert answer.status == without
            await asyncio.sleep(0.05)


async def test_laws_8_and_9_swaps_under_load_lose_nothing_and_every_decision_is_approved(
    ways, signing_key, tmp_path
):
    """A swap every 50 ms through signed files, one policy in three faulty only live."""
    publisher = Publisher(signing_key)
    behind = await ways(
        prepare=partial(prepare_policy, engine="interpreted"),
        admission=Admission(publisher.trusted, state=tmp_path / "state"),
    )
    path = tmp_path / "active.json"
    following = asyncio.create_task(behind.host.follow(path, poll_s=0.005))
    load = replay(LOAD, behind.url, model="tiny", time_scale=10.0, max_wall_s=60.0)
    report = await swap_under_load(load, publisher, to_file(path, signing_key))
    following.cancel()
    records = await behind.recorded(len(LOAD))
    done = await finished_by([engine.url for engine in behind.engines])
    verdict = audit(behind.log.decisions, report.snapshots, report.served, done)
    assert verdict.violations == ()
    assert {one.outcome for one in records} == {RequestOutcome.OK}
    assert verdict.decisions > len(LOAD)  # some were held and asked for again
    assert verdict.sequences > 2
    assert behind.host.metrics.ejections(EjectionKind.ERROR) > 0
