"""`evolver serve`: the gateway in front of engines, with whatever policy is live."""

from __future__ import annotations

from functools import partial

import typer

from evolver.cli.host_options import HostOptions
from evolver.cli.host_running import run_host
from evolver.cli.option_lists import spread
from evolver.cli.options import Quiet, screen_of
from evolver.cli.serve_options import (
    ClientKeysFile,
    EngineKeyFile,
    Engines,
    ForwardKeys,
    MaxConnections,
    Otel,
    Port,
    SetHeader,
    TrustProxy,
    UpstreamUrl,
    engine_urls,
    headers_of,
    tracing_of,
    upstream_of,
)


@spread(HostOptions)
def serve(
    context: typer.Context, *, engine: Engines = None, upstream: UpstreamUrl = None,
    set_header: SetHeader = None, port: Port = 8080, options: HostOptions,
    client_keys: ClientKeysFile = None, forward_keys: ForwardKeys = False,
    engine_key_file: EngineKeyFile = None, trust_proxy: TrustProxy = None,
    max_connections: MaxConnections = 4096, otel: Otel = False, quiet: Quiet = False,
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
        tls=options.tls,
        limits=ClientLimits(max_connections=max_connections),
        client_keys=client_keys,
        headers=headers_of(trust_proxy, forward_keys=forward_keys, engine_key=engine_key_file),
        upstream=upstream_of(upstream, set_header, engine),
        tracing=tracing_of(otel=otel),
    )
    settings = options.settings(engine_urls(engine, front.upstream), port)
    run_host(screen, settings, options, partial(serve_until_told, front=front))
