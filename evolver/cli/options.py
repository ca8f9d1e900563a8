"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.screen import Screen


class Output(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"


OutputOption = Annotated[
    Output, typer.Option("-o", "--output", help="table for people, json for programs, html.")
]
OutFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the result there instead.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No notes, no progress.")]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="Format of the file, if unclear.")
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="An option of the format; repeatable."),
]
Polarity = Annotated[
    str | None,
    typer.Option(metavar="available|preempted", help="What a value of a capacity file means."),
]
CapacityFile = Annotated[
    Path | None,
    typer.Option("--capacity", metavar="FILE", help="GPUs that come and go while it runs."),
]
CapacityFormat = Annotated[
    str | None, typer.Option(metavar="NAME", help="Format of the capacity file, if unclear.")
]
CapacityOptions = Annotated[
    list[str] | None,
    typer.Option("--capacity-option", metavar="KEY=VALUE", help="An option of that format."),
]
Node = Annotated[
    str | None,
    typer.Option(metavar="GPU:COUNT", help="What one node of the capacity file is here."),
]
CapacityFrom = Annotated[
    float, typer.Option(metavar="S", help="Second of the capacity file to begin at.")
]
CapacitySpeed = Annotated[
    float, typer.Option(metavar="X", help="Run capacity this much faster, at most 4.")
]
Cluster = Annotated[
    str, typer.Option(metavar="FILE|NAME", help="Which GPUs serve which model, and the SLOs.")
]
CalibrationFiles = Annotated[
    list[Path] | None,
    typer.Option("--calibration", metavar="FILE", help="Of evolver calibrate; repeatable."),
]
RateAsRecorded = Annotated[
    bool, typer.Option("--rate-as-recorded", help="Leave the arrival rate alone.")
]
Signals = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What policies may know: full, or no more than a door (gateway, ...) tells them.",
    ),
]
USUAL_CLUSTER = "edge-8b"
Seed = Annotated[int, typer.Option(min=0, help="Everything random follows from it.")]

TraceFile = Annotated[Path, typer.Argument(metavar="TRACE", help="A request trace.")]
From = Annotated[
    float, typer.Option("--from", metavar="S", help="Second of the trace to begin at.")
]
Until = Annotated[
    float | None, typer.Option("--until", metavar="S", help="Second of the trace to end at.")
]
Span = Annotated[
    float | None,
    typer.Option(
        "--span-s", metavar="S", help="Seconds to replay: the trace is cut, or continued by itself."
    ),
]


class EngineChoice(StrEnum):
    """Which engine runs the policies."""

    COMPILED = "compiled"
    INTERPRETED = "interpreted"


EngineOption = Annotated[
    EngineChoice, typer.Option(help="Both decide the same; interpreted is far slower.")
]


class Mode(StrEnum):
    """How requests arrive."""

    OPEN = "open"
    BACKLOG = "backlog"


ModeOption = Annotated[
    Mode, typer.Option(help="open: at their times; backlog: an interval when the last is done.")
]


def screen_of(context: typer.Context, quiet: bool = False) -> Screen:
    """The run's screen; `-q` is understood before and after the command's name."""
    screen: Screen = context.obj
    screen.quiet = screen.quiet or quiet
    screen.command = context.command_path
    _check_out(context.params.get("out"), context.params.get("output"))
    return screen


def _check_out(out: Path | None, output: Output | None) -> None:
    """A result that cannot be written should be known before the work, not after it."""
    if out is None:
        return
    if output is Output.TABLE:
        raise Misused("A file needs a form: add -o html or -o json to --out.")
    check_folders(out)


def check_folders(*files: Path | None) -> None:
    """The same of other files that are written at the end; raises `Misused`."""
    for file in files:
        if file is not None and not file.absolute().parent.is_dir():
            folder = file.absolute().parent
            raise Misused(f"There is no folder {folder}; make it, or name another file.")


def key_values(pairs: Sequence[str] | None) -> dict[str, object]:
    """`KEY=VALUE` options by key; numbers, true and false become what they look like."""
    found: dict[str, object] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise Misused(f"An option is written KEY=VALUE, not {pair!r}.")
        found[key] = _value(value)
    return found


def _value(text: str) -> object:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        number = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return number if isinstance(number, int | float) else text
