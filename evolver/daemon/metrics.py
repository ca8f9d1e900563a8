"""What a daemon tells Prometheus; every name begins with `evolver_daemon_`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolver.daemon.config import DaemonConfig
from evolver.errors import DaemonSetupWrong

if TYPE_CHECKING:
    from evolver.daemon.core import Looked

STEPS = ("watching", "evolving", "proposed", "trial")
KINDS = ("seconds", "evaluations", "tokens", "usd", "runs")


class DaemonMetrics:
    """A registry of this daemon alone.

    Raises:
        DaemonSetupWrong: prometheus_client is not installed.
    """

    def __init__(self, config: DaemonConfig) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError as error:
            raise DaemonSetupWrong(
                "prometheus_client is not installed: `pip install 'evolver[daemon]'`."
            ) from error
        self.registry = registry = CollectorRegistry()

        def gauge(name: str, words: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"evolver_daemon_{name}", words, labels, registry=registry)

        def counter(name: str, words: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"evolver_daemon_{name}", words, labels, registry=registry)

        self.leader = gauge("leader", "1 while this process holds the lease.")
        self.fencing = gauge("fencing_number", "Of the lease; grows with each change of leader.")
        self._step = gauge("step", "1 for the step it is in.", ("step",))
        self._episode = gauge("episode", "Number of the latest episode.")
        self._requests = gauge("window_requests", "Requests of the last window.")
        self._units = gauge("regime_distance_units", "From what the last search was made on.")
        self._spent = gauge("spent_today", "In the last 24 hours, by kind.", ("kind",))
        self._allowed = gauge("budget_today", "Of 24 hours, by kind; NaN is none.", ("kind",))
        self._last = gauge("last_turn_unix_seconds", "When the last turn that worked ended.")
        self._trouble = gauge("trouble", "1 while something does not work; /readyz says what.")
        self._turns = counter("turns", "Turns that worked.")
        self.failures = counter("turn_failures", "Turns that did not.")
        self._choices = counter("choices", "Decisions to search or not, by reason.", ("code",))
        self.events = counter("events", "Cluster events that were taken in.")
        self._seconds = Histogram(
            "evolver_daemon_turn_seconds", "How long a turn takes.", registry=registry,
            buckets=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
        )  # fmt: skip
        for kind in KINDS:
            most = getattr(config.day, kind)
            self._allowed.labels(kind).set(float("nan") if most is None else most)

    def turned(self, looked: Looked, seconds: float) -> None:
        """A turn has ended."""
        self._turns.inc()
        self._seconds.observe(seconds)
        self._last.set(looked.at_unix_s + seconds)
        for step in STEPS:
            self._step.labels(step).set(step == looked.step)
        self._episode.set(looked.episode)
        self._trouble.set(bool(looked.trouble))
        if looked.choice is not None:
            self._choices.labels(looked.choice.code).inc()
            self._requests.set(looked.requests)
        if looked.units is not None:
            self._units.set(looked.units)
        for kind, amount in looked.spent.items():
            self._spent.labels(kind).set(amount)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
