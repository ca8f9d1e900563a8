"""`evolver experiment run`, `list` and `show`: published evaluations as scenarios."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.policies import find_policy
from evolver.cli.results import show_result

ScenarioName = Annotated[str, typer.Argument(metavar="NAME", help="A scenario, or a file.")]
Traces = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of the traces, if one is needed.")
]
Seeds = Annotated[int, typer.Option(min=1, max=100, help="Problems; each has traffic of its own.")]
Tries = Annotated[
    int, typer.Option(min=0, max=10_000, help="Settings that tuning may try; 0: none is tuned.")
]
Others = Annotated[
    list[str] | None,
    typer.Option("-p", "--policy", metavar="POLICY", help="Put it there, too; repeatable."),
]


def run_scenario(
    context: typer.Context,
    name: ScenarioName,
    policy: Others = None,
    seeds: Seeds = 1,
    tries: Tries = 24,
    traces: Traces = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Run a published evaluation: the system, its baseline, both tuned, and the controls.

    \b
    evolver experiment run l4-heterogeneous
    evolver experiment run l4-heterogeneous -p least_loaded -p mine.py --seeds 3
    evolver experiment run my-scenario.toml --tries 0 -o json
    """
    from evolver.cli.kernel import warm_kernel
    from evolver.leaderboard.effect_tables import document_of, report_of
    from evolver.leaderboard.effects import effect_of
    from evolver.leaderboard.ground import load_scenario

    screen = screen_of(context, quiet)
    scenario = load_scenario(name)
    named = [find_policy(one) for one in policy or ()]
    others = [(one.name, one.source.annotated(), one.parameters or {}) for one in named]
    warm_kernel(screen)
    started = time.monotonic()
    effect = effect_of(scenario, range(seeds), traces, tries, others)
    show_result(screen, output, out, lambda: document_of(effect), lambda: report_of(effect))
    screen.note(f"{effect.windows} windows took {time.monotonic() - started:.0f} s")


def list_scenarios(
    context: typer.Context,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """List the scenarios: of which system, judged by what, against whom.

    \b
    evolver experiment list
    """
    from evolver.leaderboard.effect_tables import list_report, spec_document
    from evolver.leaderboard.reading import read_scenario, scenario_names

    screen = screen_of(context, quiet)
    specs = [read_scenario(name) for name in scenario_names()]
    show_result(
        screen, output, out,
        lambda: {"scenarios": [spec_document(spec) for spec in specs]},
        lambda: list_report(specs),
    )  # fmt: skip
    screen.next("evolver experiment run NAME")


def show_scenario(
    context: typer.Context,
    name: ScenarioName,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Show what a scenario is: what was published, and what ours is made of.

    \b
    evolver experiment show l4-heterogeneous
    """
    from evolver.leaderboard.effect_tables import about, spec_document
    from evolver.leaderboard.reading import read_scenario

    screen = screen_of(context, quiet)
    spec = read_scenario(name)
    show_result(screen, output, out, lambda: {"scenario": spec_document(spec)}, lambda: about(spec))
