"""What a prompt consists of, as salted hashes of its stretches: equal hashes, equal beginnings.

There is no tokenizer here, so a block is a stretch of text of `BLOCK_TOKENS` estimated tokens, or
as many token ids. Each hash is over all that comes before it, too (a chain), under a key that
never leaves the host, and over what engines keep caches apart by: the model and the cache's salt.
The text is hashed at once and not kept. The time is bounded: `MOST_BLOCKS`, whatever the length.
"""

from __future__ import annotations

import binascii
import hashlib
from array import array
from collections.abc import Iterator

from serving_adapter.openai_api import CHARS_PER_TOKEN, MESSAGE_OVERHEAD_TOKENS, Body

BLOCK_TOKENS = 64
MOST_BLOCKS = 256
HASH_BYTES = 8
_BLOCK_CHARS = BLOCK_TOKENS * CHARS_PER_TOKEN
_MOST_CHARS = MOST_BLOCKS * _BLOCK_CHARS
_HEAD_CHARS = MESSAGE_OVERHEAD_TOKENS * CHARS_PER_TOKEN
_MOST_TOOLS, _MOST_NAME = 64, 64


def block_hashes(body: Body, key: bytes) -> str:
    """Hashes of the whole blocks of a prompt, first block first, 8 bytes each, in base64.

    They end with the first thing that is neither text nor token ids, such as an image.

    Args:
        body: of a chat or completion request.
        key: 16 to 64 bytes.
    """
    chain = hashlib.blake2b(digest_size=HASH_BYTES, key=key)
    chain.update("\0".join(_apart(body)).encode("utf-8", "surrogatepass"))
    found = bytearray()
    for stretch in _stretches(body):
        chain.update(stretch)
        found += chain.copy().digest()
    return binascii.b2a_base64(found, newline=False).decode("ascii")


def _apart(body: Body) -> Iterator[str]:
    """What two prompts must have in common before their text counts."""
    for field in ("model", "cache_salt"):
        value = body.get(field)
        yield value[:256] if isinstance(value, str) else ""
    tools = body.get("tools")
    for tool in tools[:_MOST_TOOLS] if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        yield name[:_MOST_NAME] if isinstance(name, str) else ""


def _stretches(body: Body) -> Iterator[bytes]:
    """The whole blocks, as bytes to hash."""
    messages: object = body.get("messages")
    prompt: object = body.get("prompt")
    text = ""
    if isinstance(messages, list):
        text = "".join(_pieces(messages))
    else:
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
            prompt = prompt[0]  # a batch of one
        if isinstance(prompt, list):
            yield from _id_stretches(prompt)
        if isinstance(prompt, str):
            text = prompt
    whole = min(len(text), _MOST_CHARS) // _BLOCK_CHARS
    for at in range(0, whole * _BLOCK_CHARS, _BLOCK_CHARS):
        yield text[at : at + _BLOCK_CHARS].encode("utf-8", "surrogatepass")


def _id_stretches(ids: list[object]) -> Iterator[bytes]:
    whole = min(len(ids) // BLOCK_TOKENS, MOST_BLOCKS)
    for at in range(0, whole * BLOCK_TOKENS, BLOCK_TOKENS):
        stretch = [one for one in ids[at : at + BLOCK_TOKENS] if type(one) is int]
        if len(stretch) < BLOCK_TOKENS or min(stretch) < 0 or max(stretch) >= 2**63:
            return
        yield array("q", stretch).tobytes()


def _pieces(messages: list[object]) -> Iterator[str]:
    """The text of a conversation, its roles included, no longer than what is hashed."""
    left = _MOST_CHARS
    for message in messages:
        for piece in _of_message(message):
            if piece is None or left <= 0:
                return
            yield piece[:left]
            left -= len(piece)


def _of_message(message: object) -> Iterator[str | None]:
    """Role, content and calls of tools; None where it goes on in something else than text."""
    if not isinstance(message, dict):
        yield None
        return
    role, content = message.get("role"), message.get("content")
    name = role if isinstance(role, str) else ""
    yield "\0" + name[: _HEAD_CHARS - 1].ljust(_HEAD_CHARS - 1, "\0")
    for part in content if isinstance(content, list) else (content,):
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text
        elif text is not None or part is not None:
            yield None
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        for word in ("name", "arguments") if isinstance(function, dict) else ():
            value = function.get(word) if isinstance(function, dict) else None
            yield value if isinstance(value, str) else ""
