"""`evolver daemon`: watches a cluster and evolves its policy when that is worth its price."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import CommandError
from evolver.cli.options import Output, OutputOption, Quiet, screen_of
from evolver.cli.publishing import USUAL

if TYPE_CHECKING:
    from evolver.cli.screen import Screen
    from evolver.daemon.config import DaemonConfig
    from evolver.daemon.core import Daemon
    from evolver.daemon.protocols import Publisher
    from policy_store.store import PolicyStore

daemon_app = typer.Typer(
    name="daemon", no_args_is_help=True, help="Watch a cluster, and evolve when it is worth it."
)
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML; see docs/daemon.md.")]
Deployment = Annotated[str, typer.Option(metavar="NAME", help="Whose daemon.")]


@daemon_app.command()
def run(context: typer.Context, config: ConfigFile, quiet: Quiet = False) -> None:
    """Watch, evolve and follow trials until SIGTERM; a second one waits and takes over.

    \b
    evolver daemon run /etc/evolver/daemon.toml
    """
    import asyncio
    import logging

    from evolver.daemon.config import read_config
    from evolver.daemon.service import Service, until_signalled

    screen, found = screen_of(context, quiet), read_config(config)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    with _opened(screen, found) as (store, daemon):
        asyncio.run(until_signalled(Service(found, store, daemon)))
    screen.text("The daemon has stopped; a search that ran goes on with the next start.")


@daemon_app.command()
def once(context: typer.Context, config: ConfigFile, quiet: Quiet = False) -> None:
    """Look once, do what follows from it to its end, a search too, and leave; for cron.

    \b
    evolver daemon once daemon.toml
    """
    from evolver.daemon.config import read_config
    from evolver.daemon.service import Service

    screen, found = screen_of(context, quiet), read_config(config)
    with _opened(screen, found) as (store, daemon):
        service = Service(found, store, daemon)
        try:
            looked = service.once()
        finally:
            service.stop()
    if looked is None:
        raise CommandError("Another daemon leads.", "evolver daemon status")
    reason = looked.choice.reason if looked.choice is not None else ""
    screen.text(f"{looked.step}, episode {looked.episode}. {reason}".strip())
    if looked.trouble:
        screen.warn(looked.trouble)


@daemon_app.command()
def check(context: typer.Context, config: ConfigFile, quiet: Quiet = False) -> None:
    """Print the configuration as it is understood, with what is left out filled in.

    \b
    evolver daemon check daemon.toml
    """
    from evolver.daemon.config import read_config
    from evolver.daemon.grounds import cluster_of, usd_per_hour
    from evolver.daemon.pages import hook_of

    screen, found = screen_of(context, quiet), read_config(config)
    cluster = cluster_of(found.watch)
    hook_of(found.http.token_file)
    screen.text(found.model_dump_json(indent=2))
    screen.note(
        f"cluster {cluster.describe()}, {usd_per_hour(cluster):.2f} USD/h",
        f"acts as {found.actor}; approves only by installed rules",
    )
    for log in found.watch.request_log:
        if not log.is_file():
            screen.warn(f"there is no {log} yet")
    screen.next(f"evolver daemon run {config}")


@daemon_app.command()
def status(
    context: typer.Context,
    deployment: Deployment = USUAL,
    output: OutputOption = Output.TABLE,
    quiet: Quiet = False,
) -> None:
    """Who leads, in which step, and what the last episodes came to.

    \b
    evolver daemon status
    """
    from evolver.cli.daemon_report import show_status
    from evolver.cli.policies import open_store

    screen = screen_of(context, quiet)
    with open_store() as store:
        show_status(screen, output, store, deployment)


@contextlib.contextmanager
def _opened(screen: Screen, config: DaemonConfig) -> Iterator[tuple[PolicyStore, Daemon]]:
    """The store and the daemon on it, with the usual parts."""
    from evolver.cli.policies import open_store
    from evolver.daemon.core import Daemon
    from evolver.daemon.parts import usual_parts
    from sandbox.home import home

    folder = config.folder or home() / "daemon" / config.deployment
    with open_store() as store:
        parts = usual_parts(config, folder, _publisher(screen, store, config))
        yield store, Daemon(config, store, folder, parts)


def _publisher(screen: Screen, store: PolicyStore, config: DaemonConfig) -> Publisher:
    """Signs and writes what hosts follow, with the key of this home."""
    from evolver.cli.publishing import publish_changes, signing_key
    from sandbox.home import home

    key = signing_key(home(), screen, config.actor)

    def publish() -> bool:
        return publish_changes(store, home(), key, config.deployment) is not None

    return publish
