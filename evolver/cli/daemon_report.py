"""What `evolver daemon status` shows: who leads, in which step, and the last episodes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from evolver.cli.options import Output
from evolver.cli.results import show_result
from sandbox.report import Report

if TYPE_CHECKING:
    from evolver.cli.screen import Screen
    from policy_store.daemon_book import DaemonState, Episode
    from policy_store.leases import LeaseState
    from policy_store.records import AuditEntry
    from policy_store.store import PolicyStore

SHOWN, SAID = 10, 8


def show_status(screen: Screen, output: Output, store: PolicyStore, deployment: str) -> None:
    """Print it."""
    state = store.daemons.read(deployment)
    lease = store.leases.state(f"daemon:{deployment}"[:80])
    episodes = store.daemons.episodes(deployment, SHOWN)
    said = store.audit.entries(actor=f"daemon:{deployment}"[:80], newest_first=True, limit=SAID)
    show_result(
        screen, output, None,
        lambda: _document(state, lease, episodes, said),
        lambda: _report(state, lease, episodes, said),
    )  # fmt: skip


def _document(
    state: DaemonState,
    lease: LeaseState | None,
    episodes: tuple[Episode, ...],
    said: tuple[AuditEntry, ...],
) -> dict[str, object]:
    return {
        "deployment": state.deployment,
        "step": state.step,
        "episode": state.episode,
        "changed_at": _time(state.changed_at),
        "leader": None if lease is None or lease.left_s <= 0 else lease.holder,
        "fencing": None if lease is None else lease.fencing,
        "lease_left_s": None if lease is None else lease.left_s,
        "episodes": [
            {
                "number": one.number, "began_at": _time(one.began_at),
                "ended_at": _time(one.ended_at), "outcome": one.outcome, "run": one.run,
                "policy": one.policy, **one.facts,
            }
            for one in episodes
        ],
        "said": [
            {"at": _time(one.at), "action": one.action, "policy": one.subject, "note": one.note}
            for one in said
        ],
    }  # fmt: skip


def _report(
    state: DaemonState,
    lease: LeaseState | None,
    episodes: tuple[Episode, ...],
    said: tuple[AuditEntry, ...],
) -> Report:
    report = Report(f"daemon of {state.deployment}")
    if lease is None:
        report.say("No daemon has ever led here.")
    elif lease.left_s <= 0:
        report.say(f"Nobody leads: the lease of {lease.holder} ran out {-lease.left_s:,.0f} s ago.")
    else:
        report.say(f"{lease.holder} leads, as number {lease.fencing}.")
    report.say(f"Step {state.step}, episode {state.episode}.")
    if episodes:
        rows = [
            [str(one.number), _time(one.began_at) or "", one.outcome or "goes on",
             (one.policy or "")[:12], str(one.facts.get("why", ""))]
            for one in episodes
        ]  # fmt: skip
        report.grid(["episode", "began", "outcome", "policy", "why"], rows)
    if said:
        rows = [[_time(one.at) or "", one.action, one.note[:300]] for one in said]
        report.grid(["at", "what", "why"], rows)
    return report


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
