"""Which model is asked, where and how patiently; what cannot work is refused before a run."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from evolver.model_errors import ModelSetupWrong


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model, where, and how patiently.

    Attributes:
        model: PROVIDER/NAME, such as openai/NAME for any OpenAI-compatible endpoint.
        api_base: address of the endpoint; None for the provider's own.
        api_key: None takes the provider's usual environment variable.
        timeout_s: for one complete answer.
        first_token_s: until an answer begins; until it is whole where an endpoint does not stream.
        idle_s: between two pieces of an answer.
        tries: calls for one answer, at most.
        patience_s: no further try is begun after this; also the longest wait between two.
        max_tokens: of one answer, thoughts included.
        temperature: None leaves it to the provider.
        price_in, price_out: dollars per million tokens; None asks litellm's table.
        requests_per_minute, tokens_per_minute: kept by all who ask this model; None is no limit.
        concurrency: calls under way at once, at most; fewer after the endpoint asks to slow down.
    """

    model: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 600.0
    first_token_s: float = 120.0
    idle_s: float = 60.0
    tries: int = 4
    patience_s: float = 300.0
    max_tokens: int = 16_384
    temperature: float | None = None
    price_in: float | None = None
    price_out: float | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrency: int = 8

    @property
    def provider(self) -> str:
        """The part of the model's name before the first slash."""
        return self.model.partition("/")[0]

    @property
    def name(self) -> str:
        """The model's name at its provider."""
        return self.model.partition("/")[2]

    @property
    def address(self) -> str | None:
        """Where the endpoint is; None for the provider's own."""
        if self.api_base or self.provider != "openai":
            return self.api_base
        return os.environ.get("OPENAI_BASE_URL") or None

    @property
    def place(self) -> str:
        """What messages call the endpoint: its address, or the model."""
        return self.address or self.model


def check_settings(settings: ModelSettings) -> None:
    """Pass when the settings make sense by themselves.

    Raises:
        ModelSetupWrong: a name without a provider, no address, a limit below its least.
    """
    name = settings.model
    if not all("!" <= c <= "~" for c in name) or len(name) > 200:
        raise ModelSetupWrong("A model's name is printable ASCII: write PROVIDER/NAME.")
    if not settings.provider or not settings.name:
        bare = name.strip("/") or "NAME"
        raise ModelSetupWrong(
            f"The model {name!r} names no provider: write openai/{bare} for OpenAI or any "
            f"OpenAI-compatible endpoint, else PROVIDER/{bare} as litellm calls it."
        )
    _check_address(settings)
    _check_limits(settings)


def _check_address(settings: ModelSettings) -> None:
    if settings.address is None:
        return
    try:
        parts = urlsplit(settings.address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if good and (parts.username or parts.password or parts.query):
        raise ModelSetupWrong(
            "The address of the endpoint carries credentials or a query, and addresses are "
            "recorded: leave them out, and give the key in the provider's environment variable."
        )
    if not good:
        raise ModelSetupWrong(
            "The address of the endpoint is no URL: write it as http://HOST:PORT/v1, ending where "
            "/chat/completions begins."
        )


def _check_limits(settings: ModelSettings) -> None:
    s = settings
    for name in ("tries", "max_tokens", "concurrency", "timeout_s", "first_token_s", "idle_s",
                 "patience_s", "requests_per_minute", "tokens_per_minute"):  # fmt: skip
        value = getattr(s, name)
        least = 1 if isinstance(value, int) else 0.0
        if value is not None and not (least <= value < math.inf and value > 0):
            raise ModelSetupWrong(f"{name} of {s.model} is {value:g}: give a positive number.")
    for price in (s.price_in, s.price_out):
        if price is not None and not 0 <= price < math.inf:
            raise ModelSetupWrong(f"A price of {s.model} is {price:g}: give dollars from 0 on.")
