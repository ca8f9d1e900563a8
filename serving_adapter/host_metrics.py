"""What a policy host shows under `evolver_*`: who decided, how long it took, what was ejected."""

from __future__ import annotations

import time

from serving_adapter.decision import Decision
from serving_adapter.exposition import Registry

DECISION_BUCKETS_S = (5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2, 0.1, 1.0)


class HostMetrics:
    """Counters and gauges of one host in a registry that its door renders."""

    def __init__(self, registry: Registry) -> None:
        self._decisions = registry.counter(
            "evolver_decisions_total", "Routing decisions.", ("author", "outcome")
        )
        self._picked = registry.counter(
            "evolver_decisions_by_instance_total", "Requests routed.", ("instance",)
        )
        self._decision_s = registry.histogram(
            "evolver_decision_seconds", "Wall time of a decision.", DECISION_BUCKETS_S
        )
        self._faults = registry.counter("evolver_policy_faults_total", "Ejections.", ("kind",))
        self._swaps = registry.counter("evolver_swaps_total", "Policies that went live.")
        self._refused = registry.counter(
            "evolver_snapshots_refused_total", "Snapshots that did not go live.", ("reason",)
        )
        self._sequence = registry.gauge("evolver_sequence", "Snapshot sequence that runs.")
        self._policy = registry.gauge("evolver_policy_info", "Policy that decides.", ("digest",))
        self._swapped_at = registry.gauge(
            "evolver_last_swap_timestamp_seconds", "Unix time of the latest swap."
        )

    def decided(self, decision: Decision) -> None:
        """One decision was made."""
        self._decisions.inc(decision.author, decision.outcome)
        self._decision_s.observe(decision.duration_s)
        if decision.instance_id >= 0:
            self._picked.inc(str(decision.instance_id))

    def swapped(self, sequence: int, digest: str) -> None:
        """Another policy runs."""
        self._swaps.inc()
        self._swapped_at.set(time.time())
        self._show(sequence, digest)

    def refused(self, reason: str) -> None:
        """A snapshot did not go live; `reason` is the name of an error class."""
        self._refused.inc(reason)

    def refusals(self, reason: str) -> int:
        """Snapshots refused so far for that reason."""
        return int(self._refused.value(reason))

    def ejected(self, kind: str, sequence: int, digest: str) -> None:
        """A policy was thrown out; `digest` is of what decides now."""
        self._faults.inc(kind)
        self._show(sequence, digest)

    def _show(self, sequence: int, digest: str) -> None:
        self._sequence.set(sequence)
        self._policy.only(1, digest)
