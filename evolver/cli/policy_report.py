"""Stored policies for people and programs: lists, one in full, the library."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from policy_store.records import AuditEntry, Kind, PolicyDetails, PolicyVersion
from sandbox.language.trees import tree_of
from sandbox.report import Cell, Report, Tone

if TYPE_CHECKING:
    from sandbox.close_up import Window

_TONES = {
    "active": Tone.GOOD, "approved": Tone.STRONG, "evaluated": Tone.STRONG, "refused": Tone.BAD,
    "rejected": Tone.DIM, "retired": Tone.DIM, "verified": Tone.DIM, "ejected": Tone.BAD,
    "rolled_back": Tone.BAD,
}  # fmt: skip

_WHY = {
    "worst": "where it does worst", "typical": "a typical one", "best": "where it does best",
    "last_hour": "the last hour",
}  # fmt: skip


def version_json(version: PolicyVersion) -> dict[str, object]:
    """A version as plain JSON values."""
    return {
        "digest": version.digest, "name": version.name, "state": version.state.value,
        "origin": version.origin.value, "author": version.author, "run": version.run,
        "parents": list(version.parents), "parameters": dict(version.parameters),
        "contract_version": version.contract_version, "created_at": moment(version.created_at),
    }  # fmt: skip


def moment(at: datetime) -> str:
    """A time for programs."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def ago(at: datetime) -> str:
    """A time for people, in their zone."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M")


def list_report(versions: Sequence[PolicyVersion]) -> Report:
    """A line for each version."""
    report = Report("Policies")
    if not versions:
        return report.say("No policy is stored that matches.")
    rows = [
        (version.digest[:12], _state(version), version.name,
         version.origin.value, (version.run or "-")[:12], ago(version.created_at))
        for version in versions
    ]  # fmt: skip
    return report.grid(("policy", "state", "name", "by", "run", "proposed"), rows)


def _state(version: PolicyVersion) -> Cell:
    return Cell(version.state.value, _TONES.get(version.state.value, Tone.PLAIN))


def library_document() -> dict[str, object]:
    """The policies that ship, as JSON values."""
    return {"policies": [{"name": name, "kind": kind, "claim": claim} for name, kind, claim in
                         _library()]}  # fmt: skip


def library_report() -> Report:
    """The policies that ship, with what each claims."""
    return Report("Library").grid(("policy", "", "idea"), _library())


def _library() -> list[tuple[str, str, str]]:
    import ast

    from evolver import library
    from sandbox.policies import default_text

    def idea(text: str) -> str:
        claim = ast.get_docstring(tree_of(text)) or ""
        return " ".join(claim.split("\n\n")[0].split()).split(". ")[0].rstrip(".")

    rows = [("default", "built in", idea(default_text()))]
    rows += [(name, "baseline", idea(library.read(name))) for name in library.baselines()]
    return rows + [(name, "system", idea(library.read(name))) for name in library.systems()]


def details_document(details: PolicyDetails, history: Sequence[AuditEntry]) -> dict[str, object]:
    """One version in full, as JSON values."""
    return {
        "policy": version_json(details.version),
        "source": details.source.text,
        "claim": details.source.claim,
        "evidence": [{"digest": e.digest, "document": dict(e.document)} for e in details.evidence],
        "close_ups": [
            {"kind": e.kind.value, "digest": e.digest, "document": dict(e.document)}
            for e in details.documents
            if e.kind is not Kind.EVIDENCE
        ],
        "history": [
            {"at": moment(e.at), "by": e.actor, "action": e.action, "note": e.note} for e in history
        ],
    }


def details_report(details: PolicyDetails, history: Sequence[AuditEntry]) -> Report:
    """One version in full."""
    version = details.version
    report = Report(f"Policy {version.name}")
    report.heading(version.name, f"{version.state.value}; digest {version.digest}")
    if details.source.claim:
        report.say(*details.source.claim.strip().split("\n"))
    values = [(name, f"{value:g}") for name, value in sorted(version.parameters.items())]
    if values:
        report.grid(("constant", ">value"), values)
    report.heading("Source").code(details.source.text)
    for record in details.evidence:
        report.heading("Evidence", record.digest)
        report.say(*_evidence_lines(dict(record.document)))
    for record in details.documents:
        if record.kind is not Kind.EVIDENCE:
            report.heading("Request by request", record.digest)
            report.say(*_close_up_lines(dict(record.document)))
    report.heading("History").grid(
        ("when", "who", "what", "why"),
        [(ago(e.at), e.actor, e.action.replace("_", " "), e.note) for e in history],
    )
    return report


def _evidence_lines(document: dict[str, object]) -> list[str]:
    """The record's own words; evidence of another version is shown as its verdict alone."""
    from sandbox.evidence import Evidence, EvidenceRefused
    from sandbox.identity import canonical_json

    try:
        return Evidence.from_json(canonical_json(document)).lines()
    except EvidenceRefused as refused:
        return [str(document.get("verdict", "")), str(refused)]


def _close_up_lines(document: dict[str, object]) -> list[str]:
    """Each window in a sentence, with the request that lost most; the review page shows all."""
    from sandbox.close_up import CloseUp, CloseUpRefused

    try:
        close_up = CloseUp.from_document(document)
    except CloseUpRefused as refused:
        return [str(refused)]
    lines = [f"against {close_up.active[:12]}; the review page shows it in full"]
    return lines + [line for window in close_up.windows for line in _window_lines(window)]


def _window_lines(window: Window) -> list[str]:
    mine, theirs = window.candidate, window.active
    sealed = "sealed, " if window.sealed else ""
    lines = [
        f"{window.name} ({sealed}{_WHY[window.why.value]}): {window.requests} requests, "
        f"{_seconds(mine.objective_s)} against {_seconds(theirs.objective_s)} end to end"
    ]
    for word, found in (("most was lost", window.losses[:1]), ("most was won", window.gains[:1])):
        lines += [
            f"  {word} by a prompt of {one.prompt_tokens} tokens at {one.arrival_s:.1f} s: "
            f"{_seconds(one.candidate.e2e_s)} on instance {one.candidate.instance} against "
            f"{_seconds(one.active.e2e_s)} on {one.active.instance}"
            for one in found
        ]
    return lines


def _seconds(value: float | None) -> str:
    return "no end" if value is None else f"{value:.3g} s"
