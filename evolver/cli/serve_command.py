"""`evolver serve`: the gateway in front of engines, with whatever policy is live."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.options import Quiet, screen_of
from evolver.cli.policies import read_policy_file
from evolver.cli.publishing import snapshot_path, state_folder, trust_path
from evolver.cli.serve_options import (
    Address,
    ClientKeysFile,
    EngineKeyFile,
    Engines,
    ForwardKeys,
    MaxConnections,
    Otel,
    Port,
    SetHeader,
    TlsCertificate,
    TlsClientCa,
    TlsKey,
    TrustProxy,
    UpstreamUrl,
    engine_urls,
    headers_of,
    tls_of,
    tracing_of,
    upstream_of,
)
from sandbox.home import home

if TYPE_CHECKING:
    from evolver.cli.screen import Screen
    from sandbox.engine import EngineName
    from serving_adapter.gateway.service import Front, ServiceSettings
    from serving_adapter.side.side_process import SideProcesses


class EngineMode(StrEnum):
    """How a policy runs."""

    COMPILED = "compiled"
    INTERPRETED = "interpreted"
    SIDE = "side"


Snapshot = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What to follow; this home's active.json.")
]
Trust = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Trusted keys, or a folder of such files.")
]
Deployment = Annotated[
    str, typer.Option(metavar="NAME", help="What this host serves; snapshots name it.")
]
State = Annotated[Path | None, typer.Option(metavar="DIR", help="What must outlive a restart.")]
RequestLog = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A JSON line per request, without text.")
]
ModeOption = Annotated[EngineMode, typer.Option(help="side: in a locked-down process of its own.")]
Untrusted = Annotated[
    bool, typer.Option("--untrusted", help="Run --policy, which nobody approved.")
]
PolicyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With --untrusted: the policy to run.")
]
Accepted = Annotated[
    list[str] | None,
    typer.Option(metavar="LAYER", help="With --untrusted: isolation to do without; repeatable."),
]
AdminPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Of the kill switch, on loopback.")
]
Drain = Annotated[float, typer.Option(min=0.0, help="For requests inside, at the end.")]


def serve(
    context: typer.Context,
    engine: Engines = None,
    upstream: UpstreamUrl = None,
    set_header: SetHeader = None,
    snapshot: Snapshot = None,
    trust: Trust = None,
    deployment: Deployment = "default",
    host: Address = "127.0.0.1",
    port: Port = 8080,
    state: State = None,
    request_log: RequestLog = None,
    engine_mode: ModeOption = EngineMode.COMPILED,
    untrusted: Untrusted = False,
    policy: PolicyFile = None,
    accept_missing: Accepted = None,
    admin_port: AdminPort = None,
    drain_s: Drain = 60.0,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    client_keys: ClientKeysFile = None,
    forward_keys: ForwardKeys = False,
    engine_key_file: EngineKeyFile = None,
    trust_proxy: TrustProxy = None,
    max_connections: MaxConnections = 4096,
    otel: Otel = False,
    quiet: Quiet = False,
) -> None:
    """Serve the OpenAI API in front of engines, and follow the signed snapshot.

    Without a snapshot the built-in default decides. SIGTERM drains and ends.

    \b
    evolver serve --engine http://127.0.0.1:8001 --engine http://127.0.0.1:8002
    evolver serve --engine http://gpu-1:8000 --untrusted --policy mine.py
    evolver serve --upstream http://127.0.0.1:30000 --set-header smg
    """
    from serving_adapter.gateway.listening import ClientLimits
    from serving_adapter.gateway.service import Front, ServiceSettings

    screen = screen_of(context, quiet)
    if untrusted != (policy is not None):
        raise Misused("--untrusted and --policy FILE go together; a snapshot needs neither.")
    if accept_missing and not untrusted:
        raise Misused("--accept-missing is for --untrusted only.")
    front = Front(
        tls=tls_of(tls_certificate, tls_key, tls_client_ca),
        limits=ClientLimits(max_connections=max_connections),
        client_keys=client_keys,
        headers=headers_of(trust_proxy, forward_keys=forward_keys, engine_key=engine_key_file),
        upstream=upstream_of(upstream, set_header, engine),
        tracing=tracing_of(otel=otel),
    )
    settings = ServiceSettings(
        engines=engine_urls(engine, front.upstream),
        host=host,
        port=port,
        snapshot=snapshot or snapshot_path(home(), deployment),
        trust=trust or trust_path(home()),
        deployment=deployment,
        untrusted=None if policy is None else read_policy_file(policy),
        state=state or state_folder(home(), deployment),
        request_log=request_log,
        drain_s=drain_s,
        admin_port=admin_port,
    )
    _run(screen, settings, front, engine_mode, accept_missing or [])


def _run(
    screen: Screen,
    settings: ServiceSettings,
    front: Front,
    mode: EngineMode,
    accepted: list[str],
) -> None:
    import asyncio

    from serving_adapter.activation import prepare_policy
    from serving_adapter.gateway.service import serve as serve_until_told

    _log_to_stderr(screen)
    side = _side_processes(settings, mode, accepted)
    prepare = side.prepare if side else partial(prepare_policy, engine=_engine_of(mode))
    try:
        asyncio.run(serve_until_told(settings, prepare, screen.text, front))
    finally:
        if side is not None:
            side.close()


def _side_processes(
    settings: ServiceSettings, mode: EngineMode, accepted: list[str]
) -> SideProcesses | None:
    """What nobody approved never runs in this process, and not without isolation."""
    if settings.untrusted is None and mode is not EngineMode.SIDE:
        return None
    from serving_adapter.side.side_process import SideProcesses

    needs_isolation = settings.untrusted is not None
    return SideProcesses(_engine_of(mode), needs_isolation=needs_isolation, accept_missing=accepted)


def _engine_of(mode: EngineMode) -> EngineName:
    return "interpreted" if mode is EngineMode.INTERPRETED else "auto"


def _log_to_stderr(screen: Screen) -> None:
    import logging

    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(format=form, level=logging.WARNING)
    if not screen.quiet:
        logging.getLogger("evolver").setLevel(logging.INFO)
