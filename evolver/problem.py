"""What a run searches on: a trace, laid on a cluster at a load; its windows, hooks and regime."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from evolver.exercised import exercised_hooks
from evolver.regimes import Regime, regime_of
from evolver.verdict import MIN_GAIN
from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from sandbox.hardware import differential_error
from sandbox.replay import LoadReport
from sandbox.simulation import Mode
from sandbox.windows import Windows, split_windows
from telemetry import summarise
from telemetry.trace import Trace


@dataclass(frozen=True, slots=True)
class Problem:
    """What is searched on: a trace, laid on a cluster at a load.

    Attributes:
        trace: already scaled; load says how.
    """

    trace: Trace
    cluster: ClusterSpec
    load: LoadReport
    capacity: Pairing | None = None
    mode: Mode = "open"
    seed: int = 0

    @property
    def hooks(self) -> frozenset[str]:
        """Hooks that the problem exercises."""
        replans = self.capacity is not None or self.mode == "backlog"
        return exercised_hooks(self.trace, self.cluster, replans)

    @property
    def smallest_gain(self) -> float:
        """The smallest gain that means something where times are off by the profile's own error."""
        return max(MIN_GAIN, differential_error(self.cluster))

    def training(self, windows: Windows) -> Trace:
        """The stretch of trace that a search may look at."""
        stop_s = windows.training[-1].stop_s
        return self.trace.slice(0.0, min(stop_s, self.trace.span_s))

    def regime(self, windows: Windows) -> Regime:
        """Which kind of problem this is, by what a search may look at."""
        seen, capacity = self.training(windows), None
        if self.capacity is not None:
            stop_s = min(seen.span_s, self.capacity.trace.span_s)
            capacity = self.capacity.slice(0.0, stop_s).trace
        return regime_of(
            seen,
            summarise(seen, capacity),
            self.cluster,
            self.hooks,
            capacity_rps=self.load.capacity_rps if self.load.load is not None else 0.0,
            backlog=self.mode == "backlog",
        )

    def facts(self) -> dict[str, object]:
        """What tells two problems apart, as plain JSON values."""
        return {
            "trace": self.trace.digest(),
            "trace_name": self.trace.meta.name,
            "trace_notes": list(self.trace.meta.notes),
            "cluster": self.cluster.model_dump(mode="json"),
            "load": asdict(self.load),
            "capacity": self.capacity.trace.digest() if self.capacity else None,
            "mode": self.mode,
            "seed": self.seed,
        }

    def windows(self) -> Windows:
        """Training, validation and sealed windows by time."""
        return split_windows(
            self.trace, self.cluster, self.capacity, seed=self.seed, mode=self.mode
        )
