"""How a program around a policy host runs: its log, its engine, a process apart if asked for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from evolver.cli.failures import Misused
from evolver.cli.host_options import EngineMode, HostOptions
from evolver.cli.serve_control import reporting

if TYPE_CHECKING:
    from evolver.cli.screen import Screen
    from sandbox.engine import EngineName
    from serving_adapter.activation import Prepare
    from serving_adapter.gateway.service import ServiceSettings
    from serving_adapter.side.side_process import SideProcesses

    Serve: TypeAlias = Callable[
        [ServiceSettings, Prepare, Callable[[str], None]], Coroutine[None, None, None]
    ]


def run_host(screen: Screen, settings: ServiceSettings, options: HostOptions, serve: Serve) -> None:
    """Serve until told to stop.

    Raises:
        Misused: isolation is to be done without for a policy that was approved.
    """
    import asyncio

    from serving_adapter.activation import prepare_policy

    accepted, mode = options.accept_missing or [], options.engine_mode
    if accepted and settings.untrusted is None:
        raise Misused("--accept-missing is for --untrusted only.")
    _log_to_stderr(screen)
    with reporting(settings, options.report_to_store):
        side = _side_processes(settings, mode, accepted)
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
