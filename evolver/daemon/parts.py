"""The usual parts of a daemon, from its configuration."""

from __future__ import annotations

import time
from collections.abc import Callable

from evolver.daemon.config import DaemonConfig
from evolver.daemon.core import Parts
from evolver.daemon.gateway_windows import GatewayWindows
from evolver.daemon.grounds import ClusterFile
from evolver.daemon.protocols import Publisher
from evolver.daemon.searching import SearchProcess
from evolver.daemon.shift import RegimeShift


def usual_parts(
    config: DaemonConfig, publish: Publisher, clock: Callable[[], float] = time.time
) -> Parts:
    """What the configuration asks for.

    Raises:
        SandboxError: there is no such cluster.
    """
    watch = config.watch
    return Parts(
        windows=GatewayWindows(watch.request_log, watch.clock_speed),
        grounds=ClusterFile(watch),
        drift=RegimeShift(config.decide.drift_units),
        searches=SearchProcess(),
        publish=publish,
        clock=clock,
    )
