"""Episodes as the store keeps them: what one was begun for, what it spent, what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from evolver.daemon.deciding import KINDS, Choice
from evolver.daemon.protocols import Ground, Stretch
from evolver.regimes import finite
from policy_store.daemon_book import Episode
from policy_store.lifecycle import APPROVED_STATES, State
from policy_store.records import Run
from policy_store.store import PolicyStore

PROMOTED, ROLLED_BACK, INCONCLUSIVE = "promoted", "rolled_back", "inconclusive"
APPROVED, WAITS = "approved", "left to a person"
SETTLED = (PROMOTED, ROLLED_BACK, INCONCLUSIVE)
_FATES = {
    State.ACTIVE: PROMOTED,
    State.RETIRED: PROMOTED,
    State.EJECTED: ROLLED_BACK,
    State.ROLLED_BACK: ROLLED_BACK,
    State.REJECTED: ROLLED_BACK,
}


def opened(
    deployment: str,
    number: int,
    at: datetime,
    choice: Choice,
    stretch: Stretch,
    ground: Ground,
    features: Mapping[str, float],
) -> Episode:
    """An episode as it begins."""
    limits = choice.limits.model_dump() if choice.limits is not None else {}
    facts: dict[str, object] = {
        "why": choice.reason,
        "limits": {kind: limits.get(kind) for kind in KINDS},
        "window": {
            "began_unix_s": stretch.began_unix_s,
            "until_unix_s": stretch.until_unix_s,
            "requests": len(stretch.trace),
            "digest": stretch.trace.digest(),
        },
        "regime": dict(features),
        "profile_error": ground.error,
        "notes": [*stretch.notes, *ground.notes],
    }
    return Episode(deployment, number, at, facts=facts)


def closed(episode: Episode, at: datetime, outcome: str) -> Episode:
    """The same at its end."""
    return replace(episode, ended_at=at, outcome=outcome)


def changed(
    episode: Episode,
    run: str | None = None,
    policy: str | None = None,
    facts: Mapping[str, object] | None = None,
) -> Episode:
    """The same with what is known by now."""
    return replace(
        episode,
        run=run or episode.run,
        policy=policy or episode.policy,
        facts={**episode.facts, **(facts or {})},
    )


def spent_by(run: Run) -> dict[str, float]:
    """What a run used of each kind of budget, as far as it says; one that broke off does not."""
    summary = run.summary or {}
    found = {kind: finite(summary.get(name)) for kind, name in _SUMMARY.items()}
    return {kind: value for kind, value in found.items() if value is not None}


_SUMMARY = {
    "seconds": "seconds", "evaluations": "evaluations", "tokens": "tokens", "usd": "price_usd",
}  # fmt: skip


def fate_of(store: PolicyStore, policy: str) -> str:
    """What became of a policy that is on trial nowhere; "left to a person" before any decision."""
    state = store.show(policy).version.state
    if state in _FATES or state not in APPROVED_STATES:
        return _FATES.get(state, WAITS)
    return INCONCLUSIVE if store.audit.latest([policy], ["placed"]) else APPROVED


def notes_of(run: Run) -> list[str]:
    """What the process of a search had to say, such as that a model does not answer."""
    inputs = run.config.get("inputs")
    notes = inputs.get("notes") if isinstance(inputs, Mapping) else None
    return [str(note)[:400] for note in notes][:8] if isinstance(notes, list) else []
