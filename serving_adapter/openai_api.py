"""The parts of the OpenAI wire format that the gateway and the engine emulator share.

Token counts are estimated by one declared rule, since neither has a tokenizer: a list of token ids
counts exactly; text counts one token per four characters, rounded up; a chat message adds four.
Images and audio count nothing. Request text is measured here and never kept or quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from serving_adapter.errors import BadBody

CHARS_PER_TOKEN = 4
MESSAGE_OVERHEAD_TOKENS = 4
SSE_DONE = b"data: [DONE]\n\n"

MAX_VALUES = 2_000_000  # of a body, as token ids are; text of any length is one
MAX_CONTAINERS = 100_000
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

Body: TypeAlias = Mapping[str, Any]


def read_body(raw: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        BadBody: not UTF-8, not JSON, nested too deeply, of too many values, or not an object.
    """
    # Values cost far more than their bytes, and nobody else is served while they are made.
    if _has_too_many(raw) and _has_too_many(_STRING.sub(b"", raw, MAX_VALUES // 4)):
        raise BadBody(
            f"The request body has over {MAX_VALUES} values or {MAX_CONTAINERS} lists: send text."
        )
    try:
        body = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise BadBody("The request body is not JSON: send one JSON object.") from None
    if not isinstance(body, dict):
        raise BadBody("The request body is not a JSON object: send one with a `model`.")
    return body


def _has_too_many(raw: bytes) -> bool:
    """Whether there are too many values, taking every sign for what it is outside of strings."""
    if len(raw) <= MAX_CONTAINERS:
        return False
    return raw.count(b",") > MAX_VALUES or raw.count(b"[") + raw.count(b"{") > MAX_CONTAINERS


def count_of(body: Body, name: str) -> int | None:
    """A whole number of the body, at least 0; None when absent or null.

    Raises:
        BadBody: the field holds something else.
    """
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0 or value > 2**31:
        raise BadBody(f"Field {name} is not a whole number: send one from 0 to {2**31}.")
    return value


def max_output_tokens(body: Body) -> int | None:
    """The client's limit on the answer: `max_completion_tokens`, else `max_tokens`.

    Raises:
        BadBody: the field that counts holds something else than a whole number.
    """
    limit = count_of(body, "max_completion_tokens")
    return count_of(body, "max_tokens") if limit is None else limit


def _text_tokens(text: str) -> int:
    return -(-len(text) // CHARS_PER_TOKEN)


def _content_tokens(content: object) -> int:
    if isinstance(content, str):
        return _text_tokens(content)
    if not isinstance(content, list):
        return 0
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return sum(_text_tokens(text) for text in texts if isinstance(text, str))


def _message_tokens(message: object) -> int:
    content = message.get("content") if isinstance(message, dict) else None
    return _content_tokens(content) + MESSAGE_OVERHEAD_TOKENS


def _prompt_tokens(prompt: object) -> int:
    if isinstance(prompt, str):
        return _text_tokens(prompt)
    if not isinstance(prompt, list):
        return 0
    if prompt and isinstance(prompt[0], int):
        return len(prompt)
    return sum(_prompt_tokens(part) for part in prompt if isinstance(part, str | list))


def estimate_prompt_tokens(body: Body) -> int:
    """Prompt tokens of a chat, completion or embedding request by the module's rule, at least 1."""
    messages = body.get("messages")
    if isinstance(messages, list):
        return max(1, sum(_message_tokens(message) for message in messages))
    return max(1, _prompt_tokens(body.get("prompt", body.get("input"))))


def error_object(message: str, kind: str, code: int) -> bytes:
    """An error as OpenAI clients expect it; `message` must not quote the request."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return json.dumps({"error": error}).encode()


def sse_event(value: Body) -> bytes:
    """One server-sent event carrying a JSON object."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
