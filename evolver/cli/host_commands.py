"""`evolver host`: what a serving host keeps out and why, and a person's word to let it back in.

All of it works on the host's state folder alone: no store, no snapshot and no running host is
needed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Declined, Misused
from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.policy_commands import By
from evolver.cli.publishing import state_folder, user_name
from evolver.cli.results import show_result
from sandbox.home import home

if TYPE_CHECKING:
    from sandbox.report import Report
    from serving_adapter.process_report import ProcessReport
    from serving_adapter.safety.ejection import Ejection
    from serving_adapter.safety.latches import LatchFolder

MAX_NOTE_CHARS = 500
SHORTEST_DIGEST = 6

host_app = typer.Typer(
    name="host",
    no_args_is_help=True,
    help="What this host runs and what it ejected: look, and let back in.",
)
State = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="The host's state folder, as `serve` has it."),
]
Deployment = Annotated[str, typer.Option(metavar="NAME", help="What the host serves.")]


@host_app.command()
def status(
    context: typer.Context,
    deployment: Deployment = "default",
    state: State = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Say what each process of the host runs, what is on trial, and what is kept out and why.

    \b
    evolver host status
    evolver host status --state /var/lib/evolver -o json
    """
    from serving_adapter.host_sum import host_sum
    from serving_adapter.process_report import living_reports

    screen = screen_of(context, quiet)
    folder = _latches(state, deployment)
    processes = living_reports(folder.state)
    total = host_sum(processes)
    latched = [folder.read(digest) for digest in sorted(folder.digests() or ())]
    dumps = _dumps(folder)
    show_result(
        screen, output, out,
        lambda: {"state": str(folder.state), "killed": folder.killed,
                 "latched": [_document(one) for one in latched],
                 "processes": [asdict(one) for one in processes],
                 "facts": dict(total.facts) if total else {},
                 "dumps": [path.name for path in dumps]},
        lambda: _report(folder, latched, dumps, processes),
    )  # fmt: skip
    if folder.killed:
        screen.next('evolver host enable everything --note "why"')
    elif latched:
        screen.next("evolver host dump", 'evolver host enable DIGEST --note "why"')


@host_app.command()
def enable(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="DIGEST", help="What status shows; or everything, after kill.")
    ],
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the host's log.")],
    by: By = None,
    deployment: Deployment = "default",
    state: State = None,
    quiet: Quiet = False,
) -> None:
    """Let an ejected policy decide again on this host; `everything` lifts the kill switch.

    \b
    evolver host enable 3f2a9c --note "the engine was at fault, see the dump"
    evolver host enable everything --note "the drill is over"
    """
    from serving_adapter.safety.latches import EVERYTHING

    folder, screen = _latches(state, deployment), screen_of(context, quiet)
    if not (len(note.strip()) > 0 and len(note) <= MAX_NOTE_CHARS and note.isprintable()):
        raise Misused(f"Say why in 1 to {MAX_NOTE_CHARS} printable characters.")
    if what == EVERYTHING and not folder.killed:
        raise Declined("The kill switch is not thrown.", "evolver host status")
    name = what if what == EVERYTHING else _one_of(folder, what)
    ejection = folder.enable(name, by or user_name(), note)
    if ejection is None:
        screen.text("enabled all policies that have no latch of their own")
    else:
        screen.text(f"enabled {name[:12]}, ejected as {ejection.kind}: {ejection.reason}")
    screen.note("a running host follows within a tenth of a second")


@host_app.command()
def dump(
    context: typer.Context,
    policy: Annotated[
        str | None, typer.Argument(metavar="DIGEST", help="Of this policy; the newest without it.")
    ] = None,
    deployment: Deployment = "default",
    state: State = None,
    quiet: Quiet = False,
) -> None:
    """Print what the host knew at an ejection, as JSON: reason, counters, the latest decisions.

    \b
    evolver host dump
    evolver host dump 3f2a9c
    """
    folder, screen = _latches(state, deployment), screen_of(context, quiet)
    paths = [path for path in _dumps(folder) if _is_of(path, policy)]
    if not paths:
        raise Declined(f"There is no such dump in {folder.state}.", "evolver host status")
    screen.text(json.dumps(json.loads(paths[-1].read_text("ascii")), indent=1))


def folder_of(state: Path | None, deployment: str) -> Path:
    """The state folder that was named, or this home's for the deployment.

    Raises:
        Declined: it is not there.
    """
    folder = state or state_folder(home(), deployment)
    if not folder.is_dir():
        raise Declined(
            f"There is no state folder {folder}: no host has run there, or it had another --state.",
            "evolver serve --help",
        )
    return folder


def _latches(state: Path | None, deployment: str) -> LatchFolder:
    from serving_adapter.safety.latches import LatchFolder

    return LatchFolder(folder_of(state, deployment))


def _dumps(folder: LatchFolder) -> list[Path]:
    from serving_adapter.safety.dumps import dumps_in

    return dumps_in(folder.state / "dumps")


def _one_of(folder: LatchFolder, word: str) -> str:
    """The latched digest that a word begins."""
    found = [digest for digest in folder.digests() or () if digest.startswith(word)]
    if len(word) < SHORTEST_DIGEST or len(found) != 1:
        raise Misused(
            f"{word!r} names no latched policy, or several: give the first {SHORTEST_DIGEST} or "
            "more digits that `evolver host status` shows."
        )
    return found[0]


def _is_of(path: Path, word: str | None) -> bool:
    return word is None or path.stem.rpartition("-")[2].startswith(word[:12])


def _moment(ejection: Ejection) -> datetime:
    return _at(ejection.unix_s)


def _at(unix_s: float) -> datetime:
    try:
        return datetime.fromtimestamp(unix_s, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _add_processes(report: Report, processes: Sequence[ProcessReport]) -> None:
    from evolver.cli.policy_report import ago

    if not processes:
        report.say("No process of this host is running.")
        return
    report.grid(
        (">process", ">sequence", "policy", "since", ">decisions", ">fallbacks", "takes work"),
        [(str(one.pid), str(one.sequence), (one.digest or "built-in")[:12],
          ago(_at(one.since_unix_s)), f"{sum(one.decided.values()):,}", f"{one.fallbacks:,}",
          "NO, it is behind" if one.behind else "yes") for one in processes],
    )  # fmt: skip
    for one in processes:
        if one.canary is not None:
            trial = one.canary
            report.say(
                f"Process {one.pid}: canary {trial.digest[:12]} made {trial.canary_decisions:,} of "
                f"{trial.decisions:,} decisions (share {trial.weight:.3g}); {trial.standing}, "
                f"evidence that it is worse {trial.evidence:.3g} of {trial.proof:.3g}, over "
                f"{trial.canary_requests:,} requests beside {trial.control_requests:,}."
            )
        if one.shadow is not None:
            shadow = one.shadow
            asked = shadow.agree + shadow.differ + shadow.fault
            report.say(
                f"Process {one.pid}: shadow {shadow.digest[:12]} agreed with {shadow.agree:,} of "
                f"{asked:,} decisions."
            )


def _document(ejection: Ejection) -> dict[str, object]:
    return {
        "policy": ejection.digest, "kind": ejection.kind.value, "reason": ejection.reason,
        "sequence": ejection.sequence, "decision": ejection.number,
        "at": _moment(ejection).isoformat(timespec="seconds"),
    }  # fmt: skip


def _report(
    folder: LatchFolder,
    latched: list[Ejection],
    dumps: list[Path],
    processes: Sequence[ProcessReport],
) -> Report:
    from evolver.cli.policy_report import ago
    from sandbox.report import Report

    report = Report("Host")
    _add_processes(report, processes)
    if folder.killed:
        report.say("The kill switch is thrown: no policy decides, the built-in default does.")
    if not latched:
        return report.say("No policy is kept out.")
    report.grid(
        ("kept out", "kind", "why", ">sequence", "since"),
        [(one.digest[:12], one.kind.value, one.reason, str(one.sequence), ago(_moment(one)))
         for one in latched],
    )  # fmt: skip
    held = "1 dump" if len(dumps) == 1 else f"{len(dumps)} dumps"
    return report.say(f"{held} in {folder.state / 'dumps'}.")
