"""A block prefix cache for an emulated engine: which prompt blocks were computed before.

A block is known by a hash of all tokens up to its end, as in vLLM; the tokens themselves are not
kept. Blocks that nobody uses live in what KV memory is free, least recently used going first.
Running generations hold blocks of their own even where they share a prefix, and blocks of answers
are not found again: the cache saves time, not memory.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from serving_adapter.openai_api import CHARS_PER_TOKEN, Body

# Hashes of one process mean nothing in another, so none of them says what a prompt was.
_SALT = os.urandom(16)
_ID_BYTES = 8


def block_keys(body: Body, prompt_tokens: int, block_size: int) -> tuple[bytes, ...]:
    """One key for each full block of a prompt; the last token is never cached, as in vLLM."""
    whole, width = _whole(body, block_size)
    count = min(prompt_tokens - 1, len(whole) * block_size // width) // block_size
    keys, running = [], hashlib.blake2b(_SALT, digest_size=16)
    for index in range(count):
        running.update(whole[index * width : (index + 1) * width])
        keys.append(running.digest())
    return tuple(keys)


def _whole(body: Body, block_size: int) -> tuple[bytes, int]:
    """A prompt as bytes, and how many of them make a block."""
    prompt = body.get("messages", body.get("prompt"))
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
        ids = (token for token in prompt if isinstance(token, int))
        mask = (1 << 8 * _ID_BYTES) - 1
        return b"".join((n & mask).to_bytes(_ID_BYTES) for n in ids), _ID_BYTES * block_size
    text = "".join(_texts(prompt))
    # Four bytes a character whatever it is, so that blocks end where the token rule ends them.
    return text.encode("utf-32-le", "surrogatepass"), 4 * CHARS_PER_TOKEN * block_size


def _texts(part: object) -> Iterable[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, list):
        for one in part:
            yield from _texts(one)
    elif isinstance(part, dict):
        yield f"\0{part.get('role', '')}\0"
        yield from _texts(part.get("content", part.get("text")))


class PrefixCache:
    """The blocks whose keys and values are in memory, least recently used first."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self.queried_tokens = 0
        self.hit_tokens = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, keys: Sequence[bytes]) -> int:
        """How many of these blocks, from the first on, are there; they count as used now."""
        found = 0
        for key in keys:
            if key not in self._blocks:
                break
            self._blocks.move_to_end(key)
            found += 1
        return found

    def asked(self, queried_tokens: int, hit_tokens: int) -> None:
        """Count what one prompt asked for and found."""
        self.queried_tokens += queried_tokens
        self.hit_tokens += hit_tokens

    def keep(self, keys: Sequence[bytes]) -> None:
        """These blocks are computed."""
        for key in keys:
            self._blocks[key] = None
            self._blocks.move_to_end(key)

    def shrink(self, room: int) -> None:
        """Let go of the least recently used beyond `room` blocks."""
        while len(self._blocks) > max(room, 0):
            self._blocks.popitem(last=False)
