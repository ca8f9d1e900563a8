"""Asks one model for one answer: with its turn, time limits, retries, and a record of each try."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from evolver.exchanges import Call, Exchange, Recorder, prompt_digest
from evolver.model_clients import Client, client_for
from evolver.model_errors import ModelDeclined, ModelFailed, RateLimited
from evolver.model_failures import failure_of, without_key
from evolver.model_prices import price_usd, prices_of
from evolver.model_settings import ModelSettings, check_settings
from evolver.model_stream import Gathered, TimeLimits, gather
from evolver.prompt import PROMPT_VERSION, Message
from evolver.rate_limit import RateLimit
from sandbox.identity import text_digest

__all__ = ["Exchange", "ModelEndpoint", "ModelSettings", "prompt_digest"]

CHARACTERS_PER_TOKEN = 4  # where an endpoint does not count
USUAL_PAUSE_S = 1.0  # after an endpoint said that it is asked too often, and not for how long
LONGEST_WAIT_S = 30.0  # between two tries, unless the endpoint asks for more


class ModelEndpoint:
    """Answers lists of messages; may be called from several threads at once.

    Args:
        settings: model, address, patience.
        record: called with every try, failed ones included.
        client: None for the one of the model's provider.
        clock, sleep: for waits and durations; replaced in tests.

    Raises:
        ModelSetupWrong: the settings make no sense.
    """

    def __init__(
        self,
        settings: ModelSettings,
        record: Recorder = lambda _: None,
        client: Client | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        check_settings(settings)
        self.settings = settings
        self._record = record
        self._client = client or client_for(settings)
        self._clock = clock
        self._sleep = sleep
        self._turns = RateLimit(
            settings.requests_per_minute,
            settings.tokens_per_minute,
            settings.concurrency,
            clock,
            sleep,
        )

    def check(self) -> None:
        """Pass when the model can be asked, as far as can be told without asking.

        Raises:
            ModelSetupWrong, KeyMissing: with what to do.
        """
        self._client.check()

    def complete(self, messages: Sequence[Message], call: Call) -> tuple[Exchange, ...]:
        """Every try for one answer; the last is the answer, or the failure that stayed."""
        asked_s = self._clock()
        question = _Question(tuple(messages), call, self.settings, asked_s)
        tries = list[Exchange]()
        while True:
            exchange, failure = self._try(question)
            question = replace(question, call=question.call.after(exchange))
            paid_for = question.call.paid_for
            wait_s = self._wait_s(failure, len(tries) + 1) if paid_for else None
            final = wait_s is None or wait_s > question.patience_left_s(self._clock())
            exchange = replace(
                exchange, attempt=len(tries) + 1, seconds=self._clock() - asked_s, final=final
            )
            self._record(exchange)
            tries.append(exchange)
            if final or wait_s is None:
                return tuple(tries)
            asked_s = self._clock()
            self._sleep(wait_s)

    def _wait_s(self, failure: ModelFailed | None, tried: int) -> float | None:
        """Seconds before a next try: what the endpoint asks for, else 1, 2, 4, ...; or None."""
        if failure is None or not failure.again or tried >= self.settings.tries:
            return None
        if isinstance(failure, RateLimited) and failure.retry_after_s is not None:
            return failure.retry_after_s
        return min(2.0 ** (tried - 1), LONGEST_WAIT_S)

    def _try(self, question: _Question) -> tuple[Exchange, ModelFailed | None]:
        """One try, and why it failed; waits for its turn first."""
        gathered = Gathered(question.max_tokens, question.characters)
        guess = question.characters // CHARACTERS_PER_TOKEN
        failure: ModelFailed | None = None
        if not self._turns.enter(guess, question.patience_left_s(self._clock())):
            failure = RateLimited(
                f"No turn for {self.settings.model} comes in time, by the limits set for it or the "
                "pause that it asked for; give more time, or raise the limits."
            )
            failure.again = False  # it has waited already
            return self._exchange(question, gathered, failure), failure
        try:
            failure = self._gather(question, gathered)
            exchange = self._exchange(question, gathered, failure)
        finally:
            spent = gathered.tokens_in + gathered.tokens_out
            self._turns.leave(guess, spent, failure is None)
        if isinstance(failure, RateLimited):
            asked_s = failure.retry_after_s
            self._turns.slow_down(USUAL_PAUSE_S if asked_s is None else asked_s)
        return exchange, failure

    def _gather(self, question: _Question, gathered: Gathered) -> ModelFailed | None:
        """Take an answer; why none came, if so."""
        s = self.settings
        try:
            self._client.load()
            limits = TimeLimits(
                s.first_token_s, s.idle_s, s.timeout_s, question.run_s(self._clock())
            )
            gather(
                lambda: self._client.stream(question.messages, question.max_tokens),
                gathered,
                limits,
                s.place,
            )
        except Exception as error:
            return failure_of(error, s)
        if gathered.refusal or gathered.finish == "content_filter":
            return ModelDeclined(f"{s.model} declined to answer; name another model with --model.")
        return None

    def _exchange(
        self, question: _Question, gathered: Gathered, failure: ModelFailed | None
    ) -> Exchange:
        reply = without_key(gathered.text, self.settings.api_key)
        guess_in = question.characters // CHARACTERS_PER_TOKEN if gathered.began else 0
        tokens_in = gathered.tokens_in or guess_in
        tokens_out = gathered.tokens_out or gathered.characters // CHARACTERS_PER_TOKEN
        price = price_usd(self.settings, tokens_in, tokens_out)
        return Exchange(
            model=self.settings.model,
            prompt_version=PROMPT_VERSION,
            prompt_digest=question.digest,
            messages=question.messages,
            reply=reply,
            reply_digest=text_digest(reply),
            finish=gathered.finish,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            price_usd=price or 0.0,
            price_known=price is not None,
            seconds=0.0,
            error=type(failure).__name__ if failure else None,
            said=str(failure) if failure else "",
            ask=question.call.ask,
            move=question.call.move,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )


@dataclass(frozen=True, slots=True)
class _Question:
    """What one answer is wanted for, and what it may take."""

    messages: tuple[Message, ...]
    call: Call
    settings: ModelSettings
    begun_s: float

    @property
    def digest(self) -> str:
        return prompt_digest(self.messages)

    @property
    def characters(self) -> int:
        return sum(len(message["content"]) for message in self.messages)

    @property
    def max_tokens(self) -> int:
        """Of the answer, by all limits; the prompt is paid for first, where there is enough."""
        most, asking = float(self.settings.max_tokens), self.characters // CHARACTERS_PER_TOKEN
        left, left_usd = self.call.tokens_left, self.call.price_left_usd
        if left is not None:
            most = min(most, left - asking if left > asking else left)
        prices = prices_of(self.settings)
        if left_usd is not None and prices is not None and prices[1] > 0.0:
            most = min(most, (1e6 * left_usd - asking * prices[0]) / prices[1])
        return max(1, int(most))

    def run_s(self, now_s: float) -> float | None:
        """What the run has left; None when it has no end."""
        left_s = self.call.seconds_left
        return None if left_s is None else max(0.0, left_s - (now_s - self.begun_s))

    def patience_left_s(self, now_s: float) -> float:
        left_s = self.call.seconds_left
        most_s = self.settings.patience_s
        least_s = most_s if left_s is None else min(most_s, left_s)
        return max(0.0, least_s - (now_s - self.begun_s))
