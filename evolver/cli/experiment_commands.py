"""`evolver experiment`: claims of this program, tried by a command."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.results import show_result

if TYPE_CHECKING:
    from evolver.cli.screen import Screen
    from evolver.online.pairs import PairSpec
    from sandbox.simulation import Mode

experiment_app = typer.Typer(
    name="experiment",
    no_args_is_help=True,
    help="Published evaluations, run here; and evolving online on long traces.",
)
Traces = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the traces; without it pairs that need none."),
]
Pairs = Annotated[
    Path | None, typer.Option("--pairs", metavar="FILE", help="Your own pairs, as TOML.")
]
Named = Annotated[
    list[str] | None, typer.Option("--pair", metavar="NAME", help="Only this pair; repeatable.")
]
Seeds = Annotated[int, typer.Option(min=1, max=100, help="Seeds of search and prediction.")]
Modes = Annotated[
    list[str] | None,
    typer.Option("--mode", metavar="backlog|open", help="Only this mode; both by default."),
]
Workers = Annotated[int | None, typer.Option(min=1, max=256, help="Processes; one a core.")]
Evaluations = Annotated[
    int, typer.Option(min=1, max=10_000, help="Candidates of one search while the trace goes on.")
]
Tries = Annotated[
    int, typer.Option(min=1, max=10_000, help="Settings of each static policy on the past.")
]
ReplyS = Annotated[float, typer.Option(min=0.0, help="Simulated seconds of a model's reply.")]
StepS = Annotated[
    float, typer.Option(min=0.0, help="Of a mutation, or a candidate on three minutes, a worker.")
]
ControlWorkers = Annotated[
    int, typer.Option(min=1, max=1024, help="Workers of the simulated control plane.")
]
Replies = Annotated[
    Path | None,
    typer.Option("--recording", metavar="FILE", help="Recorded replies of a model take part."),
]
PlotFile = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="The savings as an SVG file too.")
]


@experiment_app.callback()
def experiment() -> None:
    """Claims of this program, tried by a command."""


@experiment_app.command()
def online(
    context: typer.Context,
    traces: Traces = None,
    pairs: Pairs = None,
    pair: Named = None,
    mode: Modes = None,
    seeds: Seeds = 3,
    workers: Workers = None,
    evaluations: Evaluations = 8,
    tries: Tries = 12,
    reply_s: ReplyS = 20.0,
    step_s: StepS = 0.2,
    control_workers: ControlWorkers = 1,
    recording: Replies = None,
    plot: PlotFile = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Replay long traces as if live, with the control plane in the loop on simulated time.

    \b
    evolver experiment online
    evolver experiment online --traces traces --seeds 3 --plot online.svg
    evolver experiment online --pair generated --mode backlog --seeds 1 -o json

    Evolving is compared with every planner of the library tuned on the past, with the best of them
    tuned on the whole trace, with one tuned policy a regime, and with no evolution.
    """
    from evolver.cli.kernel import warm_kernel
    from evolver.online.arms import Effort
    from evolver.online.experiment import Plan, run_all
    from evolver.online.pairs import lay
    from evolver.online.tables import document_of, report_of
    from evolver.online.thinking import Charges
    from evolver.recordings import read_recording

    screen = screen_of(context, quiet)
    ways = _modes(mode)
    grounds = tuple(lay(spec, traces) for spec in _chosen(screen, pairs, pair, traces))
    charges = Charges(reply_s, step_s, control_workers)
    replies = None if recording is None else read_recording(recording)
    plan = Plan(grounds, Effort(evaluations, tries, charges), replies)
    jobs = plan.jobs(seeds, ways)
    warm_kernel(screen)
    started = time.monotonic()
    with screen.steps("experimenting", len(jobs)) as bar:
        results = run_all(plan, jobs, workers or os.cpu_count() or 1, lambda name: bar.step(name))
    seconds = time.monotonic() - started
    show_result(
        screen, output, out,
        lambda: document_of(plan, results, seconds), lambda: report_of(plan, results),
    )  # fmt: skip
    if plot is not None:
        _plot(screen, plot, results)
    screen.note(f"{len(jobs)} runs of all arms took {seconds:.0f} s")


def _modes(names: list[str] | None) -> tuple[Mode, ...]:
    known: dict[str, Mode] = {"backlog": "backlog", "open": "open"}
    for name in names or ():
        if name not in known:
            raise Misused(f"There is no mode {name!r}; give --mode backlog or --mode open.")
    return tuple(known[name] for name in dict.fromkeys(names or known))


def _chosen(
    screen: Screen, path: Path | None, names: list[str] | None, traces: Path | None
) -> tuple[PairSpec, ...]:
    """The pairs that were asked for, or all that can be had."""
    from evolver.online.pairs import read_pairs

    known = {spec.name: spec for spec in read_pairs(path)}
    for name in names or ():
        if name not in known:
            raise Misused(f"There is no pair {name!r}; give --pair one of {', '.join(known)}.")
    if names:
        return tuple(known[name] for name in dict.fromkeys(names))
    able = tuple(spec for spec in known.values() if traces is not None or not spec.needs_files)
    if not able:
        raise Misused("Every pair needs files: name the folder of the traces with --traces.")
    if len(able) < len(known):
        left = ", ".join(name for name, spec in known.items() if spec not in able)
        screen.note(f"left out without --traces: {left}")
    return able


def _plot(screen: Screen, path: Path, results: list[dict[str, object]]) -> None:
    from evolver.online.comparison import savings
    from evolver.online.figures import svg_of
    from evolver.online.tables import LATENCY, TOTAL

    backlog = any(result["mode"] == "backlog" for result in results)
    mode, metric = ("backlog", TOTAL) if backlog else ("open", LATENCY)
    screen.save(path, svg_of(savings(results, mode, metric)))
