"""`evolver status`: what is active, what waits for a decision, what ran last, who follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from evolver.cli.options import OutFile, Output, OutputOption, Quiet, screen_of
from evolver.cli.policies import open_store
from evolver.cli.results import show_result

if TYPE_CHECKING:
    from policy_store.records import HostReport, PolicyVersion, Run, Slot
    from policy_store.store import PolicyStore
    from sandbox.report import Report

RUNS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store says now; `named` are the versions that slots name, by digest."""

    slots: tuple[Slot, ...]
    named: dict[str, PolicyVersion]
    waiting: tuple[PolicyVersion, ...]
    runs: tuple[Run, ...]
    hosts: tuple[HostReport, ...]

    @classmethod
    def of(cls, store: PolicyStore) -> Standing:
        """Read it."""
        from policy_store.lifecycle import State

        slots = store.slots()
        digests = {slot.digest for slot in slots if slot.digest is not None}
        return cls(
            slots,
            {digest: store.show(digest).version for digest in digests},
            store.list_policies(state=State.EVALUATED),
            store.runs.list_runs(RUNS_SHOWN),
            store.hosts(),
        )


def status(
    context: typer.Context,
    output: OutputOption = Output.TABLE,
    out: OutFile = None,
    quiet: Quiet = False,
) -> None:
    """Say what is active, what waits for approval, and what ran last.

    \b
    evolver status
    evolver status -o json
    """
    screen = screen_of(context, quiet)
    with open_store() as store:
        standing = Standing.of(store)
    show_result(screen, output, out, lambda: _document(standing), lambda: _report(standing))
    if standing.waiting:
        screen.next(f"evolver policy show {standing.waiting[0].digest[:12]}")
    elif not standing.runs:
        screen.next("evolver evolve TRACE --seed 1")


def _document(standing: Standing) -> dict[str, object]:
    from evolver.cli.policy_report import moment, version_json

    return {
        "slots": {
            slot.alias.value: {
                "policy": slot.digest, "sequence": slot.sequence,
                "since": moment(slot.changed_at) if slot.changed_at else None,
            }
            for slot in standing.slots
        },
        "waiting": [version_json(version) for version in standing.waiting],
        "runs": [
            {"run": run.id, "started_at": moment(run.started_at), "verdict": run.verdict,
             "finished_at": moment(run.finished_at) if run.finished_at else None,
             "trace": run.config.get("trace_name"), "policy": (run.summary or {}).get("policy")}
            for run in standing.runs
        ],
        "hosts": [
            {"host": host.host, "policy": host.digest, "sequence": host.sequence,
             "seen_at": moment(host.seen_at), "ejections": len(host.ejections)}
            for host in standing.hosts
        ],
    }  # fmt: skip


def _report(standing: Standing) -> Report:
    from sandbox.report import Report

    report = Report("Status")
    report.grid(("", ""), _slot_rows(standing))
    _waiting(report, standing)
    _runs(report, standing)
    _hosts(report, standing)
    return report


def _slot_rows(standing: Standing) -> list[tuple[str, str]]:
    from evolver.cli.policy_report import ago

    rows = []
    for slot in standing.slots:
        if slot.digest is None:
            name = "the built-in default" if slot.alias.value == "active" else "nothing"
        else:
            name = f"{standing.named[slot.digest].name} {slot.digest[:12]}"
        since = f" since {ago(slot.changed_at)}" if slot.changed_at else ""
        if slot.alias.value == "active" or slot.digest is not None:
            rows.append((slot.alias.value.replace("_", " "), name + since))
    return rows


def _waiting(report: Report, standing: Standing) -> None:
    from evolver.cli.policy_report import ago

    if not standing.waiting:
        report.say("", "Nothing waits for approval.")
        return
    report.grid(
        ("waiting for approval", "name", "by", "proposed"),
        [(v.digest[:12], v.name, v.origin.value, ago(v.created_at)) for v in standing.waiting],
    )


def _runs(report: Report, standing: Standing) -> None:
    from evolver.cli.policy_report import ago

    if standing.runs:
        report.grid(
            ("last runs", "trace", "verdict", "began"),
            [(run.id[:12], str(run.config.get("trace_name", "-")),
              (run.verdict or "not finished").replace("_", " "), ago(run.started_at))
             for run in standing.runs],
        )  # fmt: skip


def _hosts(report: Report, standing: Standing) -> None:
    from evolver.cli.policy_report import ago
    from sandbox.report import Cell, Tone

    if not standing.hosts:
        return
    active = next(slot for slot in standing.slots if slot.alias.value == "active")
    rows = []
    for host in standing.hosts:
        behind = host.sequence < active.sequence
        what = host.digest[:12] if host.digest else "the built-in default"
        rows.append(
            (host.host, Cell(what, Tone.BAD if behind else Tone.PLAIN),
             f"{host.sequence}" + (" (behind)" if behind else ""), ago(host.seen_at),
             f"{len(host.ejections)}")
        )  # fmt: skip
    report.grid(("host", "runs", "sequence", "seen", ">ejections"), rows)
