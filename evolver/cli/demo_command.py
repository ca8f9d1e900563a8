"""`evolver demo`: the whole job on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.options import Quiet, Seed, screen_of

Model = Annotated[
    str | None, typer.Option(metavar="PROVIDER/NAME", help="Ask it now, instead of a recording.")
]
ApiBase = Annotated[str | None, typer.Option(metavar="URL", help="An OpenAI-compatible endpoint.")]
Record = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keep what the model answers, to replay it.")
]


def demo(
    context: typer.Context,
    seed: Seed = 1,
    quick: Annotated[bool, typer.Option("--quick", help="A smaller search and less load.")] = False,
    model: Model = None,
    api_base: ApiBase = None,
    record: Record = None,
    quiet: Quiet = False,
) -> None:
    """Show the whole job on this machine, offline: window, search, proof, approval, swap.

    \b
    evolver demo            under 90 seconds, offline
    evolver demo --quick    in 20 seconds; so short a search often finds nothing, and says so
    evolver demo --model openai/NAME --api-base http://localhost:8000/v1
    """
    screen = screen_of(context, quiet)
    if model is None and (api_base is not None or record is not None):
        raise Misused("--api-base and --record need a model; add --model openai/NAME.")
    from evolver.cli.demo_model import ModelAct
    from evolver.model_settings import ModelSettings

    # Whoever answers may be a small machine, or a person.
    asked = model and ModelSettings(model, api_base, timeout_s=1800.0, first_token_s=1800.0)
    from evolver.cli.demo_acts import play
    from evolver.cli.demo_scene import FULL, QUICK

    play(screen, QUICK if quick else FULL, seed, model=ModelAct(asked or None, record))
