"""What the hooks inside an engine show under `evolver_engine_*`, beside what every host shows."""

from __future__ import annotations

from serving_adapter.decision import Arm, Author
from serving_adapter.exposition import Registry

HOOK_BUCKETS_S = (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 2e-2, 0.1, 1.0)


class HookMetrics:
    """Written by the engine's thread and the watchdog's, rendered by another."""

    def __init__(self, registry: Registry) -> None:
        self._decisions = registry.counter(
            "evolver_engine_decisions_total", "Times a hook was decided.", ("hook", "author")
        )
        self._requests = registry.counter(
            "evolver_engine_requests_total", "Requests that a hook was asked about.", ("hook",)
        )
        self._faults = registry.counter(
            "evolver_engine_faults_total", "Faults of a policy's hook.", ("hook", "fault")
        )
        self._seconds = registry.histogram(
            "evolver_engine_hook_seconds", "Wall time of one decision.", HOOK_BUCKETS_S, ("hook",)
        )
        self._budget = registry.gauge(
            "evolver_engine_token_budget", "Tokens that a step may process now."
        )
        self._beside = registry.counter(
            "evolver_engine_beside_total",
            "Answers of a policy that was asked beside the one that decides.",
            ("policy", "hook", "result"),
        )
        self._arm = registry.gauge(
            "evolver_engine_arm", "1 for the arm that this engine drew beside a canary.", ("arm",)
        )
        self._refused_s = registry.gauge(
            "evolver_engine_refused_seconds", "How long the head of the queue was not admitted."
        )

    def decided(self, hook: str, author: Author, requests: int, duration_s: float) -> None:
        """A hook was decided, by a policy or by the engine's own rule after a fault."""
        self._decisions.inc(hook, author)
        self._requests.inc(hook, by=requests)
        self._seconds.observe(duration_s, hook)

    def faulted(self, hook: str, fault: str) -> None:
        """A policy's answer did not count."""
        self._faults.inc(hook, fault)

    def faults(self) -> int:
        """Faults so far."""
        return int(sum(self._faults.values.values()))

    def budget(self, tokens: int) -> None:
        """The engine's token budget."""
        self._budget.set(tokens)

    def asked_beside(self, policy: str, hook: str, result: str) -> None:
        """Another policy was asked what one decided: `agree`, `differ` or `fault`."""
        self._beside.inc(policy, hook, result)

    def drew(self, arm: Arm) -> None:
        """The engine is in this arm of the comparison; in none without a canary."""
        for one in (Arm.POLICY, Arm.CONTROL):
            self._arm.set(float(one is arm), one)

    def refused(self, for_s: float) -> None:
        """For how long nobody was admitted although somebody waits."""
        self._refused_s.set(for_s)
