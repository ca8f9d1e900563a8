"""Says which of our errors an exception of a client means, in one sentence without secrets.

Exceptions of openai, litellm and httpx are told apart by the names of their classes and by their
HTTP status, so that none of these packages is imported for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

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
from evolver.model_settings import ModelSettings
from evolver.model_stream import BrokenOff, NoCompletion

SECRET = re.compile(r"(?i)\b(?:sk|key|bearer|token)[-_: ]?[\w*.-]{6,}")
MIN_KEY_CHARACTERS = 6  # shorter ones, such as "none", are words

_LATE = frozenset({"Timeout", "APITimeoutError", "ReadTimeout", "ConnectTimeout", "PoolTimeout"})
_CUT = frozenset({"RemoteProtocolError", "ReadError", "WriteError", "BrokenOff"})


def failure_of(error: BaseException, settings: ModelSettings) -> ModelFailed:
    """Which of our errors an exception of a client means."""
    if isinstance(error, ModelFailed):
        return error
    chain = list(_chain(error))
    names = {type(link).__name__ for link in chain}
    status = _status(error, chain)
    if status is not None:
        return _by_status(status, error, chain, settings)
    place = settings.place
    if isinstance(error, TimeoutError) or names & _LATE:
        return EndpointSlow(
            f"No answer from {place} in time; allow more time or name another model."
        )
    if "APIConnectionError" in names or "ConnectError" in names:
        return EndpointDead(
            f"Nothing answers at {place}; check that the endpoint runs and --api-base is right."
        )
    if isinstance(error, BrokenOff) or names & _CUT:
        return EndpointFailing(
            f"{place} broke off in the middle of an answer; try again later or name another model."
        )
    if type(error).__name__ == "EndpointSaid":
        said = blotted(str(error), settings.api_key)
        return EndpointFailing(f"{place} ended an answer with an error: {said} Try again later.")
    return EndpointFailing(_not_a_completion(settings, error))


def blotted(text: str, key: str | None) -> str:
    """A provider's words in one short ASCII line without anything that looks like a key."""
    plain = "".join(c if " " <= c <= "~" else " " for c in without_key(text[:10_000], key))
    return SECRET.sub("***", " ".join(plain.split()))[:240]


def without_key(text: str, key: str | None) -> str:
    """A text with our own key made unreadable, should the other side repeat it."""
    return text.replace(key, "***") if key and len(key) >= MIN_KEY_CHARACTERS else text


def _by_status(
    status: int, error: BaseException, chain: Sequence[BaseException], settings: ModelSettings
) -> ModelFailed:
    said = blotted(str(error), settings.api_key)
    if status in (401, 403):
        return KeyMissing(
            f"{settings.place} does not accept the key ({status}); set the provider's API key and "
            "check that it may use this model."
        )
    if status == 402 or "insufficient_quota" in str(error):
        return ModelSetupWrong(f"The account of {settings.model} has no credit left; top it up.")
    if status == 429:
        return RateLimited(
            f"{settings.model} limits the rate of calls; wait, or ask less often.",
            retry_after_s(chain),
        )
    if status == 408:
        return EndpointSlow(
            f"{settings.place} gave up waiting for its own answer (408); name another model."
        )
    if status >= 500:
        return EndpointFailing(
            f"{settings.place} answers with server error {status}; try again later or name "
            "another model."
        )
    if type(error).__name__ == "ContentPolicyViolationError" or "content_filter" in str(error):
        return ModelDeclined(f"The provider of {settings.model} declined the prompt: {said}")
    return ModelSetupWrong(
        f"{settings.model} turned the request down ({status}): {said} Check --model "
        "(PROVIDER/NAME) and --api-base."
    )


def _not_a_completion(settings: ModelSettings, error: BaseException) -> str:
    kind = "" if isinstance(error, NoCompletion) else f" ({type(error).__name__})"
    return (
        f"{settings.place} answers with something that is no chat completion{kind}; check that "
        "--api-base ends where /chat/completions begins."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException, chain: Sequence[BaseException]) -> int | None:
    """The HTTP status that really came; litellm also says 500 about what it cannot parse."""
    for link in chain:
        if type(link).__name__ == "HTTPStatusError":
            return int(getattr(link, "response").status_code)  # noqa: B009
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and 400 <= status != 500 else None


def retry_after_s(chain: Sequence[BaseException]) -> float | None:
    """What the answer's Retry-After asks for, in seconds or as a date; None when it does not."""
    headers = [getattr(link, "litellm_response_headers", None) for link in chain]
    headers += [getattr(getattr(link, "response", None), "headers", None) for link in chain]
    for found in headers:
        value = str(found.get("retry-after") or "") if found else ""
        if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value):
            return float(value)
        if value:
            return _until(value)
    return None


def _until(date: str) -> float | None:
    try:
        when = parsedate_to_datetime(date[:64])
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
