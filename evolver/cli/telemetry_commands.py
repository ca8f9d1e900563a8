"""`evolver telemetry`: request logs of gateways into compressed segments, and what these hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.results import show_result
from sandbox.home import home

if TYPE_CHECKING:
    from threading import Event

    from sandbox.report import Report
    from telemetry.requests import Requests
    from telemetry.segments.log_tail import Position
    from telemetry.segments.manifest import Manifest

telemetry_app = typer.Typer(
    name="telemetry", no_args_is_help=True, help="Requests that were served, kept as columns."
)
MiB = 2**20
Logs = Annotated[
    list[Path],
    typer.Option("--request-log", metavar="FILE", help="Of a gateway; repeatable."),
]
Folder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Of the segments; telemetry in this home.")
]
MostMiB = Annotated[int, typer.Option(min=1, help="On disk; the oldest segments go first.")]
MostDays = Annotated[float, typer.Option(min=0.001, help="That a segment is kept.")]
Once = Annotated[bool, typer.Option("--once", help="Take what is there, and leave.")]
Hours = Annotated[float | None, typer.Option(min=0.0, help="The last ones only.")]
TraceOut = Annotated[
    Path | None, typer.Option("--trace", metavar="OUT.npz", help="Save the requests as a trace.")
]


@telemetry_app.command()
def collect(
    context: typer.Context,
    request_log: Logs,
    folder: Folder = None,
    most_mib: MostMiB = 4096,
    most_days: MostDays = 30.0,
    once: Once = False,
    quiet: Quiet = False,
) -> None:
    """Tail request logs into segments until SIGTERM; each line once, whatever is rotated.

    \b
    evolver telemetry collect --request-log requests.jsonl
    evolver telemetry collect --request-log a.jsonl --request-log b.jsonl --folder segments
    """
    from telemetry.segments import Collector, SegmentLimits, SegmentWriter

    screen, place = screen_of(context, quiet), folder or _usual_folder()
    segment_bytes = min(64 * MiB, most_mib * MiB // 4)
    limits = SegmentLimits(
        most_bytes=most_mib * MiB, most_age_s=most_days * 86_400.0, segment_bytes=segment_bytes
    )
    with (
        _told_to_stop() as stop,
        SegmentWriter(place, limits) as writer,
        closing(Collector(writer, request_log)) as collector,
    ):
        screen.note(f"Collecting into {place}; SIGTERM ends it.")
        if once:
            while collector.poll():
                pass
        else:
            collector.run(stop)
        positions = collector.positions
    for name, position in positions.items():
        screen.text(f"{name}: {_sentence(position)}")
    screen.next(f"evolver telemetry show --folder {place}")


@telemetry_app.command()
def show(
    context: typer.Context,
    folder: Folder = None,
    hours: Hours = None,
    trace: TraceOut = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Say what segments hold: requests by outcome, sources, what is damaged.

    \b
    evolver telemetry show --hours 1
    evolver telemetry show --hours 24 --trace day.npz
    """
    import time

    from telemetry.segments import read, trace_of
    from telemetry.segments.manifest import load

    screen, place = screen_of(context, quiet), folder or _usual_folder()
    since_s = 0.0 if hours is None else time.time() - 3600.0 * hours
    requests, manifest = read(place, since_s), load(place)
    show_result(
        screen, output, out,
        lambda: _document(requests, manifest), lambda: _report(requests, manifest),
    )  # fmt: skip
    if trace is not None:
        trace_of(requests, name=trace.stem).save(trace)
        screen.next(f"evolver trace info {trace}")


def _usual_folder() -> Path:
    return home() / "telemetry"


@contextmanager
def _told_to_stop() -> Iterator[Event]:
    """Set by SIGTERM and SIGINT while entered; main thread only."""
    import signal
    from threading import Event

    stop = Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sentence(position: Position) -> str:
    parts = [f"{position.rows:,} requests"]
    parts += [f"{position.flaws:,} lines that are none"] if position.flaws else []
    parts += [f"{position.gaps:,} files lost before they were read"] if position.gaps else []
    return ", ".join(parts) + "."


def _sources(manifest: Manifest) -> dict[str, Position]:
    from telemetry.segments.log_tail import Position

    return {name: Position.of(stored) for name, stored in manifest.positions.items()}


def _document(requests: Requests, manifest: Manifest) -> Mapping[str, Any]:
    from dataclasses import asdict

    import numpy as np

    from telemetry.requests import OUTCOMES

    times = requests.arrived_unix_s
    counts = np.bincount(requests.outcome, minlength=len(OUTCOMES)).tolist()
    return {
        "kind": "segments",
        "requests": len(requests),
        "since_unix_s": float(times[0]) if len(times) else None,
        "until_unix_s": float(times[-1]) if len(times) else None,
        "outcomes": {name: count for name, count in zip(OUTCOMES, counts, strict=True) if count},
        "prompt_tokens": int(requests.prompt_tokens.sum(dtype=np.int64)),
        "output_tokens": int(requests.output_tokens.sum(dtype=np.int64)),
        "segments": len(manifest.segments),
        "bytes": manifest.bytes,
        "skipped_segments": requests.skipped_segments,
        "sources": {name: asdict(position) for name, position in _sources(manifest).items()},
        "notes": list(requests.notes),
    }


def _report(requests: Requests, manifest: Manifest) -> Report:
    from datetime import UTC, datetime

    from sandbox.report import Report, Tone

    said = _document(requests, manifest)
    stretch = "none"
    if len(requests):
        first, last = (
            datetime.fromtimestamp(said[name], UTC).isoformat(" ", "seconds")
            for name in ("since_unix_s", "until_unix_s")
        )
        stretch = f"{first} to {last}"
    report = Report("Segments").heading("Segments", f"{len(requests):,} requests")
    report.grid(
        ("", ""),
        [
            ("arrived", stretch),
            *((name, f"{count:,}") for name, count in said["outcomes"].items()),
            ("prompt tokens", f"{said['prompt_tokens']:,}"),
            ("output tokens", f"{said['output_tokens']:,}"),
            ("closed segments", f"{said['segments']:,}, {said['bytes'] / MiB:,.1f} MiB"),
        ],
    )
    sources = [(name, _sentence(position)) for name, position in _sources(manifest).items()]
    if sources:
        report.grid(("log", "taken when the last segment was closed"), sources)
    return report.say(*requests.notes, tone=Tone.DIM)
