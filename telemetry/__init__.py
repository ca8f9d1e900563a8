"""What is observed: requests, capacity, and what they look like in numbers.

Reading guide:

1. `telemetry.trace` - `Trace`, one row a request, validated once; slicing, scaling, joining.
2. `telemetry.readers` - `read_trace` and one small file per native format.
3. `telemetry.capacity` - `CapacityTrace`, nodes coming and going, and `read_capacity`.
4. `telemetry.window` - `summarise` turns a stretch of trace into a `Window` of numbers.
5. `telemetry.fit`, `telemetry.generator` - a trace to a small profile, a profile to any length.
6. `telemetry.output_lengths` - predicts answers' lengths from ended ones; `telemetry.foretold` says
   how well on a trace.
7. `telemetry.drift` - says when the features of windows have changed, and since when;
   `telemetry.forecasts` - what a series of them will be, with its measured error.
8. `telemetry.requests`, `telemetry.segments` - what gateways logged, as columns, kept on disk.
9. `telemetry.engine_signals`, `telemetry.scrape` - what engines say of themselves, over restarts.
10. `telemetry.cluster_events`, `telemetry.cluster_state` - nodes that come and go, live.

Nothing here keeps a request's text, imports a higher package, or touches the network.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.capacity import CapacityTrace, as_availability
    from telemetry.capacity_generator import generate_capacity
    from telemetry.capacity_readers import read_capacity
    from telemetry.errors import TelemetryError
    from telemetry.fit import fit_capacity, fit_file, fit_profile
    from telemetry.generator import generate
    from telemetry.profile import CapacityProfile, TrafficProfile, load_profile, profile_names
    from telemetry.readers import read_trace
    from telemetry.sparkline import bars, sparkline
    from telemetry.trace import Trace, TraceMeta, concat
    from telemetry.window import Window, summarise

__all__ = [
    "CapacityProfile", "CapacityTrace", "TelemetryError", "Trace", "TraceMeta", "TrafficProfile",
    "Window", "as_availability", "bars", "concat", "fit_capacity", "fit_file", "fit_profile",
    "generate", "generate_capacity", "load_profile", "profile_names", "read_capacity",
    "read_trace", "sparkline", "summarise",
]

_HOMES = {
    "CapacityProfile": "profile", "CapacityTrace": "capacity", "TelemetryError": "errors",
    "Trace": "trace", "TraceMeta": "trace", "TrafficProfile": "profile", "Window": "window",
    "as_availability": "capacity", "bars": "sparkline", "concat": "trace", "fit_capacity": "fit",
    "fit_file": "fit", "fit_profile": "fit", "generate": "generator",
    "generate_capacity": "capacity_generator", "load_profile": "profile",
    "profile_names": "profile",
    "read_capacity": "capacity_readers", "read_trace": "readers", "sparkline": "sparkline",
    "summarise": "window",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
