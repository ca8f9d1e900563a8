"""Everything that the page of one policy shows, gathered for the page and for its export."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from policy_store.errors import StoreError
from policy_store.gates import measured
from policy_store.lifecycle import State
from policy_store.records import AuditEntry, PolicyDetails
from policy_store.review.close_up_view import CloseUpView, close_up_view
from policy_store.review.code import MOST_LINES, html_of, lines_of
from policy_store.review.comparison import (
    Comparison,
    View,
    compared,
    has_parent,
    other_side,
    side_of,
    usual,
)
from policy_store.review.evidence_view import EvidenceView, evidence_view
from policy_store.review.provenance import Provenance, provenance_of
from policy_store.store import PolicyStore

PATH = (State.PROPOSED, State.VERIFIED, State.EVALUATED, State.APPROVED, State.SHADOW,
        State.CANARY, State.ACTIVE, State.RETIRED)  # fmt: skip
REACHED = {
    "proposed": State.PROPOSED, "verified": State.VERIFIED, "evidence_attached": State.EVALUATED,
    "approved": State.APPROVED, "activated": State.ACTIVE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """A state on the way, when it was last reached, and whether it is the present one."""

    state: State
    at: datetime | None
    present: bool


@dataclass(frozen=True, slots=True)
class PolicyView:
    """All there is to see of one policy.

    Attributes:
        evidence: the latest, None when there is none that this version can read.
        unreadable: why not, as a sentence; empty when it can be read or there is none.
        comparison: None with a sentence in `no_comparison`.
        source: lines of HTML; `cut` more are left out.
        names: of those policies named here that are in the store, by digest.
    """

    details: PolicyDetails
    evidence: EvidenceView | None
    unreadable: str
    view: View
    comparison: Comparison | None
    no_comparison: str
    parent: bool
    close_up: CloseUpView
    provenance: Provenance | None
    track: tuple[Step, ...]
    history: tuple[AuditEntry, ...]
    source: tuple[Markup, ...]
    cut: int
    names: Mapping[str, str]


def policy_view(
    store: PolicyStore, details: PolicyDetails, active: str | None, view: View
) -> PolicyView:
    """Gather it; what cannot be had is said, and never keeps the rest from being shown.

    Args:
        active: digest of the active policy of the deployment; None is the built-in default.
    """
    version = details.version
    provenance = provenance_of(store.runs, version)
    history = store.history(version.digest)
    evidence, unreadable = _evidence(details, active)
    comparison, problem = _comparison(store, details, active, provenance, view)
    close_up = close_up_view(details, view.window)
    lines = lines_of(details.source.text)
    return PolicyView(
        details=details,
        evidence=evidence,
        unreadable=unreadable,
        view=view,
        comparison=comparison,
        no_comparison=problem,
        parent=has_parent(details, provenance),
        close_up=close_up,
        provenance=provenance,
        track=tuple(_track(version.state, history)),
        history=history,
        source=tuple(html_of(line) for line in lines[:MOST_LINES]),
        cut=max(len(lines) - MOST_LINES, 0),
        names=_names(store, details, evidence, close_up, history),
    )


def chosen(details: PolicyDetails, active: str | None, store: PolicyStore, view: View) -> View:
    """The view with what is compared, when nobody chose."""
    if view.against:
        return view
    against = usual(details, active, provenance_of(store.runs, details.version))
    return View(against, view.layout, view.bare, view.window)


def _names(
    store: PolicyStore,
    details: PolicyDetails,
    evidence: EvidenceView | None,
    close_up: CloseUpView,
    history: Sequence[AuditEntry],
) -> Mapping[str, str]:
    contenders = evidence.evidence.contenders if evidence else ()
    replaced = (entry.details.get("replaces") for entry in history)
    named = {
        details.version.digest, close_up.active, *details.version.parents,
        *(one.digest for one in contenders), *(one for one in replaced if isinstance(one, str)),
    }  # fmt: skip
    return {digest: one.name for digest, one in store.find_policies(named).items()}


def _evidence(details: PolicyDetails, active: str | None) -> tuple[EvidenceView | None, str]:
    if not details.evidence:
        return None, ""
    record = measured(details.evidence[-1])
    if record is not None:
        return evidence_view(record, active), ""
    schema = details.evidence[-1].document.get("schema")
    known = f"schema {schema}" if isinstance(schema, int) else "no schema that is known"
    return None, (
        f"Its evidence {details.evidence[-1].digest[:12]} is of {known}, which this version does "
        "not read: measure the policy again before anybody decides on it."
    )


def _comparison(
    store: PolicyStore,
    details: PolicyDetails,
    active: str | None,
    provenance: Provenance | None,
    view: View,
) -> tuple[Comparison | None, str]:
    try:
        other = other_side(store, details, active, provenance, view.against)
    except StoreError as error:
        return None, str(error)
    return compared(other, side_of(details), view.bare), ""


def _track(state: State, history: Sequence[AuditEntry]) -> Iterable[Step]:
    """The way of a version from the audit; a state off the way comes last."""
    reached: dict[State, datetime] = {}
    for entry in history:
        met = _met(entry.action, entry.details)
        if met is not None:
            reached[met] = entry.at
    for one in PATH:
        if one is not State.RETIRED or state is State.RETIRED:
            yield Step(one, reached.get(one), one is state)
    if state not in PATH:
        yield Step(state, history[-1].at if history else None, True)


def _met(action: str, details: Mapping[str, object]) -> State | None:
    if action == "placed":
        alias = details.get("alias")
        return State(alias) if alias in ("shadow", "canary") else None
    return REACHED.get(action)
