"""`evolver demo`: the whole job on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from evolver.cli.options import Quiet, Seed, screen_of


def demo(
    context: typer.Context,
    seed: Seed = 1,
    quick: Annotated[bool, typer.Option("--quick", help="A smaller search and less load.")] = False,
    quiet: Quiet = False,
) -> None:
    """Show the whole job on this machine, offline: window, search, proof, approval, swap.

    \b
    evolver demo            under 90 seconds, offline
    evolver demo --quick    in 20 seconds; so short a search often finds nothing, and says so
    """
    screen = screen_of(context, quiet)
    from evolver.cli.demo_acts import play
    from evolver.cli.demo_scene import FULL, QUICK

    play(screen, QUICK if quick else FULL, seed)
