"""Streams answers from models: through openai where the endpoint speaks its language, else litellm.

Both are imported with the first call (openai takes two seconds, litellm five). Keys go to them and
nowhere else.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from evolver.model_errors import KeyMissing, ModelSetupWrong
from evolver.model_settings import ModelSettings
from evolver.model_stream import Done
from evolver.prompt import Message

if TYPE_CHECKING:
    import httpx
    import openai

MAX_BODY_BYTES = 64 * 1024 * 1024  # of one answer on its way, far above any completion
MAX_LINE_BYTES = 8 * 1024 * 1024
CONNECT_S = 10.0
_NO_EXTRA = "Models need the llm extra: install it with pip install 'evolver[llm]'."
_import_lock = threading.Lock()


class BodyTooLarge(Exception):
    """An endpoint sends more than any answer needs."""


class Client(Protocol):
    """Asks one model."""

    def check(self) -> None:
        """Pass when the model can be asked, as far as can be told without asking.

        Raises:
            ModelSetupWrong: the extra is missing, or the provider is unknown.
            KeyMissing: the provider wants a key and there is none.
        """

    def load(self) -> None:
        """Import what is needed: seconds that no time limit of an answer should count."""

    def stream(self, messages: Sequence[Message], max_tokens: int) -> Generator[object, None, None]:
        """The answer's pieces as JSON documents, `Done` last; raises what the library raises."""


def client_for(settings: ModelSettings) -> Client:
    """The client for the model's provider."""
    return OpenAIClient(settings) if settings.provider == "openai" else LitellmClient(settings)


class OpenAIClient:
    """OpenAI's own SDK, for OpenAI and whoever speaks its language.

    Endpoints differ in what they understand: an option that is turned down is left out afterwards.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._made: openai.OpenAI | None = None
        own = settings.address is None
        self._limit_name: str | None = "max_completion_tokens" if own else "max_tokens"
        self._left_out: set[str] = set()

    def check(self) -> None:
        """The SDK must be there, and a key where OpenAI itself is asked."""
        if find_spec("openai") is None:
            raise ModelSetupWrong(_NO_EXTRA)
        self._key()

    def load(self) -> None:
        """Make the SDK's client, with the parts that it imports when they are first used."""
        _ = self._client().chat.completions.with_streaming_response

    def stream(self, messages: Sequence[Message], max_tokens: int) -> Generator[object, None, None]:
        """The answer's pieces, whether the endpoint streams or not."""
        client = self._client()
        while True:
            options = self._options(max_tokens)
            try:
                with client.chat.completions.with_streaming_response.create(
                    model=self._settings.name,
                    messages=[dict(message) for message in messages],  # type: ignore[misc]  # roles are ours
                    **options,
                ) as response:
                    yield from documents_in(response.iter_bytes())
                return
            except Exception as error:
                if not self._without(error, options):
                    raise

    def _options(self, max_tokens: int) -> dict[str, Any]:
        options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        if self._limit_name:
            options[self._limit_name] = max_tokens
        if self._settings.temperature is not None:
            options["temperature"] = self._settings.temperature
        return {name: value for name, value in options.items() if name not in self._left_out}

    def _without(self, error: Exception, options: dict[str, Any]) -> bool:
        """Leave out the option that the endpoint turned down; was it one?"""
        if getattr(error, "status_code", None) not in (400, 422):
            return False
        said = str(error)
        if "max_completion_tokens" in said and "max_tokens" in options:
            self._limit_name = "max_completion_tokens"
            return True
        if self._limit_name in options and ("context" in said or str(self._limit_name) in said):
            self._limit_name = None  # the model takes what its context leaves; we stop reading
            return True
        for name in ("stream_options", "temperature", "stream"):
            if name in said and name in options:
                self._left_out |= {name, "stream_options"} if name == "stream" else {name}
                return True
        return False

    def _key(self) -> str:
        key = self._settings.api_key or os.environ.get("OPENAI_API_KEY")
        if not key and not self._settings.address:
            raise _no_key("OPENAI_API_KEY", self._settings)
        return key or "none"

    def _client(self) -> openai.OpenAI:
        with self._lock, _import_lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> openai.OpenAI:
        try:
            import httpx
            import openai
        except ImportError as error:
            raise ModelSetupWrong(_NO_EXTRA) from error
        s = self._settings
        quiet_s = max(s.first_token_s, s.idle_s)
        return openai.OpenAI(
            api_key=self._key(),
            base_url=s.address,
            max_retries=0,
            timeout=httpx.Timeout(quiet_s, connect=min(CONNECT_S, quiet_s)),
            http_client=openai.DefaultHttpxClient(
                limits=httpx.Limits(max_keepalive_connections=0),  # idle ones would only go stale
                event_hooks={"response": [lambda response: _bound(response, s.timeout_s)]},
            ),
        )


class LitellmClient:
    """litellm, for every other provider."""

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings

    def check(self) -> None:
        """litellm must be there, know the provider, and find a key where one is needed."""
        litellm = load_litellm()
        try:
            litellm.get_llm_provider(self._settings.model, api_base=self._settings.api_base)
        except Exception as error:
            raise ModelSetupWrong(
                f"litellm knows no provider {self._settings.provider!r}: write openai/"
                f"{self._settings.model} with --api-base for an OpenAI-compatible endpoint."
            ) from error
        self._key(litellm)

    def load(self) -> None:
        """Import litellm."""
        load_litellm()

    def stream(self, messages: Sequence[Message], max_tokens: int) -> Generator[object, None, None]:
        """The answer's pieces in OpenAI's shape."""
        litellm = load_litellm()
        s = self._settings
        for chunk in litellm.completion(
            model=s.model,
            messages=[dict(message) for message in messages],
            api_base=s.api_base,
            api_key=self._key(litellm),
            timeout=max(s.first_token_s, s.idle_s),
            max_tokens=max_tokens,
            temperature=s.temperature,
            stream=True,
            stream_options={"include_usage": True},
            drop_params=True,
            num_retries=0,
            max_retries=0,
        ):
            yield chunk.model_dump()
        yield Done()

    def _key(self, litellm: Any) -> str | None:  # noqa: ANN401 - litellm has no types
        """The key given or found; other addresses get a word instead of none."""
        s = self._settings
        if s.api_key:
            return s.api_key
        missing = litellm.validate_environment(s.model)["missing_keys"]
        wanted = [name for name in missing if name.endswith("_API_KEY")]
        if wanted and not s.api_base:
            raise _no_key(wanted[0], s)
        return "none" if wanted else None


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
            raise ModelSetupWrong(_NO_EXTRA) from error
        litellm.suppress_debug_info = True
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
        return litellm


def documents_in(chunks: Iterable[bytes]) -> Iterator[object]:
    """The JSON documents of a body: the events of a stream, or the one it consists of.

    What it is shows in its first character, since not every endpoint says so in its headers.

    Raises:
        ValueError, RecursionError: it is no JSON.
        BodyTooLarge: a line or the body goes on for too long.
    """
    lines = _lines(chunks)
    first = next((line for line in lines if line.strip()), b"")
    if first.lstrip().startswith((b"{", b"[")):
        yield json.loads(b"\n".join([first, *lines]))
        yield Done()
        return
    for line in chain([first], lines):
        data = line[5:].strip() if line.startswith(b"data:") else b""
        if data == b"[DONE]":
            yield Done()
            return
        if data:
            yield json.loads(data)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest, taken = bytearray(), 0
    for chunk in chunks:
        taken += len(chunk)
        rest += chunk
        if b"\n" in chunk:
            *whole, last = bytes(rest).split(b"\n")
            yield from whole
            rest = bytearray(last)
        if taken > MAX_BODY_BYTES or len(rest) > MAX_LINE_BYTES:
            raise BodyTooLarge
    yield bytes(rest)


def _bound(response: httpx.Response, timeout_s: float) -> None:
    """Let no body be longer or take longer than any answer may, an error's body included."""
    import httpx

    class Bounded(httpx.SyncByteStream):
        def __init__(self, inner: httpx.SyncByteStream) -> None:
            self._inner = inner

        def __iter__(self) -> Iterator[bytes]:
            ends_s, taken = time.monotonic() + timeout_s, 0
            for chunk in self._inner:
                taken += len(chunk)
                if taken > MAX_BODY_BYTES:
                    raise BodyTooLarge
                if time.monotonic() > ends_s:
                    raise httpx.ReadTimeout("the body takes too long")
                yield chunk

        def close(self) -> None:
            self._inner.close()

    if isinstance(response.stream, httpx.SyncByteStream):
        response.stream = Bounded(response.stream)


def _no_key(variable: str, settings: ModelSettings) -> KeyMissing:
    return KeyMissing(
        f"There is no key for {settings.model}: set {variable}, or name an endpoint that needs "
        "none with --api-base."
    )
