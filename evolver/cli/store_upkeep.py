"""`evolver store verify` and `prune`: is all as it was written, and what is old enough to go."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.policies import open_store
from evolver.cli.policy_commands import By
from evolver.cli.publishing import snapshot_path, trust_path, user_name
from evolver.cli.results import show_result
from evolver.cli.run_commands import SUMMARY_KINDS
from sandbox.home import home

if TYPE_CHECKING:
    from policy_store.snapshot import Snapshot
    from policy_store.store import PolicyStore
    from policy_store.verification import StoreVerdict

USUAL_DAYS = 90
COUNTED = ("audit", "sources", "versions", "evidence")


def verify(
    context: typer.Context,
    head: Annotated[
        list[str] | None,
        typer.Option(
            "--head", metavar="HASH", help="Of the log's end, kept elsewhere; repeatable."
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Check the audit log, every source, policy and evidence, what is live and what hosts read.

    \\b
    evolver store verify
    evolver store verify --head 5f2c...          the log still holds what it held then
    evolver store verify -o json                 exit code 1 when anything is wrong
    """
    from evolver.cli.store_report import verify_document, verify_report

    screen = screen_of(context, quiet)
    heads = [_hash(one) for one in head or ()]
    with open_store() as store:
        counts = store.row_counts()
        with screen.steps("checking", sum(counts[name] for name in COUNTED)) as bar:
            verdict = _with_published(
                store, heads, lambda kind, count: bar.step(f"checking {kind}", count)
            )
        where = store.where
    show_result(
        screen, output, out,
        lambda: verify_document(where, verdict),
        lambda: verify_report(where, verdict),
    )  # fmt: skip
    if not verdict.intact:
        screen.next("evolver store restore FILE     into a new place, then verify that")
        raise typer.Exit(1)


def prune(
    context: typer.Context,
    days: Annotated[
        int, typer.Option(metavar="N", min=1, help="What is older than so many days may go.")
    ] = USUAL_DAYS,
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the audit log.")] = "",
    by: By = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without, only say what.")] = False,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Let go of what is old and was never approved; without --yes it is only counted.

    \\b
    evolver store prune                          what would go
    evolver store prune --days 30 --yes --note "quarterly"

    The audit log, activations and whatever was approved once, with evidence and ancestors, stay.
    """
    from evolver.cli.store_report import prune_report

    screen = screen_of(context, quiet)
    if yes and not note.strip():
        raise Misused("What goes for good needs its reason; add --note.")
    with open_store() as store:
        counts = store.retention.plan(days, SUMMARY_KINDS)
        if yes:
            with screen.steps("removing", sum(asdict(counts).values())) as bar:
                counts = store.retention.prune(
                    days, by or user_name(), note, SUMMARY_KINDS, lambda count: bar.step(by=count)
                )
    show_result(
        screen, output, out,
        lambda: {"done": yes, "older_than_days": days, "rows": asdict(counts)},
        lambda: prune_report(counts, days, done=yes),
    )  # fmt: skip
    if counts and not yes:
        screen.next(f'evolver store prune --days {days} --yes --note "why"')


def read_published() -> tuple[Snapshot | None, str]:
    """What hosts read now, and why they refuse it; neither where there is no such file."""
    from policy_store.errors import KeyProblem, SnapshotError, SnapshotMissing
    from policy_store.keys import read_trusted
    from policy_store.snapshot import read_snapshot

    try:
        return read_snapshot(snapshot_path(home()), read_trusted(trust_path(home()))), ""
    except SnapshotMissing:
        return None, ""
    except (KeyProblem, SnapshotError) as error:
        return None, str(error)


def _with_published(
    store: PolicyStore, heads: list[str], progress: Callable[[str, int], object]
) -> StoreVerdict:
    from policy_store.verification import Finding

    snapshot, refused = read_published()
    verdict = store.check(heads=heads, snapshot=snapshot, progress=progress)
    path = str(snapshot_path(home()))
    if not refused and snapshot is None and store.slot().digest is not None:
        refused = "There is no such file, so hosts do not know what is active."
    if refused:
        found = (*verdict.findings, Finding("snapshot", path, refused))
        return replace(verdict, findings=found)
    return verdict


def _hash(word: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", word):
        raise Misused(f"{word!r} is no hash: give the 64 digits that `evolver store info` prints.")
    return word
