"""Whether a policy's proof speaks for it behind this host's door; see docs/signals.md."""

from __future__ import annotations

import logging

from policy_store.snapshot import SnapshotPolicy
from sandbox.errors import PolicyRefused
from sandbox.signal_profiles import SignalProfile, missing_for, objection_to
from serving_adapter.errors import PolicyUnusable, SignalsLacking

_log = logging.getLogger("evolver.host")


def check_signals(policy: SnapshotPolicy, door: SignalProfile) -> None:
    """Pass a policy whose proof had no more than this door tells it, of what it reads.

    One that was approved without a proof makes no claim that could be false: what it will miss is
    logged. It reads and parses the source, so it belongs in a thread.

    Raises:
        SignalsLacking: its evidence was made with richer signals; says which.
        PolicyUnusable: its source is no policy here.
    """
    try:
        if policy.signals is None:
            _warn(policy, missing_for(policy.source, door), door)
            return
        against = objection_to(policy.source, policy.signals, door)
    except PolicyRefused as refusal:
        reason = str(refusal).splitlines()[0]
        raise PolicyUnusable(f"The policy cannot go live: {reason}") from refusal
    if against:
        raise SignalsLacking(
            f"Policy {policy.digest[:12]} stays out. {against} Prove it with "
            f"`--signals {door.name}`."
        )


def _warn(policy: SnapshotPolicy, lacking: frozenset[str], door: SignalProfile) -> None:
    if lacking:
        _log.warning(
            "policy %s was approved without evidence, and reads what the door %s does not tell: %s",
            policy.digest[:12], door.name, ", ".join(sorted(lacking)),
        )  # fmt: skip
