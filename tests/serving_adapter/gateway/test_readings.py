"""What went through a gateway is what a planner beside it is shown."""

import asyncio
import math

import pytest
from aiohttp import web

from sandbox.cluster import parse_cluster
from serving_adapter.background import in_background
from serving_adapter.gateway.readings import DoorReadings
from serving_adapter.planning.window import WindowRows
from telemetry.engine_signals import EngineSignals

CLUSTER = """
model = "Llama-3.1-8B"
[[pool]]
gpu = "H100"
count = 2
"""


def window_of(rows, reading):
    kv_used = [one.kv_used for one in reading.replicas]
    rows.close(reading.sums, reading.now_s, (reading.queued_requests,), kv_used)
    return rows.window[0]


async def test_requests_streams_and_refusals_are_in_the_next_window(serve, stand, new_emulator):
    gate = await stand(await serve(new_emulator().application()))
    readings, rows = DoorReadings(gate.gateway.visits, parse_cluster(CLUSTER)), WindowRows()
    async with asyncio.timeout(10.0):
        while math.isnan(readings.read().replicas[0].kv_used):
            await asyncio.sleep(0.005)
    window_of(rows, readings.read())
    async with gate.client.get(gate.url + "/v1/models") as answer:
        assert answer.status == 200  # no request that anybody plans for
    for stream in (True, False):
        async with gate.ask(stream=stream, max_tokens=16) as answer:
            await answer.read()
    await gate.host.swap("reject", 1)
    async with gate.ask() as answer:
        assert answer.status == 429
    records = await gate.recorded(4)
    window = window_of(rows, readings.read())
    row = window["classes"][0]
    assert (row["requests"], row["rejected"], row["queued_requests"]) == (3, 1, 0)
    assert (row["prompt_mean_tokens"], row["output_mean_tokens"]) == (3.0, 16.0)
    streamed, whole = records[1:3]
    assert row["ttft_mean_s"] == pytest.approx(streamed.ttft_s, abs=1e-6)
    assert row["e2e_mean_s"] == pytest.approx(0.5 * (streamed.e2e_s + whole.e2e_s), abs=1e-6)
    assert math.isnan(row["queue_mean_s"])
    assert 0.0 <= window["kv_pressure_max"] < 1.0


async def test_reuse_is_what_engines_say_of_it_and_missing_where_they_do_not(serve, stand):
    details = {"prompt_tokens_details": {"cached_tokens": 30}}

    async def answer(request):
        usage = {"prompt_tokens": 40, "completion_tokens": 3}
        told = details if (await request.json())["max_tokens"] > 4 else {}
        return web.json_response({"choices": [], "usage": {**usage, **told}})

    app = web.Application()
    app.router.add_post("/v1/completions", answer)
    gate = await stand(await serve(app))
    readings = DoorReadings(gate.gateway.visits, parse_cluster(CLUSTER))
    rows, seen = WindowRows(), []
    for number, tokens in enumerate((4, 9, 4)):
        window_of(rows, readings.read())
        async with gate.ask(max_tokens=tokens):
            await gate.recorded(number + 1)
        seen.append(float(window_of(rows, readings.read())["classes"][0]["reuse"]))
    assert seen == pytest.approx([math.nan, 0.75, math.nan], nan_ok=True)


async def test_preemptions_are_counted_from_the_first_look_at_an_engine_on(stand):
    gate = await stand()
    table = gate.host.table
    engine = table.add()
    readings, rows = DoorReadings(gate.gateway.visits, parse_cluster(CLUSTER)), WindowRows()
    assert window_of(rows, readings.read())["classes"][0]["preemptions"] == -1
    for count in (40, 43, 44):
        table.scraped(engine, EngineSignals(preemptions=count), gate.host.now_s())
    assert window_of(rows, readings.read())["classes"][0]["preemptions"] == 4
    table.scraped(engine, EngineSignals(preemptions=2), gate.host.now_s())  # it was started again
    assert window_of(rows, readings.read())["classes"][0]["preemptions"] == 0


async def test_a_planner_elsewhere_takes_the_newest_reading(stand):
    gate = await stand()
    readings = DoorReadings(gate.gateway.visits, parse_cluster(CLUSTER))
    async with in_background(readings.run(0.005)):
        async with asyncio.timeout(10.0):
            while readings.latest is None or readings.latest.now_s == 0.0:
                await asyncio.sleep(0.005)
    gate.host.table.add()
    (replica,) = readings.read().replicas
    assert (replica.spec.shape.tp, replica.queued_requests) == (1, 0)
    assert math.isnan(replica.kv_used)
