"""`evolver keys client`: makes an API key for a client of the gateway, of which a hash is kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.keys_command import keys_app
from evolver.cli.options import Quiet, screen_of

__all__ = ["keys_app"]


@keys_app.command()
def client(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Whose requests they are that come with it.")],
    file: Annotated[
        Path, typer.Option(metavar="FILE", help="What `evolver serve --client-keys` reads.")
    ],
    quiet: Quiet = False,
) -> None:
    """Make an API key for a client, print it once, and add its hash to a file.

    A gateway that runs takes it within a second. To take a key back, remove its line.

    \b
    evolver keys client search --file clients.keys
    """
    from serving_adapter.gateway.access import new_client_key

    screen = screen_of(context, quiet)
    key, line = new_client_key(tenant)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "ab") as opened:
            opened.write(line.encode("ascii"))
    except OSError as error:
        raise Misused(f"{file} cannot be written ({error.strerror}): name another.") from error
    screen.text(key)
    screen.next(f"evolver serve --client-keys {file} --engine URL")
