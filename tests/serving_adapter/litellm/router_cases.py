"""Policies behind LiteLLM's Router, over emulated engines: swaps, failures, cooldowns."""

import asyncio
import os
import warnings
from functools import partial

import pytest
from aiohttp import web
from told_signals import rows_of, wrongly_told

from sandbox.signal_profiles import signal_profile
from serving_adapter.activation import prepare_policy
from serving_adapter.admission import Admission
from serving_adapter.decision import BUILT_IN_DIGEST
from serving_adapter.emulation.decision_audit import DecisionLog, audit
from serving_adapter.emulation.load import LoadRequest, Served
from serving_adapter.emulation.swap_load import (
    Publisher,
    finished_by,
    send_all,
    swap_under_load,
    to_host,
)
from serving_adapter.exposition import Registry
from serving_adapter.host import PolicyHost
from serving_adapter.instances import InstanceTable
from serving_adapter.outstanding import outstanding
from serving_adapter.request_log import RequestOutcome
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.limits import UNWATCHED_ARM

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network
# Its own modules warn when they are imported, and leave clients open when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    litellm = pytest.importorskip("litellm", reason="LiteLLM is an extra: install evolver[llm]")
    from serving_adapter.litellm_router import PolicyRouting

SECRET = "the quick brown fox"
LOAD = [LoadRequest(0.05 * index, 20 + index % 7, 4) for index in range(40)]


def failing(status=500):
    async def fail(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "broken"}}, status=status)

    app = web.Application()
    app.router.add_post("/v1/{rest:.*}", fail)
    return app


def failing_at_first(app, times):
    """An engine that answers 500 to its first requests."""
    left = [times]

    @web.middleware
    async def fail(request, handler):
        if request.method == "POST" and left[0] > 0:
            left[0] -= 1
            return web.json_response({"error": {"message": "broken"}}, status=500)
        return await handler(request)

    app.middlewares.append(fail)
    return app


class Stack:
    """A LiteLLM Router over engines, a policy host, and what was decided and recorded."""

    def __init__(
        self, prepare, urls, host=None, retry_wait_s=60.0, scrape_s=None, info=None, **options
    ):
        deployments = [
            {"model_name": "group", "model_info": {"id": f"engine-{place}", **(info or {})},
             "litellm_params": {"model": "openai/tiny", "api_base": f"{url}/v1", "api_key": "x"}}
            for place, url in enumerate(urls)
        ]  # fmt: skip
        options = {"num_retries": 2, "retry_after": 0, "allowed_fails": 1000, **options}
        self.router = litellm.Router(deployments, **options)
        self.registry, self.records, self.log = Registry(), [], DecisionLog("litellm")
        self.host = host or PolicyHost(InstanceTable(), prepare=prepare, limits=UNWATCHED_ARM)
        self.host.on_decision = self.log.add
        self.routing = PolicyRouting(
            self.router,
            self.host,
            registry=self.registry,
            on_request=self.records.append,
            retry_wait_s=retry_wait_s,
            scrape_s=scrape_s,
        )
        self.routing.install()

    async def ask(self, **fields):
        body = {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 4, **fields}
        return await self.router.acompletion("group", **body)

    async def recorded(self, count):
        """LiteLLM reports a request a while after it has answered."""
        async with asyncio.timeout(20):
            while len(self.records) < count:
                await asyncio.sleep(0.01)
        return self.records

    def engine_of(self, answer):
        return answer._hidden_params["model_id"]


@pytest.fixture
async def stack(new_emulator, serve):
    """Builds a router over emulated engines, some of them replaced by other applications."""
    built = []

    async def build(*engines, prepare=None, **options):
        apps = [one or new_emulator().application() for one in engines]
        urls = [await serve(app) for app in apps]
        made = Stack(prepare, urls, **options)
        made.urls = urls
        built.append(made)
        return made

    yield build
    for one in built:
        await one.routing.close()
        one.router.reset()


async def test_the_policy_picks_the_deployment_and_a_swap_takes_effect(stack, word_prepare):
    made = await stack(None, None, None, prepare=word_prepare)
    for sequence, word in enumerate(("first", "last"), 1):
        await made.host.swap(word, sequence)
        answers = [await made.ask() for _ in range(3)]
        expected = {"first": "engine-0", "last": "engine-2"}[word]
        assert {made.engine_of(one) for one in answers} == {expected}
    records = await made.recorded(6)
    assert {(one.outcome, one.output_tokens, one.usage) for one in records} == {
        (RequestOutcome.OK, 4, True)
    }
    assert [int(outstanding(made.host.table.row(n))) for n in range(3)] == [0] * 3


async def test_while_behind_no_policy_is_asked(stack, word_prepare, monkeypatch):
    made = await stack(None, None, prepare=word_prepare)
    await made.host.swap("last", 1)
    monkeypatch.setattr(PolicyHost, "behind", True)
    await made.ask()
    (record,) = await made.recorded(1)
    assert (record.digest, record.outcome) == (BUILT_IN_DIGEST, RequestOutcome.OK)
    monkeypatch.undo()
    assert made.engine_of(await made.ask()) == "engine-1"


async def test_a_stream_is_followed_to_its_end(stack, word_prepare):
    made = await stack(None, None, prepare=word_prepare)
    await made.host.swap("last", 1)
    answer = await made.ask(stream=True, stream_options={"include_usage": True})
    in_flight = int(outstanding(made.host.table.row(1)))
    async for _ in answer:
        pass
    (record,) = await made.recorded(1)
    assert (in_flight, record.stream, record.outcome) == (1, True, RequestOutcome.OK)
    assert 0 <= record.ttft_s <= record.e2e_s


@pytest.mark.parametrize(
    ("info", "inside"),
    [({"max_num_seqs": 1}, (1, 1)), ({}, (2, 0)), ({"max_num_seqs": "x"}, (2, 0))],
)
async def test_what_runs_is_told_from_what_waits_by_the_seats_of_a_deployment(
    stack, word_prepare, info, inside
):
    made = await stack(None, prepare=word_prepare, info=info)
    streams = [await made.ask(stream=True) for _ in range(2)]
    row = made.host.table.row(0)
    assert (row["running_requests"], row["queued_requests"]) == inside
    for stream in streams:
        async for _ in stream:
            pass
    await made.recorded(2)
    assert (row["running_requests"], row["queued_requests"], row["context_tokens"]) == (0, 0, 0)


async def test_a_failed_attempt_goes_elsewhere_under_the_version_it_began_with(
    stack, word_prepare
):
    swapping = web.Application()

    async def swap_and_fail(_: web.Request) -> web.Response:
        await made.host.swap("last", 2)
        return web.json_response({"error": {"message": "broken"}}, status=500)

    swapping.router.add_post("/v1/{rest:.*}", swap_and_fail)
    made = await stack(swapping, None, None, prepare=word_prepare)
    await made.host.swap("first", 1)
    answer = await made.ask()
    assert made.engine_of(answer) == "engine-1"
    (record,) = await made.recorded(1)
    assert (record.attempts, record.sequence, made.host.live.sequence) == (2, 1, 2)


async def test_deployments_in_cooldown_are_not_offered(stack, word_prepare):
    made = await stack(failing(429), None, prepare=word_prepare, allowed_fails=0, cooldown_time=60)
    await made.host.swap("first", 1)
    engines = [made.engine_of(await made.ask()) for _ in range(4)]
    assert set(engines) == {"engine-1"}
    records = await made.recorded(4)
    assert [one.attempts for one in records][1:] == [1, 1, 1]


async def test_a_strategy_that_was_dropped_decides_the_next_request_and_is_back(
    stack, word_prepare
):
    made = await stack(None, None, None, prepare=word_prepare)
    await made.host.swap("last", 1)
    for _ in range(3):
        made.router.routing_strategy_init("simple-shuffle", {})
        assert not made.routing.installed
        assert made.engine_of(await made.ask()) == "engine-2"
        assert made.routing.installed
    assert len(made.log.decisions) == 3


async def test_engines_of_ones_own_are_scraped_from_the_first_requests_on(stack, word_prepare):
    made = await stack(None, None, prepare=word_prepare, scrape_s=0.02)
    await asyncio.gather(*(made.ask() for _ in range(3)))
    async with asyncio.timeout(20):
        while min(made.host.table.row(number)["kv_capacity_tokens"] for number in range(2)) < 0:
            await asyncio.sleep(0.01)


async def test_a_refusal_is_a_429_at_once(stack, word_prepare):
    made = await stack(None, prepare=word_prepare)
    await made.host.swap("reject", 1)
    with pytest.raises(litellm.RateLimitError):
        await made.ask()
    assert [one.outcome for one in made.records] == [RequestOutcome.REJECTED]
    assert len(made.log.decisions) == 1


async def test_a_held_request_is_placed_when_the_hold_ends(stack, word_prepare):
    made = await stack(None, prepare=word_prepare)
    made.routing._holding._max_hold_s = 0.05
    await made.host.swap("hold", 1)
    assert made.engine_of(await made.ask()) == "engine-0"


async def test_what_is_cancelled_or_fails_for_good_leaves_no_count_behind(stack, word_prepare):
    hung = web.Application()
    hung.router.add_post("/v1/{rest:.*}", lambda _: asyncio.sleep(30))
    made = await stack(hung, prepare=word_prepare)
    asking = asyncio.create_task(made.ask())
    async with asyncio.timeout(10):
        while not len(made.routing.requests):
            await asyncio.sleep(0.005)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    options = {"prepare": word_prepare, "retry_wait_s": 0.0}
    broken = await stack(failing(), failing(), num_retries=1, **options)
    with pytest.raises(litellm.InternalServerError):
        await broken.ask()
    assert [one.outcome for one in await made.recorded(1)] == [RequestOutcome.ABANDONED]
    (failed,) = await broken.recorded(1)
    assert (failed.outcome, failed.attempts) == (RequestOutcome.ENGINE_ERROR, 2)
    for one in (made, broken):
        assert outstanding(one.host.table.row(0)) == 0


async def test_synchronous_calls_are_litellms_own(stack, word_prepare):
    made = await stack(None, None, prepare=word_prepare)
    answer = await asyncio.to_thread(
        made.router.completion, "group", [{"role": "user", "content": "x"}], max_tokens=2
    )
    assert answer.usage.completion_tokens == 2
    assert made.log.decisions == []
    assert 'own_choice_total{why="synchronous"} 1.0' in made.registry.render()


async def test_laws_8_and_9_under_a_swap_every_50_ms_with_failing_engines(
    stack, signing_key, new_emulator
):
    publisher = Publisher(signing_key)
    host = PolicyHost(
        InstanceTable(),
        prepare=partial(prepare_policy, engine="interpreted"),
        admission=Admission(publisher.trusted),
        limits=UNWATCHED_ARM,
    )
    flapping = failing_at_first(new_emulator().application(), 4)
    made = await stack(None, None, flapping, host=host)

    async def send(request):
        text = SECRET * (1 + request.prompt_tokens % 3)  # some policies fault at one length
        messages = [{"role": "user", "content": text}]
        answer = await made.ask(messages=messages, max_tokens=request.output_tokens)
        done = answer.usage.completion_tokens
        return Served(request, 200, done == request.output_tokens, 0.0, 0.0, done)

    served, sequences = [], set()
    while len(sequences) < 4 or host.metrics.ejections(EjectionKind.ERROR) < 1:
        assert len(served) < 20 * len(LOAD)  # a machine with other work may need some rounds
        made.router.routing_strategy_init("simple-shuffle", {})
        load = send_all(LOAD, send, time_scale=4.0, max_wall_s=60.0)
        served += (await swap_under_load(load, publisher, to_host(host))).served
        sequences = {one.sequence for one in made.log.decisions}
    records = await made.recorded(len(served))
    finished = await finished_by(made.urls)
    verdict = audit(made.log.decisions, publisher.snapshots, served, finished)
    assert verdict.violations == ()
    assert len(records) == len(served)
    assert any(one.attempts > 1 for one in records)
    assert SECRET not in repr(host.recent) + repr(records) + made.registry.render()


async def test_it_tells_a_policy_what_its_signal_profile_says(stack, word_prepare):
    """After two answers of a session, while a third streams."""
    made = await stack(None, prepare=word_prepare)
    await made.host.swap("first", 1)
    said = {"metadata": {"session_id": "one", "user_api_key_team_id": "ada"}}
    for count in (1, 2):
        await made.ask(**said)
        await made.recorded(count)
    streamed = await made.ask(**said, stream=True)
    await made.ask(**said)
    assert wrongly_told(signal_profile("litellm"), rows_of(made.host)) == []
    async for _ in streamed:
        pass
