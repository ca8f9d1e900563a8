"""One call of a model as it is kept: what was asked, what came back, what it cost.

All tries for one answer are kept, and `answered` makes an answer or an error of them. A live
endpoint and a recorded one both go through it, so that a replay ends as the run did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from evolver.model_errors import FAILURES, ModelFailed
from evolver.moves import Move
from evolver.prompt import Message
from evolver.proposer import Cost
from sandbox.identity import canonical_json, text_digest


@dataclass(frozen=True, slots=True)
class Call:
    """What an answer is for, and what it may take.

    Attributes:
        ask: its name within the run, GENERATION.PLACE.TRY.
        move: what the model is asked for.
        seconds_left: of the run; None is no limit.
        tokens_left, price_left_usd: that all tries together may take.
    """

    ask: str = ""
    move: Move = Move.REWRITE
    seconds_left: float | None = None
    tokens_left: int | None = None
    price_left_usd: float | None = None

    def after(self, spent: Exchange) -> Call:
        """What is left of it after one more try."""
        tokens, price_usd = self.tokens_left, self.price_left_usd
        if tokens is not None:
            tokens = max(0, tokens - spent.tokens_in - spent.tokens_out)
        if price_usd is not None:
            price_usd = max(0.0, price_usd - spent.price_usd)
        return replace(self, tokens_left=tokens, price_left_usd=price_usd)

    @property
    def paid_for(self) -> bool:
        """Whether anything is left for another try."""
        return self.tokens_left != 0 and self.price_left_usd != 0.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One try; holds no key.

    Attributes:
        reply: what came, also when the answer broke off.
        finish: why the answer ended: "stop", "length", "content_filter", ...
        price_usd: 0 with `price_known` False when nobody knows a price.
        seconds: of the call, with the wait before it.
        error, said: name of the error's class and its sentence; None and "" for an answer.
        ask, move: of the `Call`; `attempt` counts its tries from 1.
        final: no further try followed.
        date: when it was made, as ISO 8601 in UTC.
    """

    model: str
    prompt_version: int
    prompt_digest: str
    messages: tuple[Message, ...]
    reply: str
    reply_digest: str
    finish: str
    tokens_in: int
    tokens_out: int
    price_usd: float
    price_known: bool
    seconds: float
    error: str | None = None
    said: str = ""
    ask: str = ""
    move: Move = Move.REWRITE
    attempt: int = 1
    final: bool = True
    date: str = ""


Recorder = Callable[[Exchange], None]


class Endpoint(Protocol):
    """What answers: a model, or a record of its earlier answers."""

    def complete(self, messages: Sequence[Message], call: Call) -> tuple[Exchange, ...]:
        """Every try for one answer, in order; the last is the answer, or the failure that stayed.

        May be called from several threads at once.
        """


def answered(tries: Sequence[Exchange]) -> tuple[Exchange, Cost]:
    """The answer, and what all tries for it cost.

    Raises:
        ModelFailed: one of its subclasses, when the last try failed; with that cost.
    """
    answer = tries[-1]
    cost = Cost(
        sum(one.tokens_in for one in tries),
        sum(one.tokens_out for one in tries),
        sum(one.price_usd for one in tries),
        sum(one.seconds for one in tries),
    )
    if answer.error is None:
        return answer, cost
    failure = FAILURES.get(answer.error, ModelFailed)(answer.said)
    failure.cost = cost
    raise failure


def prompt_digest(messages: Sequence[Message]) -> str:
    """Address of a prompt: SHA-256 of its canonical JSON."""
    return text_digest(canonical_json([dict(message) for message in messages]))
