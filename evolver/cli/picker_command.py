"""`evolver picker`: the endpoint picker of Envoy and of the Gateway API Inference Extension."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from evolver.cli.failures import Declined
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
    Port,
    TlsCertificate,
    TlsClientCa,
    TlsKey,
    engine_urls,
    tls_of,
)

Engines = Annotated[
    list[str],
    typer.Option(
        "--engine",
        metavar="URL",
        help="Of an engine, or of a name that stands for several; repeatable.",
    ),
]
PagesPort = Annotated[
    int, typer.Option(min=0, max=65535, help="Of /healthz, /readyz and /metrics.")
]
Fallbacks = Annotated[
    int, typer.Option(min=0, max=64, help="Engines named after the first; 0: the proxy takes one.")
]
Notice = Annotated[float, typer.Option(min=0.0, help="To say that it stops, and still decide.")]


def picker(
    context: typer.Context, engine: Engines, fallbacks: Fallbacks = 2, snapshot: Snapshot = None,
    trust: Trust = None, deployment: Deployment = "default", host: Address = "127.0.0.1",
    port: Port = 9002, pages_port: PagesPort = 9090, state: State = None,
    request_log: RequestLog = None, hash_key: HashKey = None,
    engine_mode: ModeOption = EngineMode.COMPILED,
    untrusted: Untrusted = False, policy: PolicyFile = None, accept_missing: Accepted = None,
    admin_port: AdminPort = None, notice_s: Notice = 5.0, drain_s: Drain = 60.0,
    tls_certificate: TlsCertificate = None, tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None, snapshot_url: SnapshotUrl = None,
    report_url: ReportUrl = None, host_token: HostToken = None, control_every_s: ControlEvery = 2.0,
    report_to_store: ReportToStore = False, bound: Bounds = None, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Tell Envoy where each request goes, and follow the signed snapshot.

    Speaks ext_proc as the Gateway API Inference Extension has it. SIGTERM drains and ends.

    \b
    evolver picker --engine http://127.0.0.1:8001 --engine http://127.0.0.1:8002
    evolver picker --engine http://vllm.models.svc:8000 --host 0.0.0.0
    """
    _check_installed()
    from serving_adapter.picker.exchange import PickerSettings
    from serving_adapter.picker.service import PickerFront
    from serving_adapter.picker.service import serve as serve_until_told

    front = PickerFront(
        pages_port=pages_port,
        tls=tls_of(tls_certificate, tls_key, tls_client_ca),
        notice_s=notice_s,
        picker=PickerSettings(fallbacks=fallbacks),
    )
    settings = service_settings(
        engine_urls(engine, None),
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
    screen, serving = screen_of(context, quiet), partial(serve_until_told, front=front)
    with reporting(settings, report_to_store):
        run_host(screen, settings, engine_mode, accept_missing, serving)


def _check_installed() -> None:
    """Say which extra is missing, before anything is looked at."""
    from importlib.util import find_spec

    if find_spec("grpc") is None or find_spec("envoy") is None:
        raise Declined(
            "The endpoint picker needs gRPC and Envoy's messages, which are not installed.",
            'pip install "evolver[envoy]"',
        )
