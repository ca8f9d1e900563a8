"""`evolver picker`: the endpoint picker of Envoy and of the Gateway API Inference Extension."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from evolver.cli.failures import Declined
from evolver.cli.host_options import HostOptions
from evolver.cli.host_running import run_host
from evolver.cli.option_lists import spread
from evolver.cli.options import Quiet, screen_of
from evolver.cli.serve_options import Port, engine_urls

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


@spread(HostOptions)
def picker(
    context: typer.Context, *, engine: Engines, fallbacks: Fallbacks = 2, port: Port = 9002,
    pages_port: PagesPort = 9090, options: HostOptions, notice_s: Notice = 5.0,
    quiet: Quiet = False,
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
        tls=options.tls,
        notice_s=notice_s,
        picker=PickerSettings(fallbacks=fallbacks),
    )
    settings = options.settings(engine_urls(engine, None), port)
    serving = partial(serve_until_told, front=front)
    run_host(screen_of(context, quiet), settings, options, serving)


def _check_installed() -> None:
    """Say which extra is missing, before anything is looked at."""
    from importlib.util import find_spec

    if find_spec("grpc") is None or find_spec("envoy") is None:
        raise Declined(
            "The endpoint picker needs gRPC and Envoy's messages, which are not installed.",
            'pip install "evolver[envoy]"',
        )
