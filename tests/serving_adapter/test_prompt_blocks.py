"""Prompts that begin alike have equal hashes as far as they do, and no further."""

import binascii
import time

import pytest

from serving_adapter.prompt_blocks import BLOCK_TOKENS, MOST_BLOCKS, block_hashes

KEY = b"k" * 32
BLOCK = 4 * BLOCK_TOKENS  # characters


def hashes(body, key=KEY):
    data = binascii.a2b_base64(block_hashes({"model": "m", **body}, key))
    return [data[at : at + 8] for at in range(0, len(data), 8)]


def shared(one, other):
    pairs = list(zip(hashes(one), hashes(other), strict=False))
    return next((at for at, (a, b) in enumerate(pairs) if a != b), len(pairs))


def text(blocks, word="a"):
    return word * (BLOCK * blocks)


def test_equal_beginnings_are_equal_up_to_where_they_part():
    long = {"prompt": text(3) + text(2, "b")}
    assert len(hashes(long)) == 5
    assert shared(long, {"prompt": text(3) + text(2, "c")}) == 3
    assert shared(long, {"prompt": text(3) + text(2, "b") + "more"}) == 5
    # the same stretch after another beginning is another block
    assert not set(hashes({"prompt": text(1, "b") + text(2)})) & set(hashes({"prompt": text(3)}))


def test_a_conversation_goes_on_where_it_was():
    first = [{"role": "system", "content": text(4)}, {"role": "user", "content": "hello"}]
    later = [*first, {"role": "assistant", "content": text(2, "b")}]
    assert shared({"messages": first}, {"messages": later}) == len(hashes({"messages": first})) == 4
    parts = [{"role": "system", "content": [{"type": "text", "text": text(4)}]}]
    assert shared({"messages": first}, {"messages": parts}) == 4
    other = [{"role": "developer", "content": text(4)}]
    assert shared({"messages": first}, {"messages": other}) == 0


@pytest.mark.parametrize("apart", [
    {"model": "other"}, {"cache_salt": "x"}, {"tools": [{"function": {"name": "search"}}]},
])  # fmt: skip
def test_what_engines_keep_apart_is_kept_apart(apart):
    assert shared({"prompt": text(3)}, {"prompt": text(3), **apart}) == 0


def test_another_key_gives_other_hashes():
    assert not set(hashes({"prompt": text(3)})) & set(hashes({"prompt": text(3)}, b"l" * 32))


def test_token_ids_count_exactly():
    ids = list(range(3 * BLOCK_TOKENS + 5))
    assert len(hashes({"prompt": ids})) == 3
    assert hashes({"prompt": [ids]}) == hashes({"prompt": ids})
    assert shared({"prompt": ids}, {"prompt": [*ids[:130], 0, *ids[131:]]}) == 2


def test_nothing_is_said_beyond_what_is_no_text():
    picture = {"type": "image_url", "image_url": {"url": "data:..."}}
    message = {"role": "user", "content": [{"type": "text", "text": text(2)}, picture]}
    after = {"role": "user", "content": text(9)}
    assert len(hashes({"messages": [message, after]})) == 2


@pytest.mark.parametrize("body", [
    {}, {"prompt": None}, {"prompt": ["a", "b"]}, {"prompt": [1.5] * 999}, {"prompt": [2**70] * 99},
    {"messages": 3}, {"messages": [1, None]}, {"messages": [{"role": 1, "content": {"a": 1}}]},
    {"messages": [{"content": None, "tool_calls": [{"function": 3}, 4]}]}, {"prompt": [[["a"]]]},
    {"prompt": "\ud800" * BLOCK, "tools": [None, {"function": {"name": 7}}], "model": 4},
])  # fmt: skip
def test_odd_bodies_are_no_failure(body):
    assert len(hashes(body)) <= 1


def test_a_prompt_of_any_length_takes_little_time():
    prompt = text(40 * MOST_BLOCKS, "ab")
    messages = [{"role": "user", "content": "x"}] * 200_000
    began_s = time.process_time()
    assert len(hashes({"prompt": prompt})) == MOST_BLOCKS
    assert len(hashes({"messages": messages})) == MOST_BLOCKS
    assert time.process_time() - began_s < 1.0
