"""The emulated engine over real HTTP: OpenAI's shapes, vLLM's metric names, profile timing."""

import asyncio
import json

import pytest

from serving_adapter.emulation.profiled import settings_from_profile
from telemetry.engine_signals import parse_signals

MODEL = "tiny"


def events_of(raw: bytes) -> list[str]:
    return [event.removeprefix("data: ") for event in raw.decode().strip().split("\n\n")]


async def test_a_chat_stream_has_role_tokens_usage_and_end(serve, client, new_emulator):
    url = await serve(new_emulator().application())
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "x" * 8}],
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with client.post(url + "/v1/chat/completions", json=body) as answer:
        *chunks, end = events_of(await answer.read())
    parsed = [json.loads(chunk) for chunk in chunks]
    assert end == "[DONE]"
    assert [c["choices"][0]["finish_reason"] for c in parsed[:-1]] == [None, None, None, "length"]
    assert parsed[-1]["usage"] == {"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9}


async def test_the_emulated_length_stops_before_the_limit(serve, client, new_emulator):
    url = await serve(new_emulator().application())
    body = {"model": MODEL, "prompt": "hello", "max_tokens": 50, "emulate_output_tokens": 7}
    async with client.post(url + "/v1/completions", json=body) as answer:
        whole = await answer.json()
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"]["completion_tokens"] == 7


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "other", "prompt": "x"}, 404),
        ({"model": MODEL}, 400),
        ({"model": MODEL, "prompt": "x", "max_tokens": 0}, 400),
        ({"model": MODEL, "prompt": "x", "n": 2}, 400),
        ({"model": MODEL, "prompt": [0] * 999, "max_tokens": 2}, 400),
    ],
)
async def test_errors_are_openai_error_objects(serve, client, new_emulator, body, status):
    url = await serve(new_emulator(max_model_len=1000).application())
    async with client.post(url + "/v1/completions", json=body) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (status, status)
    assert error["message"]


async def test_metrics_use_vllm_names(serve, client, new_emulator):
    url = await serve(new_emulator(kv_blocks=100).application())
    body = {"model": MODEL, "prompt": [1] * 10, "max_tokens": 5}
    async with client.post(url + "/v1/completions", json=body) as answer:
        assert answer.status == 200
    page = await (await client.get(url + "/metrics")).text()
    signals = parse_signals(page)
    assert (signals.running, signals.waiting, signals.kv_usage) == (0, 0, 0.0)
    assert (signals.prompt_tokens, signals.generation_tokens) == (10, 5)
    assert signals.kv_capacity_tokens == 1600
    label = f'{{model_name="{MODEL}",engine="0"'
    assert f'vllm:request_success_total{label},finished_reason="length"}} 1.0' in page
    assert f"vllm:time_to_first_token_seconds_count{label}}} 1" in page
    assert f"vllm:inter_token_latency_seconds_count{label}}} 4" in page
    assert f"vllm:e2e_request_latency_seconds_count{label}}} 1" in page


async def test_a_client_that_leaves_frees_its_seat(serve, client, new_emulator):
    emulator = new_emulator(time_scale=1.0)
    url = await serve(emulator.application())
    body = {"model": MODEL, "prompt": "x", "max_tokens": 20_000, "stream": True}
    answer = await client.post(url + "/v1/completions", json=body)
    await answer.content.readany()
    answer.close()
    async with asyncio.timeout(5):
        while not emulator.driver.model.idle:
            await asyncio.sleep(0.01)
    assert emulator.metrics.success.value(MODEL, "0", "abort") == 1


def test_an_engine_takes_its_memory_and_speed_from_the_profile():
    settings = settings_from_profile("H100", "llama-3.1-8b", 1, 10.0)
    assert settings.times.step_ps([], 1, 100) > 0
    assert settings.engine.kv_capacity_tokens > 100_000
    assert settings.request_overhead_s > 0
