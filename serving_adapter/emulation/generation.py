"""What a client of the emulated engine asks for, and the answer in OpenAI's two shapes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from serving_adapter.emulation.engine_model import EngineSettings, Generation
from serving_adapter.emulation.prefix_cache import block_keys
from serving_adapter.errors import BadBody, FleetError
from serving_adapter.openai_api import (
    Body,
    count_of,
    estimate_prompt_tokens,
    max_output_tokens,
    sse_event,
)

DEFAULT_CHAT_TOKENS = 128
DEFAULT_COMPLETION_TOKENS = 16
WORDS = (
    "this", "engine", "writes", "one", "plain", "word", "for", "each", "token", "that", "it",
    "would", "have", "made", "and", "nothing", "more",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """One generation as asked for."""

    chat: bool
    prompt_tokens: int
    output_tokens: int
    finish_reason: str  # `length` when the client's limit cuts the answer, else `stop`
    stream: bool
    include_usage: bool
    keys: tuple[bytes, ...] = ()  # of the prompt's blocks, where prefixes are cached


def read_wanted(body: Body, engine: EngineSettings, *, chat: bool) -> Wanted:
    """Validate a body against an engine.

    Raises:
        BadBody: a field is malformed, or prompt and answer do not fit.
    """
    required = "messages" if chat else "prompt"
    if not isinstance(body.get(required), list if chat else (str, list)) or not body[required]:
        raise BadBody(f"Field {required} is missing or empty: send one.")
    if count_of(body, "n") not in (None, 1):
        raise BadBody("This engine gives one choice per request: leave n out.")
    prompt_tokens = estimate_prompt_tokens(body)
    room = engine.longest_tokens - prompt_tokens
    if room < 1:
        raise BadBody(f"The prompt fills the {engine.longest_tokens} tokens there are: shorten it.")
    limit = max_output_tokens(body)
    if limit is None:
        limit = min(DEFAULT_CHAT_TOKENS if chat else DEFAULT_COMPLETION_TOKENS, room)
    if not 0 < limit <= room:
        raise BadBody(f"The answer may have 1 to {room} tokens here: change max_tokens.")
    natural = _emulated_tokens(body)
    options = body.get("stream_options")
    return Wanted(
        chat=chat,
        prompt_tokens=prompt_tokens,
        output_tokens=min(natural or limit, limit),
        finish_reason="stop" if natural is not None and natural <= limit else "length",
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        keys=block_keys(body, prompt_tokens, engine.block_size) if engine.prefix_caching else (),
    )


def _emulated_tokens(body: Body) -> int | None:
    extra = body.get("vllm_xargs")
    tokens = count_of(body, "emulate_output_tokens")
    if tokens is None and isinstance(extra, dict):
        tokens = count_of(extra, "emulate_output_tokens")
    return tokens or None


@dataclass(slots=True)
class Answer:
    """One answer as it grows: filler words, in the chunks or the whole that OpenAI's API has."""

    wanted: Wanted
    model: str
    number: str
    created: int
    _generation: Generation = field(init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, now_s: float) -> Generation:
        """The generation to submit; its tokens wake this answer."""
        wanted = self.wanted
        self._generation = Generation(
            wanted.prompt_tokens, wanted.output_tokens, now_s, self._news.set, wanted.keys
        )
        return self._generation

    async def advance(self) -> int:
        """Wait for news; the tokens there are now.

        Raises:
            FleetError: the engine is gone.
        """
        await self._news.wait()
        self._news.clear()
        if self._generation.lost:
            raise FleetError("The engine is gone: the request is lost.")
        return self._generation.done_tokens

    @property
    def half(self) -> bool:
        """Whether half of it is there."""
        return self._generation.done_tokens * 2 >= self.wanted.output_tokens

    async def complete(self, share: float = 1.0) -> None:
        """Wait for the last token, or for that share of them."""
        while self._generation.done_tokens < self.wanted.output_tokens * share:
            await self.advance()

    async def events(self) -> AsyncIterator[bytes]:
        """The stream without its end mark, what is ready together in one piece."""
        sent, total = 0, self.wanted.output_tokens
        opening = {"delta": {"role": "assistant", "content": ""}}
        news = sse_event(self._chunk(opening, None)) if self.wanted.chat else b""
        head, tail = self._around_a_word()
        while sent < total:
            done = self._generation.done_tokens
            if done == sent:
                done = await self.advance()
            middle = range(sent, min(done, total - 1))
            news += b"".join(head + _word(index).encode() + tail for index in middle)
            if done == total:
                news += sse_event(self._token(total - 1, self.wanted.finish_reason))
            yield news
            sent, news = done, b""
        if self.wanted.include_usage:
            yield sse_event(self._frame(choices=[], usage=self._usage()))

    def _around_a_word(self) -> tuple[bytes, bytes]:
        # Encoding every token as JSON anew would be most of an emulated engine's work.
        head, tail = sse_event(self._token(0, None)).rsplit(WORDS[0].encode(), 1)
        return head, tail

    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        text = "".join(_word(index) for index in range(self.wanted.output_tokens))
        content = {"message": {"role": "assistant", "content": text}}
        choice = content if self.wanted.chat else {"text": text}
        body = self._chunk(choice, self.wanted.finish_reason)
        body["object"] = "chat.completion" if self.wanted.chat else "text_completion"
        return {**body, "usage": self._usage()}

    def _token(self, index: int, finish_reason: str | None) -> dict[str, Any]:
        word = _word(index)
        choice = {"delta": {"content": word}} if self.wanted.chat else {"text": word}
        return self._chunk(choice, finish_reason)

    def _chunk(self, choice: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
        whole = {"index": 0, **choice, "logprobs": None, "finish_reason": finish_reason}
        return self._frame(choices=[whole])

    def _frame(self, **parts: object) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.wanted.chat else "text_completion"
        prefix = "chatcmpl" if self.wanted.chat else "cmpl"
        head = {"id": f"{prefix}-{self.number}", "object": kind, "created": self.created}
        return {**head, "model": self.model, **parts}

    def _usage(self) -> dict[str, int]:
        prompt, output = self.wanted.prompt_tokens, self.wanted.output_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
        }


def _word(index: int) -> str:
    return (" " if index else "") + WORDS[index % len(WORDS)]
