"""After a run's end: its winner beside the active policy on a few windows, request by request.

Nothing of the run depends on it: the verdict stands and the record is closed before. When it cannot
be made that is said, and the run is as good as with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping

from policy_store import PolicyStore
from policy_store.records import Kind
from sandbox.close_up import Why
from sandbox.close_up_worker import Look, Shown, look_closely
from sandbox.evidence import Evidence, Role, WindowEvidence
from sandbox.policies import default_text
from sandbox.scenario import Scenario
from sandbox.scores import Candidate
from sandbox.verifier import verify

_log = logging.getLogger("evolver.closing")


def attach_close_up(
    store: PolicyStore,
    policy: str,
    evidence: Evidence,
    scenarios: Collection[Scenario],
    *,
    active: str | None,
    author: str,
    accept_missing: Collection[str] = (),
) -> str:
    """Look closely at up to three windows of the evidence; a sentence of what came of it.

    Args:
        store: keeps what is seen, beside the evidence.
        policy: digest of the winner.
        evidence: about it.
        scenarios: every window of the run.
        active: text of the active policy; the built-in default without one.
        author: in the audit log.
        accept_missing: layers of isolation that may be missing.
    """
    began_s = time.monotonic()
    by_name = {scenario.name: scenario for scenario in scenarios}
    try:
        looks = [
            Look(by_name[window.name], why, window.sealed)
            for why, window in telling_windows(evidence).items()
        ]
        details = store.show(policy)
        winner = Shown(Candidate(details.source.text, details.version.parameters), policy)
        text = active or default_text()
        close_up = look_closely(
            looks, winner, Shown(Candidate(text), verify(text).digest()),
            accept_missing=accept_missing,
        )  # fmt: skip
        store.attach_evidence(policy, close_up.document(), author, Kind.CLOSE_UP)
    except Exception as error:  # said, not hidden: the run has ended well without it
        _log.warning("there is no close-up of %s: %s", policy[:12], error, exc_info=True)
        return f"There is no close-up of it: {str(error) or type(error).__name__}"
    names = ", ".join(look.scenario.name for look in looks)
    return f"Looked closely at {names} in {time.monotonic() - began_s:.1f} s."


def telling_windows(evidence: Evidence) -> Mapping[Why, WindowEvidence]:
    """Where the candidate does worst against the active policy, best, and in the middle.

    Sealed windows as they happened, or else any: what proved it says most about it.
    """
    rival = _rival(evidence)
    known = [
        window for window in evidence.windows
        if window.name == window.unit and {Role.CANDIDATE, rival} <= set(window.objective)
    ]  # fmt: skip
    known = [window for window in known if window.sealed] or known
    ratio = {w.name: w.objective[Role.CANDIDATE] / w.objective[rival] for w in known}
    known.sort(key=lambda window: (-ratio[window.name], window.name))
    if not known:
        return {}
    places = {Why.WORST: 0, Why.BEST: len(known) - 1, Why.TYPICAL: len(known) // 2}
    chosen: dict[int, Why] = {}
    for why, place in places.items():
        chosen.setdefault(place, why)
    order = list(Why)
    return {why: known[k] for k, why in sorted(chosen.items(), key=lambda x: order.index(x[1]))}


def _rival(evidence: Evidence) -> Role:
    """The role that the active policy is listed under; the best human's where there is none."""
    for contender in evidence.contenders:
        if Role.ACTIVE in (contender.role, *contender.also):
            return contender.role
    return Role.BEST_HUMAN
