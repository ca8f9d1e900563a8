"""What a policy host shows under `evolver_*`: who decided, how long it took, what was ejected."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Protocol

from serving_adapter.decision import NO_INSTANCE, Arm, Author, Decision
from serving_adapter.exposition import Registry
from serving_adapter.safety.comparison import Comparison
from serving_adapter.safety.control_arm import Shares
from serving_adapter.safety.ejection import EjectionKind
from serving_adapter.safety.shadow import ShadowResult

SWAP_BUCKETS_S = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 2e-2, 0.1, 1.0)
DECISION_BUCKETS_S = (5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2, 0.1, 1.0)

Values = dict[tuple[str, ...], float]


class Planned(Protocol):
    """What counts of a plan; a `PlanDecision` is one."""

    @property
    def author(self) -> Author: ...  # noqa: D102
    @property
    def result(self) -> str: ...  # noqa: D102
    @property
    def arm(self) -> Arm: ...  # noqa: D102


class HostMetrics:
    """Counters and gauges of one host in a registry that its door renders."""

    def __init__(self, registry: Registry) -> None:
        self._longest_swap_s = 0.0
        # Decisions by author, outcome, arm and engine: each is counted once, and told apart when
        # somebody asks.
        self._made: dict[tuple[str, str, str, int], float] = {}
        self._took, self._took_s = [0] * (len(DECISION_BUCKETS_S) + 1), 0.0
        registry.before_render(self._tell_apart)
        self._decisions = registry.counter(
            "evolver_decisions_total", "Routing decisions.", ("author", "outcome")
        )
        self._fallbacks = registry.counter(
            "evolver_fallbacks_total", "Decisions not made by whom they belonged to."
        )
        self._picked = registry.counter(
            "evolver_decisions_by_instance_total", "Requests routed.", ("instance",)
        )
        self._decision_s = registry.histogram(
            "evolver_decision_seconds", "Wall time of a decision.", DECISION_BUCKETS_S
        )
        self._ejections = registry.counter(
            "evolver_ejections_total", "Policies taken out, and stale signals.", ("kind",)
        )
        self._latched = registry.gauge(
            "evolver_latched", "Policies that stay out until a person enables them."
        )
        self._off = registry.gauge(
            "evolver_policies_off", "1 while no policy is asked, whatever is live.", ("kind",)
        )
        self._enabled = registry.gauge("evolver_enable_seq", "How often a policy went live.")
        self._arms = registry.counter(
            "evolver_arm_decisions_total", "Decisions in each arm.", ("arm",)
        )
        self._share = registry.gauge("evolver_control_share", "Sessions in the control arm.")
        self._weight = registry.gauge(
            "evolver_compared_share", "Sessions that the policy under comparison decides."
        )
        self._counted = registry.gauge(
            "evolver_compared_requests", "Outcomes that count in the comparison.", ("arm",)
        )
        self._evidence = registry.gauge(
            "evolver_regress_evidence", "Against the policy; it is ejected at 1/alpha."
        )
        self._attained = registry.gauge(
            "evolver_slo_attainment", "Requests of the window that kept the targets.", ("arm",)
        )
        self._add_times(registry)
        self._add_shadow(registry)
        self._add_swaps(registry)

    def _add_times(self, registry: Registry) -> None:
        self._leaps = registry.counter(
            "evolver_clock_leaps_total", "The wall clock was set.", ("direction",)
        )
        self._standstills = registry.counter(
            "evolver_standstills_total", "The process got no time for so long that waits mislead."
        )
        self._lag = registry.gauge(
            "evolver_loop_lag_seconds", "Since the event loop last answered the watchdog."
        )

    def _add_shadow(self, registry: Registry) -> None:
        self._shadow = registry.counter(
            "evolver_shadow_decisions_total", "Asked beside who decides.", ("policy", "result")
        )
        self._shadow_s = registry.counter(
            "evolver_shadow_predicted_seconds_total",
            "Predicted end-to-end time of each choice where both are known.",
            ("policy", "choice"),
        )

    def _add_swaps(self, registry: Registry) -> None:
        self._swaps = registry.counter("evolver_swaps_total", "Policies that went live.")
        self._swap_s = registry.histogram(
            "evolver_swap_seconds", "From one policy to the next.", SWAP_BUCKETS_S
        )
        self._refused = registry.counter(
            "evolver_snapshots_refused_total", "Snapshots that did not go live.", ("reason",)
        )
        self._sequence = registry.gauge("evolver_sequence", "Snapshot sequence that runs.")
        self._policy = registry.gauge("evolver_policy_info", "Policy that decides.", ("digest",))
        self._dropped = registry.gauge(
            "evolver_decision_inputs_dropped", "Decisions that cannot be replayed."
        )
        self._behind = registry.gauge(
            "evolver_behind", "1 while the host has admitted more than this process runs."
        )
        self._swapped_at = registry.gauge(
            "evolver_last_swap_timestamp_seconds", "Unix time of the latest swap."
        )

    def decided(self, decision: Decision) -> None:
        """One decision was made."""
        key = decision.author, decision.outcome, decision.arm, decision.instance_id
        self._made[key] = self._made.get(key, 0.0) + 1.0
        took_s = decision.duration_s
        self._took[bisect_left(DECISION_BUCKETS_S, took_s)] += 1
        self._took_s += took_s

    def planned(self, decision: Planned) -> None:
        """A planner was asked."""
        key = decision.author, decision.result, decision.arm, NO_INSTANCE
        self._made[key] = self._made.get(key, 0.0) + 1.0

    def _tell_apart(self) -> None:
        """Fill the counters of decisions; any thread may, as each gets new values as a whole."""
        decisions: Values = {}
        arms: Values = {}
        picked: Values = {}
        for (author, outcome, arm, instance), count in self._made.copy().items():
            _add(decisions, (author, outcome), count)
            if arm != Arm.NONE:
                _add(arms, (arm,), count)
            if instance >= 0:
                _add(picked, (str(instance),), count)
        self._decisions.values, self._arms.values, self._picked.values = decisions, arms, picked
        if any(self._took):
            self._decision_s.sums, self._decision_s.counts = {(): self._took_s}, {(): self._took}

    def fell_back(self) -> None:
        """A policy was to decide, and something after it did."""
        self._fallbacks.inc()

    def swapped(self, took_s: float) -> None:
        """Another policy runs; `stands` has said which."""
        self._swaps.inc()
        self._longest_swap_s = max(self._longest_swap_s, took_s)
        self._swap_s.observe(took_s)
        self._swapped_at.set(time.time())

    def inputs_dropped(self, count: int) -> None:
        """So many decisions are not kept for replays."""
        self._dropped.set(count)

    def is_behind(self, behind: bool) -> None:
        """Whether this process runs less than its host has admitted, for too long."""
        self._behind.set(behind)

    def refused(self, reason: str) -> None:
        """A snapshot did not go live; `reason` is the name of an error class."""
        self._refused.inc(reason)

    def refusals(self, reason: str) -> int:
        """Snapshots refused so far for that reason."""
        return int(self._refused.value(reason))

    def ejected(self, kind: EjectionKind) -> None:
        """A policy was thrown out."""
        self._ejections.inc(kind)

    def ejections(self, kind: EjectionKind) -> int:
        """Ejections of that kind so far."""
        return int(self._ejections.value(kind))

    def stands(
        self, sequence: int, digest: str, latched: int, off: EjectionKind | None, enable_seq: int
    ) -> None:
        """What decides now (`digest`), how many policies are kept out, why none is asked."""
        self._latched.set(latched)
        for kind in (EjectionKind.OPERATOR, EjectionKind.STALE):
            self._off.set(off is kind, kind)
        self._enabled.set(enable_seq)
        self._sequence.set(sequence)
        self._policy.only(1, digest)

    def lagged(self, lag_s: float) -> None:
        """For how long the event loop has not turned."""
        self._lag.set(lag_s)

    def clock_leapt(self, direction: str) -> None:
        """The wall clock was set `forward` or `back`."""
        self._leaps.inc(direction)

    def stood_still(self) -> None:
        """The process got no time for a while."""
        self._standstills.inc()

    def compared(self, shares: Shares, comparison: Comparison, now_s: float) -> None:
        """How the policy under comparison and its control stand."""
        self._share.set(shares.control)
        self._weight.set(shares.policy)
        self._evidence.set(comparison.evidence)
        for arm, count in comparison.counts.items():
            self._counted.set(count, arm)
            kept = comparison.slo.attainment(arm, now_s) if comparison.slo else None
            if kept is not None:
                self._attained.set(kept, arm)

    def shadowed(self, policy: str, seen: ShadowResult) -> None:
        """The default policy or the shadow was asked too: what it said, and what it promises."""
        self._shadow.inc(policy, seen.answer)
        if seen.live_s == seen.live_s and seen.shadow_s == seen.shadow_s:
            self._shadow_s.inc(policy, "live", by=seen.live_s)
            self._shadow_s.inc(policy, "shadow", by=seen.shadow_s)

    def shadow_results(self, policy: str, answer: str) -> int:
        """How often that came out."""
        return int(self._shadow.value(policy, answer))

    def shadow_seconds(self, policy: str, choice: str) -> float:
        """Predicted end-to-end time of all live, or all shadow choices that could be compared."""
        return self._shadow_s.value(policy, choice)

    def decisions(self, author: str) -> int:
        """Decisions by that author so far."""
        self._tell_apart()
        return int(sum(value for key, value in self._decisions.values.items() if key[0] == author))

    def fallbacks(self) -> int:
        """Decisions that were not made by whom they belonged to."""
        return int(self._fallbacks.value())

    def arm_decisions(self, arm: Arm) -> int:
        """Decisions in that arm so far."""
        self._tell_apart()
        return int(self._arms.value(arm))

    def swaps(self) -> tuple[int, float, float]:
        """How many there were, how long they took together, and the longest."""
        return self._swap_s.count(), self._swap_s.sums.get((), 0.0), self._longest_swap_s

    def counters(self) -> dict[str, float]:
        """The numbers that go into a dump."""
        self._tell_apart()
        shown = (self._decisions, self._ejections, self._arms, self._shadow, self._refused)
        return {
            ":".join((counter.name, *labels)): value
            for counter in shown
            for labels, value in counter.values.copy().items()
        }


def _add(values: Values, labels: tuple[str, ...], count: float) -> None:
    values[labels] = values.get(labels, 0.0) + count
