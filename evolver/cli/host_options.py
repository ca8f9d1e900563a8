"""What every program around a policy host is told on the command line, and how it runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from evolver.cli.failures import Misused
from evolver.cli.policies import read_policy_file
from evolver.cli.publishing import snapshot_path, state_folder, trust_path
from sandbox.home import home

if TYPE_CHECKING:
    from evolver.cli.screen import Screen
    from sandbox.engine import EngineName
    from serving_adapter.activation import Prepare
    from serving_adapter.control_plane import ControlPlane
    from serving_adapter.gateway.service import ServiceSettings
    from serving_adapter.safety.limits import LiveLimits
    from serving_adapter.side.side_process import SideProcesses

    Serve: TypeAlias = Callable[
        [ServiceSettings, Prepare, Callable[[str], None]], Coroutine[None, None, None]
    ]


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
HashKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="For numbers in the log; the same where logs are joined."),
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
Bounds = Annotated[
    list[str] | None,
    typer.Option(
        "--bound",
        metavar="NAME=NUMBER",
        help="Of the watchdog, as slo_ttft_s=1.5; docs/live-safety.md has them all; repeatable.",
    ),
]
Drain = Annotated[float, typer.Option(min=0.0, help="For requests inside, at the end.")]


def service_settings(
    engines: tuple[str, ...],
    *,
    host: str,
    port: int,
    snapshot: Path | None,
    trust: Path | None,
    deployment: str,
    untrusted: bool,
    policy: Path | None,
    state: Path | None,
    request_log: Path | None,
    drain_s: float,
    admin_port: int | None,
    control: ControlPlane | None = None,
    bounds: list[str] | None = None,
    hash_key: Path | None = None,
) -> ServiceSettings:
    """What was typed, with this home's places for what was not.

    Raises:
        Misused: only one of `--untrusted` and `--policy` was typed, or there is no such bound.
        AdapterError: a bound is out of its range.
    """
    from serving_adapter.gateway.service import ServiceSettings

    if untrusted != (policy is not None):
        raise Misused("--untrusted and --policy FILE go together; a snapshot needs neither.")
    return ServiceSettings(
        engines=engines,
        host=host,
        port=port,
        snapshot=snapshot or snapshot_path(home(), deployment),
        trust=trust or trust_path(home()),
        deployment=deployment,
        untrusted=None if policy is None else read_policy_file(policy),
        state=state or state_folder(home(), deployment),
        request_log=request_log,
        hash_key=hash_key,
        drain_s=drain_s,
        admin_port=admin_port,
        control=control,
        bounds=_live_limits(bounds or []),
    )


def _live_limits(texts: list[str]) -> LiveLimits:
    """The usual bounds, and those that were typed."""
    from dataclasses import asdict

    from serving_adapter.safety.limits import LiveLimits

    usual = asdict(LiveLimits())
    typed: dict[str, Any] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            typed[name] = type(usual[name])(number)
        except (KeyError, ValueError):
            raise Misused(
                f"--bound {text}: give NAME=NUMBER with a name of docs/live-safety.md."
            ) from None
    return LiveLimits(**typed)


def run_host(
    screen: Screen,
    settings: ServiceSettings,
    mode: EngineMode,
    accepted: list[str] | None,
    serve: Serve,
) -> None:
    """Serve until told to stop.

    Raises:
        Misused: isolation is to be done without for a policy that was approved.
    """
    import asyncio

    from serving_adapter.activation import prepare_policy

    if accepted and settings.untrusted is None:
        raise Misused("--accept-missing is for --untrusted only.")
    _log_to_stderr(screen)
    side = _side_processes(settings, mode, accepted or [])
    prepare = side.prepare if side else partial(prepare_policy, engine=_engine_of(mode))
    try:
        asyncio.run(serve(settings, prepare, screen.text))
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
