"""Gathers a model's answer from the pieces of a stream, within time limits, believing none of it.

A piece is a JSON document: a chunk of a stream, or a whole completion. The sender may be slow,
broken or hostile, so the pieces are fetched by a thread of their own, and everything has a bound.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from queue import Empty, Full, Queue

from evolver.model_errors import EndpointSlow, NoTimeLeft

MAX_REPLY_CHARACTERS = 400_000
MAX_CHARACTERS_PER_TOKEN = 16  # an endpoint that sends more does not keep the limit in tokens
MAX_TEMPLATE_TOKENS = 1000  # that an endpoint may add to a prompt

AFTER_FINISH_S = 5.0  # for the counts that may follow the last words

Stream = Callable[[], Generator[object, None, None]]


class Done:
    """The piece that says that an answer is complete."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds until an answer begins, between two pieces, and for the whole; `run_s` is what the
    run has left."""

    first_s: float
    idle_s: float
    whole_s: float
    run_s: float | None = None


class NoCompletion(Exception):
    """What came is not part of any chat completion."""


class BrokenOff(Exception):
    """The answer ended before it was complete."""


class EndpointSaid(Exception):
    """The endpoint sent an error in place of a piece."""

    def __init__(self, words: str, status: int | None) -> None:
        super().__init__(words)
        self.status_code = status


class Gathered:
    """What came of an answer so far.

    Attributes:
        finish: why it ended; "" while it has not.
        refusal: it is a refusal, in the words of `text`.
        tokens_in, tokens_out: as the endpoint counted, 0 when it did not or not credibly.
    """

    def __init__(self, max_tokens: int, prompt_characters: int) -> None:
        self._most_characters = min(MAX_REPLY_CHARACTERS, max_tokens * MAX_CHARACTERS_PER_TOKEN)
        self._most_out = max_tokens
        self._most_in = prompt_characters + MAX_TEMPLATE_TOKENS
        self._parts: list[str] = []
        self.characters = 0  # thoughts included
        self.began = False
        self.complete = False
        self.finish = ""
        self.refusal = False
        self.tokens_in = 0
        self.tokens_out = 0

    @property
    def text(self) -> str:
        """The answer, in characters that any store can keep."""
        text = "".join(self._parts)[:MAX_REPLY_CHARACTERS].replace("\0", "")
        return text.encode("utf-8", "replace").decode("utf-8")

    @property
    def full(self) -> bool:
        """It is longer than it may be."""
        return self.characters > self._most_characters

    def add(self, piece: object) -> bool:
        """Take one piece; did it bring words or thoughts?

        Raises:
            NoCompletion, EndpointSaid: it is something else.
        """
        if isinstance(piece, Done):
            self.complete = True
            return False
        if not isinstance(piece, Mapping):
            raise NoCompletion
        if piece.get("error"):
            raise _said(piece["error"])
        self._count(piece.get("usage"))
        choices = piece.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(first, Mapping):
            return False
        self.began = True
        if isinstance(first.get("finish_reason"), str):
            self.finish = str(first["finish_reason"])[:40]
        part = first.get("delta") or first.get("message")
        return isinstance(part, Mapping) and self._read(part)

    def _read(self, part: Mapping[object, object]) -> bool:
        words, refusal = _words(part.get("content")), _words(part.get("refusal"))
        thoughts = _words(part.get("reasoning_content") or part.get("reasoning"))
        self._parts += [words, refusal]
        self.refusal = self.refusal or bool(refusal.strip())
        came = len(words) + len(refusal) + len(thoughts)
        self.characters += came
        return came > 0

    def _count(self, usage: object) -> None:
        if isinstance(usage, Mapping):
            told_in, told_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
            self.tokens_in = _credible(told_in, self._most_in) or self.tokens_in
            self.tokens_out = _credible(told_out, self._most_out) or self.tokens_out


def gather(stream: Stream, into: Gathered, limits: TimeLimits, place: str) -> None:
    """Take pieces until the answer is complete; what came is in `into` whatever happens.

    Raises:
        EndpointSlow, NoTimeLeft: a limit has passed; nothing is begun when the run has no time.
        NoCompletion, BrokenOff, EndpointSaid: the endpoint failed.
        Exception: whatever `stream` raises.
    """
    if limits.run_s is not None and limits.run_s <= 0:
        raise _late(2, False, limits, place)
    pieces: Queue[object] = Queue(maxsize=64)
    stop = threading.Event()
    thread = threading.Thread(
        target=_pump, args=(stream, pieces, stop), daemon=True, name="evolver-model-call"
    )
    thread.start()
    try:
        _take(pieces, into, limits, place)
    except Exception:
        if not into.finish:  # else only the counts are missing
            raise
    finally:
        stop.set()
    if into.full:
        into.finish = "length"
    if not into.began:
        raise NoCompletion


def _take(pieces: Queue[object], into: Gathered, limits: TimeLimits, place: str) -> None:
    started = heard = time.monotonic()
    while not (into.complete or into.full):
        piece = _next(pieces, started, heard, into, limits, place)
        if isinstance(piece, _Raised):
            raise (
                piece.error
                if into.began or not isinstance(piece.error, BrokenOff)
                else NoCompletion
            )
        if into.add(piece):
            heard = time.monotonic()


def _next(
    pieces: Queue[object],
    started: float,
    heard: float,
    into: Gathered,
    limits: TimeLimits,
    place: str,
) -> object:
    """The next piece, or the error for the limit that passes first."""
    quiet = heard + limits.idle_s if into.characters else started + limits.first_s
    if into.finish:
        quiet = min(quiet, heard + AFTER_FINISH_S)
    ends = [quiet, started + limits.whole_s]
    ends += [started + limits.run_s] if limits.run_s is not None else []
    try:
        return pieces.get(timeout=max(0.0, min(ends) - time.monotonic()))
    except Empty:
        raise _late(ends.index(min(ends)), bool(into.characters), limits, place) from None


def _late(which: int, began: bool, limits: TimeLimits, place: str) -> EndpointSlow | NoTimeLeft:
    if which == 2:
        return NoTimeLeft(
            f"The run's time ended before {place} had answered; give the run more seconds, or name "
            "a faster model."
        )
    if which == 1:
        failure = EndpointSlow(
            f"The answer of {place} was not complete within {limits.whole_s:g} s; allow more time "
            "or fewer tokens, or name a faster model."
        )
        failure.again = not began  # what is too long once is too long twice, and costs as much
        return failure
    if began:
        return EndpointSlow(
            f"{place} fell silent for {limits.idle_s:g} s in the middle of an answer; allow more "
            "time or name another model."
        )
    return EndpointSlow(
        f"No answer from {place} began within {limits.first_s:g} s; allow more time or name "
        "another model."
    )


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


def _pump(stream: Stream, pieces: Queue[object], stop: threading.Event) -> None:
    """Hand over pieces until somebody stops it, the end, or an error."""
    try:
        iterator = stream()
        with closing(iterator):
            for piece in iterator:
                if not _put(pieces, piece, stop):
                    return
        _put(pieces, _Raised(BrokenOff()), stop)
    except BaseException as error:  # a thread that dies silently would look like a slow endpoint
        _put(pieces, _Raised(error), stop)


def _put(pieces: Queue[object], piece: object, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            pieces.put(piece, timeout=0.1)
        except Full:
            continue
        return True
    return False


def _words(content: object) -> str:
    """Text as a string, or as a list of parts with a text each."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(text for text in texts if isinstance(text, str))
    return ""


def _credible(count: object, most: int) -> int:
    """A count of tokens that is one; below zero would give budget back, beyond reason end it."""
    if not isinstance(count, int) or isinstance(count, bool) or count <= 0:
        return 0
    return min(count, most)


def _said(error: object) -> EndpointSaid:
    fields = error if isinstance(error, Mapping) else {}
    code = fields.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    return EndpointSaid(str(fields.get("message") or error)[:2000], status)
