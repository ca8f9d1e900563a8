"""What `evolver store` found, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from sandbox.report import Cell, Report, Tone

if TYPE_CHECKING:
    from policy_store.retention import Pruned
    from policy_store.store import PolicyStore
    from policy_store.verification import StoreVerdict

FINDINGS_SHOWN = 20
KINDS = {"audit": "audit entries", "source": "sources", "version": "policies",
         "evidence": "documents"}  # fmt: skip
PRUNED = {
    "versions": "policies never approved", "sources": "their sources",
    "evidence": "their documents", "runs": "finished runs: their details",
    "run_events": "events and model answers of those", "sessions": "sign-ins that ended",
    "links": "links that were used or ended", "hosts": "hosts that fell silent",
}  # fmt: skip


def info_document(store: PolicyStore) -> dict[str, object]:
    """Where a store is and what it holds."""
    from policy_store.schema import HEAD

    sequence, head = store.audit.head()
    return {
        "where": store.where, "schema_revision": HEAD, "bytes": store.size_bytes(),
        "audit": {"entries": sequence, "head": head}, "rows": store.row_counts(),
    }  # fmt: skip


def info_report(document: Mapping[str, object]) -> Report:
    """The same for people."""
    audit, rows = document["audit"], document["rows"]
    size = document["bytes"]
    report = Report("Store")
    facts = [("where", str(document["where"])), ("schema", str(document["schema_revision"]))]
    if isinstance(size, int):
        facts.append(("size", f"{size:,} bytes"))
    if isinstance(audit, Mapping):
        facts.append(("audit log", f"{audit['entries']:,} entries, the last is {audit['head']}"))
    report.grid(("", ""), facts)
    if isinstance(rows, Mapping):
        report.grid(("table", ">rows"), [(name, f"{count:,}") for name, count in rows.items()])
    return report


def verify_document(where: str, verdict: StoreVerdict) -> dict[str, object]:
    """What was checked and what is wrong."""
    return {
        "where": where, "intact": verdict.intact, "audit": asdict(verdict.audit),
        "checked": dict(verdict.checked), "findings": [asdict(one) for one in verdict.findings],
    }  # fmt: skip


def verify_report(where: str, verdict: StoreVerdict) -> Report:
    """The same for people."""
    report = Report("Store").say(where, tone=Tone.DIM)
    if verdict.intact:
        report.say("", "Everything is as it was written.", tone=Tone.GOOD)
    else:
        count = len(verdict.findings)
        said = "One thing is" if count == 1 else f"{count:,} things are"
        report.say("", f"{said} not as written.", tone=Tone.BAD)
        rows = [
            (Cell(one.kind, Tone.BAD), one.subject if len(one.subject) != 64 else one.subject[:12],
             one.problem)
            for one in verdict.findings[:FINDINGS_SHOWN]
        ]  # fmt: skip
        report.grid(("what", "which", "problem"), rows)
        if count > FINDINGS_SHOWN:
            report.say(f"and {count - FINDINGS_SHOWN:,} more: -o json has all", tone=Tone.DIM)
    checked = [(KINDS[kind], f"{count:,}") for kind, count in verdict.checked.items()]
    report.grid(("checked", ">"), checked)
    return report.say(f"the log ends with {verdict.audit.head}", tone=Tone.DIM)


def prune_report(counts: Pruned, days: int, *, done: bool) -> Report:
    """What goes, or went."""
    report = Report("Retention")
    if not counts:
        return report.say(f"Nothing that may go is older than {days} days.")
    said = "Removed" if done else "Nothing was removed; this would go"
    report.say(f"{said}, older than {days} days:", tone=Tone.STRONG)
    rows = [(PRUNED[name], f"{count:,}") for name, count in asdict(counts).items() if count]
    return report.grid(("what", ">rows"), rows)
