"""Counts the tokens of an answer as its bytes pass by, and forgets the bytes.

A `usage` object in the answer is believed. Without one, each server-sent event with data counts as
one token, which is what engines send, `[DONE]` excepted. An answer in one piece without usage
counts nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

MAX_HELD_BYTES = 2**20
MOST_TOKENS = 2**31  # of one answer that an engine is believed; what counts them has 64 bits


@dataclass(slots=True)
class AnswerMeter:
    """Tokens of one answer; `feed` it the body in order, then `close` it."""

    streamed: bool
    prompt_tokens: int = -1
    output_tokens: int = 0
    from_usage: bool = False
    cached_tokens: int = -1
    _held: bytes = b""
    _events: int = 0

    def feed(self, data: bytes) -> int:
        """Take the next bytes; how many tokens they hold."""
        if not self.streamed:
            if len(self._held) + len(data) <= MAX_HELD_BYTES:
                self._held += data
            return 0
        *lines, rest = (self._held + data).split(b"\n")
        # A line that never ends is no event stream: hold its start only.
        self._held = rest[:MAX_HELD_BYTES]
        before = self._events
        for line in lines:
            self._line(line)
        return self._events - before

    def close(self) -> int:
        """End of the body: tokens that were not counted by `feed` (or counted too much)."""
        if self.streamed:
            self._line(self._held)
        else:
            self._usage(self._held)
        self._held = b""
        if not self.from_usage:
            self.output_tokens = self._events
        return max(0, self.output_tokens - self._events)

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data in (b"", b"[DONE]"):
            return
        # Parsing every chunk would cost more than relaying it.
        if b'"usage"' in data and self._usage(data) and b'"choices":[]' in data.replace(b" ", b""):
            return
        self._events += 1

    def _usage(self, data: bytes) -> bool:
        """Believe the usage object of a JSON text, if it has one."""
        try:
            usage = json.loads(data).get("usage")
        except (ValueError, RecursionError, AttributeError):
            return False
        if not isinstance(usage, dict):
            return False
        output, prompt = usage.get("completion_tokens", 0), usage.get("prompt_tokens", -1)
        if type(output) is not int or type(prompt) is not int:
            return False
        if not 0 <= output <= MOST_TOKENS or not -1 <= prompt <= MOST_TOKENS:
            return False
        self.output_tokens, self.prompt_tokens, self.from_usage = output, prompt, True
        details = usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens", -1) if isinstance(details, dict) else -1
        self.cached_tokens = cached if type(cached) is int and 0 <= cached <= prompt else -1
        return True
