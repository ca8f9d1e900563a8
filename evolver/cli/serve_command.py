"""`evolver serve`: the gateway in front of engines, with whatever policy is live."""

from __future__ import annotations

from functools import partial

import typer

from evolver.cli.host_options import (
    Accepted,
    AdminPort,
    Bounds,
    Deployment,
    Drain,
    EngineMode,
    HashKey,
    ModeOption,
    PolicyFile,
    RequestLog,
    Snapshot,
    State,
    Trust,
    Untrusted,
    run_host,
    service_settings,
)
from evolver.cli.options import Quiet, screen_of
from evolver.cli.serve_control import (
    ControlEvery,
    HostToken,
    ReportToStore,
    ReportUrl,
    SnapshotUrl,
    control_of,
    reporting,
)
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


def serve(
    context: typer.Context, engine: Engines = None, upstream: UpstreamUrl = None,
    set_header: SetHeader = None, snapshot: Snapshot = None, trust: Trust = None,
    deployment: Deployment = "default", host: Address = "127.0.0.1", port: Port = 8080,
    state: State = None, request_log: RequestLog = None, hash_key: HashKey = None,
    engine_mode: ModeOption = EngineMode.COMPILED, untrusted: Untrusted = False,
    policy: PolicyFile = None, accept_missing: Accepted = None, admin_port: AdminPort = None,
    drain_s: Drain = 60.0, tls_certificate: TlsCertificate = None, tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None, client_keys: ClientKeysFile = None,
    forward_keys: ForwardKeys = False, engine_key_file: EngineKeyFile = None,
    trust_proxy: TrustProxy = None, max_connections: MaxConnections = 4096, otel: Otel = False,
    snapshot_url: SnapshotUrl = None, report_url: ReportUrl = None, host_token: HostToken = None,
    control_every_s: ControlEvery = 2.0, report_to_store: ReportToStore = False,
    bound: Bounds = None,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Serve the OpenAI API in front of engines, and follow the signed snapshot.

    Without a snapshot the built-in default decides. SIGTERM drains and ends.

    \b
    evolver serve --engine http://127.0.0.1:8001 --engine http://127.0.0.1:8002
    evolver serve --engine http://gpu-1:8000 --untrusted --policy mine.py
    evolver serve --engine http://gpu-1:8000 --host-token token \\
        --snapshot-url https://review.example.org/api/v1/deployments/default/snapshot
    evolver serve --upstream http://127.0.0.1:30000 --set-header smg
    """
    from serving_adapter.gateway.listening import ClientLimits
    from serving_adapter.gateway.service import Front
    from serving_adapter.gateway.service import serve as serve_until_told

    screen = screen_of(context, quiet)
    front = Front(
        tls=tls_of(tls_certificate, tls_key, tls_client_ca),
        limits=ClientLimits(max_connections=max_connections),
        client_keys=client_keys,
        headers=headers_of(trust_proxy, forward_keys=forward_keys, engine_key=engine_key_file),
        upstream=upstream_of(upstream, set_header, engine),
        tracing=tracing_of(otel=otel),
    )
    settings = service_settings(
        engine_urls(engine, front.upstream),
        host=host,
        port=port,
        snapshot=snapshot,
        trust=trust,
        deployment=deployment,
        untrusted=untrusted,
        policy=policy,
        state=state,
        request_log=request_log,
        hash_key=hash_key,
        drain_s=drain_s,
        admin_port=admin_port,
        control=control_of(snapshot_url, report_url, host_token, control_every_s),
        bounds=bound,
    )
    serving = partial(serve_until_told, front=front)
    with reporting(settings, report_to_store):
        run_host(screen, settings, engine_mode, accept_missing, serving)
