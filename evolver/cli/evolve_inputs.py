"""How a run's problem is read from files and options, and read again when the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolver.cli.inputs import CapacityChoice, TraceChoice, read_ground
from evolver.cli.screen import Screen
from evolver.errors import RecordStale

if TYPE_CHECKING:
    from evolver.problem import Problem


@dataclass(frozen=True, slots=True)
class ProblemInputs:
    """The options of a command line that say what is searched on, unread.

    Attributes:
        load: share of what the fleet serves; None replays the rate as recorded.
        signals: name of the signal profile; None is the cluster file's own.
    """

    trace: TraceChoice
    cluster: str
    capacity: CapacityChoice
    calibration: tuple[Path, ...]
    mode: str
    seed: int
    load: float | None
    signals: str | None = None

    def data(self) -> dict[str, object]:
        """As plain JSON values; files by their absolute paths."""
        found = asdict(self)
        found["calibration"] = [str(path.resolve()) for path in self.calibration]
        for part in ("trace", "capacity"):
            path = found[part]["path"]
            found[part]["path"] = None if path is None else str(path.resolve())
            found[part]["options"] = list(found[part]["options"] or ())
        local = Path(self.cluster)
        found["cluster"] = str(local.resolve()) if local.is_file() else self.cluster
        return found

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ProblemInputs:
        """What `data` was made from.

        Raises:
            RecordStale: it was made by something else.
        """
        try:
            trace, capacity = dict(data["trace"]), dict(data["capacity"])
            trace["path"] = Path(trace["path"])
            capacity["path"] = None if capacity["path"] is None else Path(capacity["path"])
            return cls(
                TraceChoice(**trace),
                str(data["cluster"]),
                CapacityChoice(**capacity),
                tuple(Path(path) for path in data["calibration"]),
                str(data["mode"]),
                int(data["seed"]),
                data["load"],
                data.get("signals"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordStale(
                f"The run was not begun from a command line ({error}): go on with it by the "
                "program that began it."
            ) from error

    def read(self, screen: Screen) -> Problem:
        """The trace at its load; measuring what the fleet serves takes one simulation."""
        from evolver.cli.kernel import warm_kernel
        from evolver.cli.replaying import as_recorded, load_report
        from evolver.problem import Problem
        from sandbox.replay import capacity_rps

        ground = read_ground(
            self.trace, self.cluster, self.capacity, self.mode, self.seed, self.calibration,
            self.signals,
        )  # fmt: skip
        screen.note(*ground.sentences())
        warm_kernel(screen)
        if self.load is None:
            report = as_recorded(ground.trace)
        else:
            most = capacity_rps(ground.trace, ground.cluster, ground.seed)
            report = load_report(ground.trace, self.load, most)
        laid = ground.at(report)
        screen.note(laid.sentence, *laid.notes)
        return Problem(
            laid.trace, ground.cluster, report, ground.capacity, ground.mode, ground.seed
        )
