"""One chat completion from any provider through litellm, with retries, and a record of each try.

litellm is imported with the first call: it takes seconds, and would fetch a price table from the
network unless told to use its own. Keys go to litellm and nowhere else.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, Queue
from typing import Any, TypeVar

from evolver.model_errors import (
    EndpointDead,
    EndpointFailing,
    EndpointSlow,
    KeyMissing,
    ModelDeclined,
    ModelFailed,
    ModelSetupWrong,
    RateLimited,
)
from evolver.prompt import PROMPT_VERSION, Message
from sandbox.identity import canonical_json, text_digest

MAX_REPLY_CHARACTERS = 400_000
SECRET = re.compile(r"(?i)\b(?:sk|key|bearer|token)[-_: ]?[\w*.-]{6,}")
RETRYABLE = (EndpointDead, EndpointSlow, EndpointFailing, RateLimited)
_T = TypeVar("_T")
_import_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model, where, and how patiently.

    Attributes:
        model: litellm's PROVIDER/NAME, such as openai/NAME for any OpenAI-compatible endpoint.
        api_base: address of the endpoint; None for the provider's own.
        api_key: None takes the provider's usual environment variable.
        timeout_s: for one complete answer.
        tries: calls for one answer, at most.
        patience_s: no further try is begun after this; also the longest wait between two.
        max_tokens: of one answer, thoughts included.
        temperature: None leaves it to the provider.
        price_in, price_out: dollars per million tokens; None asks litellm's table.
    """

    model: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 180.0
    tries: int = 4
    patience_s: float = 300.0
    max_tokens: int = 16_384
    temperature: float | None = None
    price_in: float | None = None
    price_out: float | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call: what was asked, what came back, and what it cost; holds no key.

    `price_usd` is 0 with `price_known` False when neither the settings nor litellm know a price.
    `error` is the name of the error's class; then `reply` is empty.
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


Recorder = Callable[[Exchange], None]


class ModelEndpoint:
    """Answers lists of messages; may be called from several threads at once.

    Args:
        settings: model, address, patience.
        record: called with every try, failed ones included.
        sleep: waits between tries; replaced in tests.
    """

    def __init__(
        self,
        settings: ModelSettings,
        record: Recorder = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self._record = record
        self._sleep = sleep

    def complete(self, messages: Sequence[Message]) -> Exchange:
        """The answer to these messages.

        Raises:
            ModelFailed: one of its subclasses, after the last try.
        """
        started = time.monotonic()
        for attempt in range(1, self.settings.tries + 1):
            try:
                return self._try(messages)
            except RETRYABLE as failure:
                wait_s = self._wait_s(failure, attempt)
                elapsed_s = time.monotonic() - started
                last = attempt == self.settings.tries
                if last or elapsed_s + wait_s > self.settings.patience_s:
                    raise
                self._sleep(wait_s)
        raise ModelSetupWrong("The number of tries is 0: allow at least one.")

    def _wait_s(self, failure: ModelFailed, attempt: int) -> float:
        """What the endpoint asks for, else 1, 2, 4, ... seconds."""
        if isinstance(failure, RateLimited) and failure.retry_after_s is not None:
            return failure.retry_after_s
        return min(float(2 ** (attempt - 1)), 30.0)

    def _try(self, messages: Sequence[Message]) -> Exchange:
        started = time.monotonic()
        try:
            response = self._call(messages)
            exchange = self._exchange(messages, response, time.monotonic() - started)
        except ModelFailed as failure:
            self._record(self._failed(messages, failure, time.monotonic() - started))
            raise
        self._record(exchange)
        if exchange.finish == "content_filter":
            raise ModelDeclined(
                f"{self.settings.model} declined to answer; name another model with --model."
            )
        return exchange

    def _call(self, messages: Sequence[Message]) -> Any:  # noqa: ANN401 - litellm has no types
        litellm = load_litellm()
        s = self.settings
        call = partial(
            litellm.completion,
            model=s.model,
            messages=[dict(message) for message in messages],
            api_base=s.api_base,
            api_key=self._key(litellm),
            timeout=s.timeout_s,
            max_tokens=s.max_tokens,
            temperature=s.temperature,
            drop_params=True,
            num_retries=0,
            max_retries=0,
        )
        try:
            return _within(s.timeout_s, call)
        except Exception as error:
            raise failure_of(error, s) from None  # its chain holds headers, and so the key

    def _key(self, litellm: Any) -> str | None:  # noqa: ANN401
        """The key given or found; local endpoints get a word instead of none."""
        s = self.settings
        if s.api_key:
            return s.api_key
        missing = litellm.validate_environment(s.model)["missing_keys"]
        wanted = [name for name in missing if name.endswith("_API_KEY")]
        if wanted and not s.api_base:
            raise KeyMissing(
                f"There is no key for {s.model}: set {wanted[0]}, or name an endpoint that needs "
                "none with --api-base."
            )
        return "none" if wanted else None

    def _exchange(self, messages: Sequence[Message], response: object, seconds: float) -> Exchange:
        choices = getattr(response, "choices", None)
        if not choices:
            raise EndpointFailing(_not_a_completion(self.settings))
        reply = str(choices[0].message.content or "")[:MAX_REPLY_CHARACTERS]
        usage = getattr(response, "usage", None)
        asked = sum(len(message["content"]) for message in messages)
        # an endpoint that counts below zero would give budget back
        tokens_in = max(int(getattr(usage, "prompt_tokens", 0) or 0), 0) or asked // 4
        tokens_out = max(int(getattr(usage, "completion_tokens", 0) or 0), 0) or len(reply) // 4
        price = self._price_usd(response, tokens_in, tokens_out)
        return Exchange(
            model=self.settings.model,
            prompt_version=PROMPT_VERSION,
            prompt_digest=prompt_digest(messages),
            messages=tuple(messages),
            reply=reply,
            reply_digest=text_digest(reply),
            finish=str(choices[0].finish_reason or ""),
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            price_usd=price or 0.0,
            price_known=price is not None,
            seconds=seconds,
        )

    def _price_usd(self, response: object, tokens_in: int, tokens_out: int) -> float | None:
        """By the settings, else by litellm's table, else unknown."""
        s = self.settings
        if s.price_in is not None or s.price_out is not None:
            return (tokens_in * (s.price_in or 0.0) + tokens_out * (s.price_out or 0.0)) / 1e6
        known = getattr(response, "_hidden_params", {}).get("response_cost")
        return max(float(known), 0.0) if isinstance(known, int | float) else None

    def _failed(
        self, messages: Sequence[Message], failure: ModelFailed, seconds: float
    ) -> Exchange:
        return Exchange(
            model=self.settings.model,
            prompt_version=PROMPT_VERSION,
            prompt_digest=prompt_digest(messages),
            messages=tuple(messages),
            reply="",
            reply_digest=text_digest(""),
            finish="",
            tokens_in=0,
            tokens_out=0,
            price_usd=0.0,
            price_known=False,
            seconds=seconds,
            error=type(failure).__name__,
        )


def prompt_digest(messages: Sequence[Message]) -> str:
    """Address of a prompt: SHA-256 of its canonical JSON."""
    return text_digest(canonical_json([dict(message) for message in messages]))


def load_litellm() -> Any:  # noqa: ANN401 - litellm has no types
    """litellm, imported once, without reaching for the network or printing hints.

    Raises:
        ModelSetupWrong: it is not installed.
    """
    with _import_lock:
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        try:
            import litellm
        except ImportError as error:
            raise ModelSetupWrong(
                "Models need the llm extra: install it with pip install 'evolver[llm]'."
            ) from error
        litellm.suppress_debug_info = True
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
        return litellm


def _within(seconds: float, call: Callable[[], _T]) -> _T:
    """The call's result, or EndpointSlow: an answer that drips byte by byte counts as slow, too."""
    results: Queue[tuple[_T | None, BaseException | None]] = Queue()

    def run() -> None:
        try:
            results.put((call(), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=run, daemon=True, name="evolver-model-call").start()
    try:
        result, error = results.get(timeout=seconds + 5.0)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # an answer of None is the call's own business


def failure_of(error: Exception, settings: ModelSettings) -> ModelFailed:
    """Which of our errors an exception of litellm means."""
    if isinstance(error, ModelFailed):
        return error
    chain = list(_chain(error))
    names = {type(link).__name__ for link in chain}
    place = settings.api_base or settings.model
    if isinstance(error, TimeoutError) or names & {"Timeout", "APITimeoutError"}:
        return EndpointSlow(
            f"No answer from {place} within {settings.timeout_s:g} s; allow more time or name "
            "another model."
        )
    if "APIConnectionError" in names or "ConnectError" in names:
        return EndpointDead(
            f"Nothing answers at {place}; check that the endpoint runs and --api-base is right."
        )
    status = _status(error, chain)
    if status is None or status >= 500:
        if status is None:
            return EndpointFailing(_not_a_completion(settings))
        return EndpointFailing(
            f"{place} answers with server error {status}; try again later or name another model."
        )
    return _client_error(status, error, chain, settings)


def _client_error(
    status: int, error: Exception, chain: Sequence[BaseException], settings: ModelSettings
) -> ModelFailed:
    """An answer that says that the request is at fault."""
    said = blotted(str(error), settings.api_key)
    if status in (401, 403):
        return KeyMissing(
            f"{settings.api_base or settings.model} does not accept the key ({status}); set the "
            "provider's API key and check that it may use this model."
        )
    if status == 402:
        return ModelSetupWrong(f"The account of {settings.model} has no credit left; top it up.")
    if status == 429:
        return RateLimited(
            f"{settings.model} limits the rate of calls; wait, or lower the number of threads.",
            _retry_after_s(error, chain),
        )
    if type(error).__name__ == "ContentPolicyViolationError":
        return ModelDeclined(f"The provider of {settings.model} declined the prompt: {said}")
    return ModelSetupWrong(
        f"{settings.model} turned the request down ({status}): {said} Check --model "
        "(PROVIDER/NAME) and --api-base."
    )


def blotted(text: str, key: str | None) -> str:
    """A provider's words in one short ASCII line without anything that looks like a key."""
    plain = "".join(c if " " <= c <= "~" else " " for c in text.replace(key or "\0", "***"))
    return SECRET.sub("***", " ".join(plain.split()))[:240]


def _not_a_completion(settings: ModelSettings) -> str:
    return (
        f"{settings.api_base or settings.model} answers with something that is no chat completion; "
        "check that --api-base ends where /chat/completions begins."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _status(error: Exception, chain: Sequence[BaseException]) -> int | None:
    """The HTTP status that really came; litellm also says 500 about what it cannot parse."""
    for link in chain:
        if type(link).__name__ == "HTTPStatusError":
            return int(getattr(link, "response").status_code)  # noqa: B009
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and status != 500 else None


def _retry_after_s(error: Exception, chain: Sequence[BaseException]) -> float | None:
    headers = [getattr(error, "litellm_response_headers", None)]
    headers += [getattr(getattr(link, "response", None), "headers", None) for link in chain]
    for found in headers:
        value = found.get("retry-after") if found else None
        if value is not None and re.fullmatch(r"\d{1,6}(\.\d+)?", str(value)):
            return float(value)
    return None
