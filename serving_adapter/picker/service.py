"""The picker as a program: follows its snapshot, decides until it is told to stop, then drains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from serving_adapter.activation import Prepare
from serving_adapter.errors import AdapterError
from serving_adapter.gateway.listening import TlsFiles, listening
from serving_adapter.gateway.service import (
    Hosted,
    ServiceSettings,
    drained,
    hosting,
    sentence_of,
    told_to_stop,
)
from serving_adapter.picker.exchange import PickerSettings
from serving_adapter.picker.picker import EndpointPicker

_log = logging.getLogger("evolver.picker")


@dataclass(frozen=True, slots=True, kw_only=True)
class PickerFront:
    """What only the picker has: how proxies reach it, and where its own pages are.

    Attributes:
        pages_port: of `/healthz`, `/readyz` and `/metrics`, at the same address.
        tls: of the gRPC port; the pages are plain HTTP.
        notice_s: for which it says that it stops, and still decides.
    """

    pages_port: int = 9090
    tls: TlsFiles | None = None
    notice_s: float = 5.0
    picker: PickerSettings = field(default_factory=PickerSettings)


async def serve(
    settings: ServiceSettings,
    prepare: Prepare,
    announce: Callable[[str], None],
    front: PickerFront,
) -> None:
    """Serve until SIGTERM or SIGINT, then end when the requests inside have; main thread only.

    Args:
        settings: what and where; `host` and `port` are those of the gRPC service.
        prepare: how a policy is loaded.
        announce: told once, in one sentence, where proxies are answered and what decides.
        front: how proxies reach it.

    Raises:
        AdapterError: it cannot start.
    """
    stop, hurry = told_to_stop()
    credentials = await asyncio.to_thread(_credentials, front.tls)
    async with hosting(settings, prepare, "endpoint-picker") as hosted:
        picker = _picker(settings, front, hosted)
        address = f"[{settings.host}]" if ":" in settings.host else settings.host
        async with (
            picker.running(f"{address}:{settings.port}", credentials) as port,
            listening(picker.application(), settings.host, front.pages_port) as pages,
        ):
            where = f"grpc://{address}:{port}, pages on http://{address}:{pages}"
            announce(sentence_of(hosted.host, settings, where))
            await stop.wait()
            _log.info("draining: decides for %g s more, then what is inside ends", front.notice_s)
            await drained(picker.drain(front.notice_s), hurry, settings.drain_s)


def _picker(settings: ServiceSettings, front: PickerFront, hosted: Hosted) -> EndpointPicker:
    return EndpointPicker(
        hosted.host,
        dict.fromkeys(settings.engines),
        hosted.registry,
        settings=front.picker,
        on_request=hosted.on_request,
        facts=hosted.facts,
    )


def _credentials(tls: TlsFiles | None) -> Any:  # noqa: ANN401 - untyped library
    """Of a TLS server; a renewed certificate counts for the next connection.

    Raises:
        AdapterError: the files cannot be used.
    """
    if tls is None:
        return None
    tls.context()  # which says what is wrong with them

    def now() -> Any:  # noqa: ANN401
        roots = tls.client_ca.read_bytes() if tls.client_ca is not None else None
        pair = tls.key.read_bytes(), tls.certificate.read_bytes()
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)

    def again() -> Any:  # noqa: ANN401
        try:
            return now()
        except OSError as error:
            _log.error("the old certificate stays: %s", type(error).__name__)
            return None

    try:
        return grpc.dynamic_ssl_server_credentials(
            now(), again, require_client_authentication=tls.client_ca is not None
        )
    except OSError as error:
        raise AdapterError(f"TLS cannot start: {error.strerror}.") from error
