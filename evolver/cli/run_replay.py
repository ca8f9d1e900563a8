"""`evolver run replay`: do a finished run again, and see that everything comes out as recorded."""

from __future__ import annotations

from typing import Annotated

import typer

from evolver.cli.options import Output, OutputOption, Quiet, screen_of
from evolver.cli.policies import open_store
from evolver.cli.results import show_result
from evolver.cli.run_commands import RunId


def replay_run(
    context: typer.Context,
    run: RunId,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes that score.")
    ] = None,
    output: OutputOption = Output.TABLE,
    quiet: Quiet = False,
) -> None:
    """Do a finished run again: simulated anew, with the answers that models gave then.

    \\b
    evolver run replay last
    evolver run replay 5d12e3 --workers 1

    Each event must come out as recorded, bit for bit, whatever the number of workers; nothing is
    asked of a model and nothing is written.
    """
    from evolver.cli.evolve_inputs import ProblemInputs
    from evolver.cli.evolve_view import EvolveView
    from evolver.evolution import Means, reproduce
    from evolver.run_start import RunStart
    from sandbox.report import Report, Tone

    screen = screen_of(context, quiet)
    with open_store() as store:
        row = store.runs.find_run(run)
        start = RunStart.of(row.config)
        problem = ProblemInputs.of(start.inputs).read(screen)
        with EvolveView.on(screen, start.limits) as view:
            result = reproduce(
                row.id, problem, store, means=Means(workers), sinks=(view,), progress=view
            )
    verdict = result.verdict
    document = {"run": row.id, "reproduced": True, "verdict": verdict.outcome.value}
    report = Report(f"Replay of run {row.id[:12]}").say(
        "Everything came out as recorded, bit for bit.", tone=Tone.GOOD
    )
    report.say(f"{result.evaluations:.0f} evaluations were simulated anew; {verdict.reason}")
    show_result(screen, output, None, lambda: document, lambda: report)
