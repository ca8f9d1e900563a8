"""The usual parts of a daemon, from its configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from evolver.daemon.config import DaemonConfig
from evolver.daemon.core import Parts
from evolver.daemon.grounds import LiveGround
from evolver.daemon.protocols import Publisher
from evolver.daemon.searching import SearchProcess
from evolver.daemon.segment_windows import SegmentWindows
from evolver.daemon.shift import TrafficShift
from telemetry.segments import SegmentLimits

MIB = 1 << 20


def usual_parts(
    config: DaemonConfig,
    folder: Path,
    publish: Publisher,
    clock: Callable[[], float] = time.time,
) -> Parts:
    """What the configuration asks for.

    Args:
        folder: for segments and calibrations.
        publish: has hosts learn of decisions.

    Raises:
        SandboxError: there is no such cluster.
    """
    watch, segments = config.watch, folder / "segments"
    limits = SegmentLimits(most_bytes=watch.keep_mib * MIB)
    return Parts(
        windows=SegmentWindows(segments, watch.request_log, watch.clock_speed, limits),
        grounds=LiveGround(config, folder / "calibration", segments),
        shift=TrafficShift(config.decide.drift_units, config.decide.point_s),
        searches=SearchProcess(),
        publish=publish,
        clock=clock,
    )
