"""Lays a trace on a cluster at each load and replays the policies: every scaling has a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evolver.cli.inputs import lasting
from evolver.cli.screen import Screen
from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from sandbox.engine import LoadedPolicy
from sandbox.replay import LoadReport, ReplayResult, capacity_rps, replay
from sandbox.simulation import Mode, Setup
from telemetry.trace import Trace


@dataclass(frozen=True, slots=True)
class Ground:
    """What is replayed, apart from policies and load.

    Attributes:
        trace: as recorded, cut by --from and --until.
        span_s: seconds to replay after scaling; None for the trace's own length.
    """

    trace: Trace
    cluster: ClusterSpec
    capacity: Pairing | None
    mode: Mode
    seed: int
    span_s: float | None = None

    def sentences(self) -> list[str]:
        """What a person should know before the numbers."""
        said = [f"cluster {self.cluster.describe()}", *self.trace.meta.notes]
        if self.capacity is not None:
            said += ["capacity: " + self.capacity.describe(self.cluster)]
            said += self.capacity.trace.meta.notes
        return said

    def at(self, report: LoadReport | None) -> Laid:
        """The trace at a load, or as recorded, cut or continued to the span."""
        factor = report.factor if report is not None else 1.0
        trace = self.trace
        if self.span_s is not None:
            trace = lasting(trace, self.span_s * factor, self.seed)
        notes = [note for note in trace.meta.notes if note not in self.trace.meta.notes]
        trace = trace.scale_rate(factor)
        return Laid(report, trace, (*notes, *self._capacity_notes(trace.span_s)))

    def _capacity_notes(self, span_s: float) -> list[str]:
        """What a person may not expect of capacity in a replay this long."""
        if self.capacity is None:
            return []
        capacity = self.capacity.trace
        if not (capacity.time_s <= span_s).any():
            return [f"capacity does not change in these {span_s:,.0f} s; begin elsewhere with "
                    "--capacity-from"]  # fmt: skip
        if span_s > capacity.span_s:
            return [f"the capacity file ends after {capacity.span_s:,.0f} of {span_s:,.0f} s; what "
                    "is there then stays"]  # fmt: skip
        return []


@dataclass(frozen=True, slots=True)
class Laid:
    """The trace as it is replayed at one load; `notes` say what else was done to it."""

    report: LoadReport | None
    trace: Trace
    notes: tuple[str, ...]

    @property
    def load(self) -> float | None:
        """The share of what the fleet serves."""
        return None if self.report is None else self.report.load

    @property
    def sentence(self) -> str:
        """How it was laid, in words."""
        if self.report is None or self.report.load is None:
            return f"arrivals as recorded, {self.trace.rate_rps:.3g} requests/s"
        return self.report.sentence


@dataclass(frozen=True, slots=True)
class Replayed:
    """All results, by load in the order asked."""

    ground: Ground
    runs: tuple[tuple[Laid, tuple[ReplayResult, ...]], ...]


def replay_all(
    screen: Screen,
    ground: Ground,
    loads: Sequence[float | None],
    policies: Sequence[tuple[str, LoadedPolicy]],
) -> Replayed:
    """Every policy at every load, with a progress bar; what was scaled is said."""
    runs = []
    scaled = [load for load in loads if load is not None]
    with screen.steps("replaying", len(loads) * len(policies) + bool(scaled)) as bar:
        most = capacity_rps(ground.trace, ground.cluster, ground.seed) if scaled else 0.0
        if scaled:
            bar.step()
        for load in loads:
            laid = ground.at(None if load is None else load_report(ground.trace, load, most))
            screen.note(laid.sentence, *laid.notes)
            setup = Setup(laid.trace, ground.cluster, ground.capacity, ground.mode, ground.seed)
            results = replay(setup, policies, progress=lambda name: bar.step(f"replayed {name}"))
            runs.append((laid, tuple(results)))
    return Replayed(ground, tuple(runs))


def load_report(trace: Trace, load: float, most_rps: float) -> LoadReport:
    """How arrivals must change for them to be this share of what the fleet serves."""
    factor = load * most_rps / trace.rate_rps
    return LoadReport(load, most_rps, trace.rate_rps * factor, factor)


def as_recorded(trace: Trace) -> LoadReport:
    """Arrivals are left alone; nobody measured what the fleet serves."""
    return LoadReport(None, 0.0, trace.rate_rps, 1.0)
