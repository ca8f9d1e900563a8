"""`evolver leaderboard`: the field's policies on the field's scenarios, tuned and evolved."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolver.cli.failures import Declined, Misused
from evolver.cli.options import (
    OutFile,
    Output,
    OutputOption,
    Quiet,
    check_folders,
    screen_of,
)
from evolver.cli.policies import read_policy_file
from evolver.cli.results import json_text, show_result

if TYPE_CHECKING:
    from evolver.cli.screen import Screen
    from evolver.leaderboard.entrants import Given
    from evolver.leaderboard.ground import Scenario
    from sandbox.report import Report

Named = Annotated[
    list[str] | None,
    typer.Option("--scenario", metavar="NAME", help="Only this scenario, or FILE.toml; repeat."),
]
Traces = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the traces; without it scenarios that need none."),
]
Entries = Annotated[
    list[str] | None,
    typer.Option("--entry", metavar="NAME=FILE", help="A policy of yours takes part; repeat."),
]
Quick = Annotated[bool, typer.Option("--quick", help="As written only: no tuning, no evolution.")]
Evolve = Annotated[
    bool, typer.Option("--evolve/--no-evolve", help="Search from the tuned library, too.")
]
Evaluations = Annotated[
    float, typer.Option(min=1, max=100_000, help="Candidates of one search on all its windows.")
]
TriesEach = Annotated[
    int,
    typer.Option("--tries", min=1, max=10_000, help="Settings of the best entrants' constants."),
]
Replies = Annotated[
    Path | None,
    typer.Option("--recording", metavar="FILE", help="Recorded replies of a model take part."),
]
Workers = Annotated[int | None, typer.Option(min=1, max=256, help="Processes; one a core.")]
Seed = Annotated[int, typer.Option(min=0, help="Of drawn traffic, tuning and search.")]
Page = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="A page, too.")]
Data = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="All numbers, too.")]


def leaderboard(
    context: typer.Context,
    scenario: Named = None,
    traces: Traces = None,
    entry: Entries = None,
    quick: Quick = False,
    evolve: Evolve = True,
    evaluations: Evaluations = 18.0,
    tries: TriesEach = 24,
    recording: Replies = None,
    seed: Seed = 0,
    workers: Workers = None,
    html: Page = None,
    json_file: Data = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Every policy of the library on every scenario, tuned, and what evolution makes of them.

    \b
    evolver leaderboard --traces traces --html board.html
    evolver leaderboard --quick
    evolver leaderboard --scenario l4-heterogeneous --entry mine=policy.py
    """
    from evolver.cli.kernel import warm_kernel
    from evolver.leaderboard.board import document_of, report_of
    from evolver.leaderboard.contest import Effort
    from evolver.leaderboard.jobs import run_board
    from evolver.leaderboard.tuning import Tries
    from evolver.recordings import read_recording

    screen = screen_of(context, quiet)
    check_folders(html, json_file)
    given = _given(entry)
    chosen = _chosen(screen, scenario, traces)
    warm_kernel(screen)
    spent = evaluations if evolve and not quick else 0.0
    effort = Effort(None if quick else Tries(more=tries), spent, seed)
    started = time.monotonic()
    with screen.steps("running contests", len(chosen)) as bar:
        ran = run_board(
            chosen, effort, given=given,
            recording=None if recording is None else read_recording(recording),
            traces=traces, workers=workers or os.cpu_count() or 1, on_done=bar.step,
        )  # fmt: skip
    seconds = time.monotonic() - started
    specs = tuple(one.spec for one in chosen)
    found = (specs, ran.results, effort, seconds, ran.failed)
    report, document = report_of(*found), functools.partial(document_of, *found)
    show_result(screen, output, out, document, lambda: report)
    _say_who_is_absent(screen, given, ran.results)
    if html is not None:
        _save_page(screen, html, report)
    if json_file is not None:
        screen.save(json_file, json_text(document()))
    _refuse_failed(ran.failed, len(specs))


def _refuse_failed(failed: Mapping[str, str], count: int) -> None:
    """Exit code 1, once all that was found is shown and saved."""
    if failed:
        raise Declined(
            f"{len(failed)} of {count} scenarios failed: {', '.join(failed)}; mend what their "
            "rows say, or name the others with --scenario."
        )


def _save_page(screen: Screen, file: Path, report: Report) -> None:
    from sandbox.report_html import page_of

    screen.save(file, page_of(report))


def _chosen(screen: Screen, names: list[str] | None, traces: Path | None) -> tuple[Scenario, ...]:
    """The scenarios that were asked for, or all that can be had."""
    from evolver.leaderboard.ground import load_scenario
    from evolver.leaderboard.reading import scenario_names

    found = tuple(load_scenario(name) for name in dict.fromkeys(names or scenario_names()))
    able = tuple(one for one in found if traces is not None or not one.spec.needs_files)
    names_of = [one.name for one in found]
    twice = next((name for name in names_of if names_of.count(name) > 1), None)
    if twice is not None:
        raise Misused(f"Two scenarios are called {twice}: give one of the files another name.")
    if not able:
        raise Misused("Every scenario needs files: name the folder of the traces with --traces.")
    if len(able) < len(found):
        left = ", ".join(one.name for one in found if one not in able)
        screen.note(f"left out without --traces: {left}")
    return able


def _given(entries: list[str] | None) -> tuple[Given, ...]:
    from evolver.leaderboard.entrants import Given, checked
    from sandbox.verifier import PolicyRefused

    found: dict[str, Given] = {}
    for entry in entries or ():
        name, equals, file = entry.partition("=")
        if not equals or not name.isidentifier():
            raise Misused(f"{entry!r} is no entry: give --entry NAME=FILE.")
        if name in found:
            raise Misused(f"Two entries are called {name}: give one of them another name.")
        try:
            found[name] = checked(Given(name, read_policy_file(Path(file))))
        except PolicyRefused as refused:
            words = f"The entry {name} is refused: {refused}"
            raise Declined(words, f"evolver check {file}") from None
    return tuple(found.values())


def _say_who_is_absent(
    screen: Screen, given: Sequence[Given], results: Sequence[Mapping[str, Any]]
) -> None:
    """An entry may decide nothing that scenarios leave open, or be what somebody else is."""
    for one in given:
        there = sum(one.name in result["entrants"] for result in results)
        if there < len(results):
            screen.note(
                f"{one.name} took part in {there} of {len(results)} scenarios: elsewhere it has "
                "none of the open hooks, or equals another entrant there"
            )
