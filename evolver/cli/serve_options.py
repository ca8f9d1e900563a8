"""What `evolver serve` is told about its two sides: who may come in and how, what lies behind."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused

if TYPE_CHECKING:
    from serving_adapter.gateway.headers import EngineHeaders, Network
    from serving_adapter.gateway.listening import TlsFiles
    from serving_adapter.gateway.upstream import Upstream
    from serving_adapter.tracing import Tracing

MAX_KEY_BYTES = 4096
URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


class UpstreamKind(StrEnum):
    """Whose header says which worker takes a request."""

    SMG = "smg"
    DYNAMO = "dynamo"


Engines = Annotated[
    list[str] | None, typer.Option("--engine", metavar="URL", help="Of an engine; repeatable.")
]
UpstreamUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Of the gateway that moves the bytes instead.")
]
SetHeader = Annotated[
    UpstreamKind | None, typer.Option(help="With --upstream: how it is told which worker.")
]
Address = Annotated[str, typer.Option(metavar="ADDRESS", help="To listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")]
TlsCertificate = Annotated[
    Path | None, typer.Option(metavar="FILE", help="PEM chain; with --tls-key, serves HTTPS.")
]
TlsKey = Annotated[Path | None, typer.Option(metavar="FILE", help="PEM key of --tls-certificate.")]
TlsClientCa = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Let in only clients certified by it.")
]
ClientKeysFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Hashed API keys: evolver keys client.")
]
ForwardKeys = Annotated[
    bool, typer.Option("--forward-keys", help="Engines see the API keys of clients, too.")
]
EngineKeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The API key that engines ask for.")
]
TrustProxy = Annotated[
    list[str] | None,
    typer.Option(metavar="NETWORK", help="Whose X-Forwarded headers count; repeatable."),
]
MaxConnections = Annotated[int, typer.Option(min=1, help="Clients above it are told 503.")]
Otel = Annotated[
    bool, typer.Option("--otel", help="Spans and metrics over OTLP, as OTEL_* says.")
]  # fmt: skip


def engine_urls(words: list[str] | None, upstream: Upstream | None) -> tuple[str, ...]:
    """The engines to send to; none where an upstream does that.

    Raises:
        Misused: neither engines nor an upstream, or what is no address.
    """
    if upstream is not None:
        return ()
    if not words:
        raise Misused("Say what to serve: --engine URL, or --upstream URL with --set-header.")
    return tuple(_url(word) for word in words)


def upstream_of(
    url: str | None, kind: UpstreamKind | None, engines: list[str] | None
) -> Upstream | None:
    """The upstream of header-only mode; `engines` are those of its workers to use, all if none.

    Raises:
        Misused: half of it is missing, or an address is none.
    """
    from serving_adapter.gateway.upstream import Kind, Upstream

    if (url is None) != (kind is None):
        raise Misused("--upstream URL and --set-header go together.")
    if url is None or kind is None:
        return None
    named = engines or []
    if kind is UpstreamKind.SMG:
        named = [_url(word) for word in named]
    elif not all(word.isdecimal() for word in named):
        raise Misused(
            "With --set-header dynamo, --engine takes instance ids as /health lists them."
        )
    return Upstream(_url(url), Kind(kind.value), frozenset(named))


def headers_of(
    trusted: list[str] | None, *, forward_keys: bool, engine_key: Path | None
) -> EngineHeaders:
    """What passes to engines.

    Raises:
        Misused: a network is none, or the key's file holds none.
    """
    from serving_adapter.gateway.headers import EngineHeaders

    if forward_keys and engine_key is not None:
        raise Misused("Engines get one key: give --forward-keys or --engine-key-file.")
    return EngineHeaders(
        trusted=_networks(trusted or []),
        forward_keys=forward_keys,
        engine_key=None if engine_key is None else _secret(engine_key),
    )


def tracing_of(*, otel: bool) -> Tracing:
    """Tracing, if asked for.

    Raises:
        AdapterError: the extra is not installed.
    """
    from serving_adapter.tracing import NO_TRACING, OpenTelemetry

    return OpenTelemetry() if otel else NO_TRACING


def tls_of(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    """The files of HTTPS; None for HTTP.

    Raises:
        Misused: half of them is missing.
    """
    from serving_adapter.gateway.listening import TlsFiles

    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise Misused("HTTPS needs both --tls-certificate FILE and --tls-key FILE.")
    return TlsFiles(certificate=certificate, key=key, client_ca=client_ca)


def _networks(words: list[str]) -> tuple[Network, ...]:
    from ipaddress import ip_network

    try:
        return tuple(ip_network(word) for word in words)
    except ValueError as error:
        raise Misused(
            f"--trust-proxy takes an address or network, such as 10.0.0.0/8; {error}."
        ) from None


def _secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            key = file.read(MAX_KEY_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        key = ""
    if not key or not key.isprintable() or " " in key:
        raise Misused(f"{path} holds no API key: write one word into it, readable by you alone.")
    return key


def _url(text: str) -> str:
    if not URL.fullmatch(text):
        raise Misused(f"{text!r} is no engine's address; give one like http://127.0.0.1:8001.")
    return text.rstrip("/")
