"""`evolver trace`: what a file holds, a small profile of it, and traces made from profiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.inputs import CapacityChoice, read_either
from evolver.cli.options import (
    CapacityFile,
    CapacityFormat,
    CapacityOptions,
    Format,
    Options,
    OutFile,
    Output,
    OutputOption,
    Polarity,
    Quiet,
    Seed,
    key_values,
    screen_of,
)
from evolver.cli.results import show_result

if TYPE_CHECKING:
    from sandbox.report import Report
    from telemetry.capacity import CapacityTrace
    from telemetry.window import Window

trace_app = typer.Typer(
    name="trace", no_args_is_help=True, help="What a trace holds; profiles; generated traces."
)
PLOT_POINTS = 60
File = Annotated[Path, typer.Argument(metavar="FILE", help="Plain, gzip or tar; never unpacked.")]


@trace_app.command()
def info(
    context: typer.Context,
    file: File,
    format: Format = None,
    polarity: Polarity = None,
    option: Options = None,
    capacity: CapacityFile = None,
    capacity_format: CapacityFormat = None,
    capacity_option: CapacityOptions = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Say what a request or capacity file holds: rates, lengths, drift, reuse, changes.

    \b
    evolver trace info requests.csv.gz
    evolver trace info requests.csv.gz --capacity spot.tar.gz
    evolver trace info spot.json --polarity available -o json
    """
    from telemetry.capacity import CapacityTrace
    from telemetry.window import summarise

    screen = screen_of(context, quiet)
    choice = CapacityChoice(capacity, capacity_format, polarity, capacity_option)
    format, choice = choice.for_format(format)
    trace = read_either(file, format, None if capacity else polarity, option)
    if isinstance(trace, CapacityTrace):
        if capacity is not None:
            raise Misused(f"{file.name} is a capacity file itself; leave out --capacity.")
        seen, levels = trace, _levels(trace)
        show_result(
            screen, output, out,
            lambda: {"kind": "capacity", **_capacity_document(seen, levels)},
            lambda: _capacity_report(seen, levels),
        )  # fmt: skip
        return
    beside = choice.read()
    window = summarise(trace, beside)
    digest = trace.digest()
    show_result(
        screen, output, out,
        lambda: {"kind": "requests", "digest": digest, "format": trace.meta.format,
                 "window": window.to_json(),
                 "capacity": None if beside is None else
                 _capacity_document(beside, _levels(beside))},
        lambda: _window_report(window, beside),
    )  # fmt: skip


@trace_app.command()
def fit(
    context: typer.Context,
    file: File,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.json", help="The profile.")],
    name: Annotated[str, typer.Option(help="What the profile is called; the file's name.")] = "",
    format: Format = None,
    option: Options = None,
    quiet: Quiet = False,
) -> None:
    """Fit a small profile to a file: numbers only, from which traces of any length are made.

    \b
    evolver trace fit requests.csv.gz -o mine.json
    evolver trace generate mine.json --span-s 3600 -o hour.npz
    """
    from telemetry.fit import fit_file
    from telemetry.profile import TrafficProfile, dump_profile

    screen = screen_of(context, quiet)
    if out.suffix != ".json":
        raise Misused(f"A profile is a JSON file; write -o {out.stem}.json.")
    profile = fit_file(file, format, name, **key_values(option))
    text = dump_profile(profile)
    out.write_text(text, encoding="utf-8")
    kind = "traffic" if isinstance(profile, TrafficProfile) else f"capacity ({profile.kind})"
    screen.text(f"{out}: {kind} profile {profile.name}, {len(text) / 1024:.0f} KiB")
    for note in profile.notes:
        screen.note(note)
    if isinstance(profile, TrafficProfile):
        screen.next(f"evolver trace generate {out} --span-s 600 -o {out.with_suffix('.npz')}")


@trace_app.command()
def generate(
    context: typer.Context,
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="A name or a JSON file.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.npz", help="The trace.")],
    span_s: Annotated[float | None, typer.Option(help="Length; the profile's own.")] = None,
    requests: Annotated[int | None, typer.Option(help="Number of requests instead.")] = None,
    rate_scale: Annotated[float, typer.Option(help="Rate, as a multiple.")] = 1.0,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Generate a trace of any length from a profile; every row is marked as generated.

    \b
    evolver trace generate azure2023_conv --span-s 600 -o ten-minutes.npz
    evolver trace generate azure2023_conv --requests 1000000 --seed 7 -o million.npz
    """
    from telemetry.generator import generate as draw
    from telemetry.profile import TrafficProfile, load_profile, profile_names

    screen = screen_of(context, quiet)
    if span_s is not None and requests is not None:
        raise Misused("Give a length in seconds or a number of requests, not both.")
    if out.suffix != ".npz":
        raise Misused(f"A generated trace is an npz file; write -o {out.stem}.npz.")
    loaded = load_profile(profile)
    if not isinstance(loaded, TrafficProfile):
        names = ", ".join(profile_names("traffic"))
        raise Misused(f"{profile} is a profile of capacity, not of requests; give one of {names}.")
    trace = draw(loaded, span_s=span_s, n=requests, seed=seed, rate_scale=rate_scale)
    trace.save(out)
    screen.text(f"{out}: {len(trace):,} requests in {trace.span_s:,.0f} s")
    screen.note(*trace.meta.notes)
    screen.next(f"evolver replay {out} -p round_robin -p least_loaded")


def _levels(trace: CapacityTrace) -> list[float]:
    step_s = max(trace.span_s / PLOT_POINTS, 1e-9)
    return [float(level) for level in trace.sampled(step_s)[:PLOT_POINTS]]


def _capacity_document(trace: CapacityTrace, levels: list[float]) -> dict[str, object]:
    from dataclasses import asdict

    from telemetry.window import capacity_row

    return {
        "name": trace.meta.name, "format": trace.meta.format, "span_s": trace.span_s,
        "gap_s": trace.gap_s, "models": list(trace.models), "zones": len(trace.zones),
        "summary": asdict(capacity_row(trace)), "level": levels, "digest": trace.digest(),
        "notes": list(trace.meta.notes),
    }  # fmt: skip


_MEANING = {
    "availability": "availability: a node that is up can be had",
    "demand": "demand: a node that is up is asked for by others",
    "faults": "fault log: a node that is up is healthy",
}


def _capacity_report(trace: CapacityTrace, levels: list[float]) -> Report:
    from sandbox.report import Report, Tone
    from telemetry.window import capacity_row

    row = capacity_row(trace)
    many = len(trace.zones) > 1
    report = Report(f"Capacity {trace.meta.name}").heading(trace.meta.name, _MEANING[trace.kind])
    report.grid(
        ("", ">"),
        [
            ("nodes", f"{row.nodes:,} ({row.gpus:,} GPUs)"),
            ("GPU models", ", ".join(trace.models)),
            *([("zones", f"{len(trace.zones)}")] if many else []),
            ("lasts", _duration(trace.span_s)),
            ("up: least, mean, most", f"{row.min}, {row.mean:.3g}, {row.max}"),
            ("losses a day", f"{row.losses_per_day:.3g}"),
            ("gains a day", f"{row.gains_per_day:.3g}"),
        ],
    )
    report.plot("nodes up", levels, _duration(trace.span_s))
    return report.say(*trace.meta.notes, tone=Tone.DIM)


def _window_report(window: Window, beside: CapacityTrace | None) -> Report:
    from evolver.cli.window_report import window_blocks
    from sandbox.report import Report

    report = window_blocks(Report(f"Trace {window.name}"), window)
    if beside is not None:
        report.blocks.extend(_capacity_report(beside, _levels(beside)).blocks)
    return report


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.0f} s"
