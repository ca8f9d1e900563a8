"""`evolver decision`: what a serving host was asked lately, and each of it again.

All of it works on the host's state folder alone: no store and no running host is needed.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Declined
from evolver.cli.host_commands import Deployment, State, folder_of
from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.results import show_result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.report import Report
    from serving_adapter.activation import Prepare, Rows
    from serving_adapter.decision_replay import Again
    from serving_adapter.decision_ring import Kept
    from serving_adapter.policy_files import KeptPolicy

SHOWN_ROWS = 8
REPLAY_DEADLINE_S = 5.0

decision_app = typer.Typer(
    name="decision", no_args_is_help=True, help="Decisions of this host: look, and make again."
)


@decision_app.command("list")
def list_decisions(
    context: typer.Context,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=10_000)] = 20,
    deployment: Deployment = "default",
    state: State = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """List the latest questions to policies whose full input is kept, newest first.

    \b
    evolver decision list
    evolver decision list -n 1000 -o json
    """
    from serving_adapter.decision_replay import is_whole
    from serving_adapter.decision_ring import newest

    screen = screen_of(context, quiet)
    kept = newest(folder_of(state, deployment) / "decisions", count)
    found = [one for one in kept if is_whole(one.given)]
    show_result(screen, output, out, lambda: {"decisions": [_line(one) for one in found]},
                lambda: _list(found))  # fmt: skip
    if found:
        screen.next(f"evolver decision replay {found[0].id}")


@decision_app.command("replay")
def replay_decision(
    context: typer.Context,
    decision: Annotated[
        str, typer.Argument(metavar="ID", help="Of the X-Evolver-Decision header, or the list.")
    ],
    deployment: Deployment = "default",
    state: State = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Make a decision again on both engines, from what the policy was given, bit for bit.

    Ends with 1 when an engine answers otherwise than was answered then. A policy that nobody
    approved runs in a locked-down process.

    \b
    evolver decision replay 3f2a9c01b7de-1024
    """
    from serving_adapter.decision_replay import find
    from serving_adapter.errors import AdapterError

    screen, folder = screen_of(context, quiet), folder_of(state, deployment)
    try:
        asked = [(kept, *_again(folder, kept)) for kept in find(folder, decision)]
    except AdapterError as refusal:
        raise Declined(str(refusal), "evolver decision list") from None
    show_result(
        screen, output, out,
        lambda: {"decision": decision, "asked": [_document(*one) for one in asked]},
        lambda: _report(decision, asked),
    )  # fmt: skip
    if any(again.same is False for _, _, agains in asked for again in agains):
        raise typer.Exit(1)


def _again(folder: Path, kept: Kept) -> tuple[KeptPolicy, tuple[Again, ...]]:
    from serving_adapter.decision_replay import replay
    from serving_adapter.errors import AdapterError
    from serving_adapter.policy_files import kept_policy

    policy = kept_policy(folder, kept.given.digest)
    if policy is None:
        raise AdapterError(
            f"Policy {kept.given.digest[:12]}, which was asked, is not kept in "
            f"{folder / 'policies'} any more."
        )
    with _engines(policy) as engines:
        return policy, replay(kept.given, engines, policy.source, policy.parameters)


@contextlib.contextmanager
def _engines(policy: KeptPolicy) -> Iterator[dict[str, Prepare]]:
    """How each engine loads the policy; what nobody approved never runs in this process."""
    from functools import partial

    from serving_adapter.activation import prepare_policy
    from serving_adapter.decision_replay import ENGINES
    from serving_adapter.side.side_process import SideProcesses

    if policy.approved:
        yield {str(name): partial(prepare_policy, engine=name) for name in ENGINES}
        return
    with contextlib.ExitStack() as stack:
        sides: dict[str, Prepare] = {}
        for name in ENGINES:
            side = SideProcesses(name, REPLAY_DEADLINE_S, needs_isolation=True)
            sides[name] = stack.enter_context(contextlib.closing(side)).prepare
        yield sides


def _line(kept: Kept) -> dict[str, object]:
    given = kept.given
    return {
        "decision": kept.id, "at": _moment(kept.unix_s).isoformat(timespec="seconds"),
        "sequence": given.sequence, "policy": given.digest, "choice": given.choice,
        "fault": given.fault, "instances": len(_rows(kept)), "seconds": given.call_s,
    }  # fmt: skip


def _document(kept: Kept, _: KeptPolicy, agains: tuple[Again, ...]) -> dict[str, object]:
    from serving_adapter.decision_replay import request_of

    return {
        **_line(kept), "fuel": kept.given.fuel, "rotation": kept.given.rotation,
        "request": _numbers(request_of(kept.given)[0]),
        "rows": [_numbers(row) for row in _rows(kept)],
        "again": [
            {"engine": one.engine, "choice": one.choice, "fault": one.fault, "same": one.same}
            for one in agains
        ],
    }  # fmt: skip


def _list(found: list[Kept]) -> Report:
    from evolver.cli.policy_report import ago
    from sandbox.report import Report

    report = Report("Decisions")
    if not found:
        return report.say("No decision input is kept here: no policy was asked yet.")
    report.grid(
        ("decision", "when", ">sequence", "policy", ">engines", "answer", ">us"),
        [(one.id, ago(_moment(one.unix_s)), str(one.given.sequence), one.given.digest[:12],
          str(len(_rows(one))), _answer(one.given.choice, one.given.fault),
          f"{one.given.call_s * 1e6:.1f}") for one in found],
    )  # fmt: skip
    return report


def _report(decision: str, asked: list[tuple[Kept, KeptPolicy, tuple[Again, ...]]]) -> Report:
    from sandbox.report import Report

    report = Report(f"Decision {decision}")
    for kept, _, agains in asked:
        given = kept.given
        report.say(
            f"Policy {given.digest[:12]} under sequence {given.sequence} answered "
            f"{_answer(given.choice, given.fault)} over {len(_rows(kept))} engines."
        )
        report.grid(
            ("engine", "answers", "as then"),
            [(one.engine, _answer(one.choice, one.fault),
              {True: "yes", False: "NO", None: "cannot be compared"}[one.same])
             for one in agains],
        )  # fmt: skip
        report.grid(*_seen(_rows(kept), given.choice))
    return report


def _seen(rows: Rows, choice: int | None) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """What told the engines apart: the chosen one and the least busy, in fields that differ."""
    import numpy as np

    busy = np.maximum(rows["queued_requests"], 0) + np.maximum(rows["running_requests"], 0)
    order = sorted(range(len(rows)), key=lambda at: (rows["id"][at] != choice, busy[at]))
    shown = rows[order[:SHOWN_ROWS]]
    names = [
        name for name in rows.dtype.names or ()
        if name != "id" and len(np.unique(rows[name])) > 1
    ]  # fmt: skip
    head = ("engine", *(f">{name}" for name in names))
    lines = [
        (f"{row['id']}{' (chosen)' if row['id'] == choice else ''}",
         *(f"{row[name].item():.6g}" for name in names))
        for row in shown
    ]  # fmt: skip
    return head, lines


def _rows(kept: Kept) -> Rows:
    from serving_adapter.decision_replay import rows_of

    return rows_of(kept.given)


def _numbers(row: Rows) -> dict[str, object]:
    """What a record says, without what is missing."""
    values = {name: row[name].item() for name in row.dtype.names or ()}
    return {name: value for name, value in values.items() if value == value and value != -1}


def _answer(choice: int | None, fault: str) -> str:
    from sandbox import contract

    words = {contract.HOLD: "hold", contract.REJECT: "reject", None: fault or "nothing"}
    return words.get(choice, f"engine {choice}")


def _moment(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
