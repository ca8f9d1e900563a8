"""Answers from the record of a run: to resume it, to replay it without any model, to show it.

Answers are found by the name of the ask and the digest of the prompt, in the order in which they
came, failures included; so the same run gets the same answers and the same errors.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Iterable, Sequence

from evolver.errors import RecordStale
from evolver.exchanges import Call, Endpoint, Exchange, Recorder, prompt_digest
from evolver.model_errors import ModelFailed
from evolver.moves import Move
from evolver.prompt import PROMPT_VERSION, Message

FIRST_TRY = ".0"  # how the names of first tries end


class AnswersEnded(ModelFailed):
    """The record holds no answer to this ask, and nobody else is asked."""


class RecordedAnswers:
    """What models answered in an earlier run; each answer is given once.

    Args:
        exchanges: in the order in which they were recorded.
        live: what is not in the record is asked of the model (to resume); else it is an error.
        lenient: an answer to the same ask is given although the prompt was another one, and where
            the record has no such ask, the next first answer to the same move; then proposers must
            be asked one by one for equal runs to be equal.

    Attributes:
        live: as given.
        stale: answers given to another prompt than the recorded one.
    """

    def __init__(self, exchanges: Iterable[Exchange], *, live: bool, lenient: bool = False) -> None:
        self.live = live
        self.stale = 0
        self._lenient = lenient
        self._lock = threading.Lock()
        self._left: dict[str, deque[Exchange]] = {}
        for exchange in exchanges:
            self._left.setdefault(exchange.ask, deque()).append(exchange)
        self._moves = {ask: left[0].move for ask, left in self._left.items()}

    def take(self, ask: str, digest: str, move: Move) -> tuple[Exchange, ...]:
        """The tries for the next answer to this ask; the last is not `final` if a try was to come.

        Raises:
            RecordStale: the answer is one to another prompt.
        """
        with self._lock:
            left = self._left.get(ask) or self._next(ask, move)
            tries = list[Exchange]()
            while left and not (tries and tries[-1].final):
                tries.append(left.popleft())
            if any(one.prompt_digest != digest for one in tries):
                self.stale += 1
                if not self._lenient:
                    raise _stale(ask, tries[0])
            return tuple(tries)

    def _next(self, ask: str, move: Move) -> deque[Exchange]:
        """The first answer to this move that is left, for a first try in a lenient replay."""
        if self._lenient and ask.endswith(FIRST_TRY):
            for other, left in self._left.items():
                if left and self._moves[other] is move and other.endswith(FIRST_TRY):
                    return left
        return deque()

    def ended(self, ask: str) -> RecordStale | AnswersEnded:
        """What it means that the record has no answer."""
        if self._lenient:
            return AnswersEnded(f"The recording holds no answer to {ask}; record the run anew.")
        return RecordStale(
            f"The record holds no answer to {ask}, so it is of another run or version: record the "
            "run anew, or let the model be asked."
        )


class RecordedEndpoint:
    """Answers from the record as far as it goes, then from the model, if there is one.

    Args:
        answers: the record.
        live: the model; None when only the record may answer.
        record: called with answers of a record that is not gone on with: they are a new run's.
    """

    def __init__(
        self, answers: RecordedAnswers, live: Endpoint | None, record: Recorder = lambda _: None
    ) -> None:
        self._answers = answers
        self._live = live
        self._record = record

    def complete(self, messages: Sequence[Message], call: Call) -> tuple[Exchange, ...]:
        """As recorded; what was interrupted between two tries is tried on.

        Raises:
            RecordStale: the record does not fit what is asked.
        """
        tries = self._answers.take(call.ask, prompt_digest(messages), call.move)
        if self._live is not None:
            if tries and tries[-1].final:
                return tries
            left = functools.reduce(Call.after, tries, call)
            return (*tries, *self._live.complete(messages, left))
        if not tries:
            raise self._answers.ended(call.ask)
        for exchange in tries:
            self._record(exchange)
        return tries


def _stale(ask: str, known: Exchange) -> RecordStale:
    return RecordStale(
        f"The recorded answer to {ask} was given to another prompt (of version "
        f"{known.prompt_version}, now {PROMPT_VERSION}): record the run anew, or go back to the "
        "version that recorded it."
    )
