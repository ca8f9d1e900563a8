"""The block prefix cache: what counts as a common prefix, what is kept, what a hit saves."""

from serving_adapter.emulation.prefix_cache import PrefixCache, block_keys
from serving_adapter.openai_api import estimate_prompt_tokens

MODEL = "tiny"


def keys_of(body, size=4):
    return block_keys(body, estimate_prompt_tokens(body), size)


def common(a, b):
    return sum(x == y for x, y in zip(a, b, strict=False))


def test_blocks_are_equal_as_long_as_everything_before_them_is():
    first = keys_of({"prompt": [1, 2, 3, 4, 5, 6, 7, 8, 9]})
    second = keys_of({"prompt": [1, 2, 3, 4, 5, 6, 7, 0, 9, 10]})
    other = keys_of({"prompt": [0, 2, 3, 4, 5, 6, 7, 8, 9]})
    assert (len(first), len(second)) == (2, 2)
    assert (common(first, second), common(first, other)) == (1, 0)


def test_the_last_token_is_always_computed():
    assert len(keys_of({"prompt": [1] * 8})) == 1


def test_a_conversation_begins_with_the_one_before():
    turns = [{"role": "user", "content": "a question " * 8}, {"role": "assistant", "content": "b"}]
    first = keys_of({"messages": turns[:1]})
    second = keys_of({"messages": [*turns, {"role": "user", "content": [{"text": "and more"}]}]})
    assert len(first) > 3
    assert common(first, second) == len(first)


def test_what_was_used_longest_ago_goes_first():
    cache = PrefixCache()
    cache.keep([b"a", b"b", b"c"])
    assert cache.find([b"a", b"x", b"b"]) == 1
    cache.shrink(2)
    assert [cache.find([key]) for key in (b"a", b"b", b"c")] == [1, 0, 1]


async def _ask(client, url, prompt):
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 2}
    async with client.post(url + "/v1/completions", json=body) as answer:
        assert answer.status == 200


async def test_a_prompt_that_was_here_is_not_computed_again(serve, client, new_emulator):
    emulator = new_emulator(prefix_caching=True, kv_blocks=100)
    url = await serve(emulator.application())
    for prompt in ([7] * 160, [7] * 320, [8] * 160):
        await _ask(client, url, prompt)
    page = await (await client.get(url + "/metrics")).text()
    first_token_s = emulator.metrics.ttft_s.sums[MODEL, "0"]
    assert f'vllm:prefix_cache_queries_total{{model_name="{MODEL}",engine="0"}} 640.0' in page
    assert f'vllm:prefix_cache_hits_total{{model_name="{MODEL}",engine="0"}} 144.0' in page
    await _ask(client, url, [7] * 320)
    assert emulator.metrics.ttft_s.sums[MODEL, "0"] - first_token_s < 0.003
    await _ask(client, url, [9] * 1500)  # takes the memory of all that was kept
    await _ask(client, url, [7] * 160)
    assert emulator.driver.model.cache.hit_tokens == 144 + 304
