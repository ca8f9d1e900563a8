"""Reads what a command works on: request traces, capacity files, and the stretch of them asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from evolver.cli.failures import Misused
from evolver.cli.options import key_values

if TYPE_CHECKING:
    from evolver.cli.replaying import Ground
    from sandbox.capacity import Pairing
    from sandbox.cluster import ClusterSpec
    from sandbox.simulation import Mode
    from telemetry.capacity import CapacityTrace
    from telemetry.trace import Trace

FASTEST = 4.0


@dataclass(frozen=True, slots=True)
class CapacityChoice:
    """The capacity options of a command line, unread."""

    path: Path | None = None
    format: str | None = None
    polarity: str | None = None
    options: Sequence[str] | None = None
    node: str | None = None
    start_s: float = 0.0
    speed: float = 1.0

    def read(self) -> CapacityTrace | None:
        """The capacity trace, from `start_s` on and `speed` times as fast; None without a file."""
        if self.path is None:
            return None
        if not 1.0 <= self.speed <= FASTEST:
            raise Misused(
                f"Capacity cannot run {self.speed:g} times as fast; give --capacity-speed from 1 "
                f"to {FASTEST:g}, so that its clock stays real."
            )
        if self.start_s < 0:
            raise Misused("Capacity cannot begin before 0 s; give --capacity-from 0 or more.")
        from telemetry.capacity_readers import read_capacity

        trace = read_capacity(self.path, self.format, **self._options())
        if self.start_s:
            trace = trace.slice(self.start_s, trace.span_s)
        return trace.speed_up(self.speed)

    def pair(self, cluster: ClusterSpec) -> Pairing | None:
        """The capacity file laid on the cluster."""
        from sandbox.capacity import pair

        trace = self.read()
        if trace is None and self.node is not None:
            raise Misused("--node says what a node of a capacity file is; add --capacity FILE.")
        return None if trace is None else pair(cluster, trace, self.node)

    def for_format(self, format: str | None) -> tuple[str | None, CapacityChoice]:
        """`--format` may name the capacity file's: then it is taken as that, not the trace's."""
        if format is None or self.path is None or self.format is not None:
            return format, self
        from telemetry.capacity_readers import CAPACITY_FORMATS

        if format not in CAPACITY_FORMATS:
            return format, self
        return None, replace(self, format=format)

    def _options(self) -> dict[str, object]:
        options = key_values(self.options)
        return {**options, **({"polarity": self.polarity} if self.polarity else {})}


@dataclass(frozen=True, slots=True)
class TraceChoice:
    """The trace options of a command line, unread."""

    path: Path
    format: str | None = None
    options: Sequence[str] | None = None
    start_s: float = 0.0
    until_s: float | None = None
    span_s: float | None = None


def read_ground(
    trace: TraceChoice,
    cluster: str,
    capacity: CapacityChoice,
    mode: str,
    seed: int,
    calibration: Sequence[Path] = (),
    signals: str | None = None,
) -> Ground:
    """What is replayed: the stretch of the trace, the cluster, and capacity laid on it."""
    if trace.span_s is not None and not trace.span_s > 0:
        raise Misused(f"A span of {trace.span_s:g} s is nothing; give --span-s above 0.")
    from evolver.cli.replaying import Ground
    from sandbox.cluster import load_cluster, with_calibrations

    spec = load_cluster(cluster)
    if calibration:
        spec = with_calibrations(spec, Path(), tuple(str(path) for path in calibration))
    if signals is not None:
        spec = spec.seen_by(signals)
    format, capacity = capacity.for_format(trace.format)
    pairing = capacity.pair(spec)
    requests = read_requests(trace.path, format, trace.options)
    part = stretch(requests, trace.start_s, trace.until_s)
    way: Mode = "backlog" if mode == "backlog" else "open"
    return Ground(part, spec, pairing, way, seed, trace.span_s)


def checked_load(load: float) -> float:
    """A load that can be meant."""
    if not 0.0 < load <= 100.0:
        raise Misused(f"A load of {load:g} means nothing; give a share such as --load 0.8.")
    return load


def read_requests(path: Path, format: str | None, options: Sequence[str] | None) -> Trace:
    """A request trace.

    Raises:
        Misused: it holds no request at all.
        TelemetryError: it cannot be read.
    """
    from telemetry.readers import read_trace

    trace = read_trace(path, format, **key_values(options))
    if not len(trace):
        raise Misused(f"{path} holds no request; give another file or another --option.")
    return trace


def read_either(
    path: Path, format: str | None, polarity: str | None, options: Sequence[str] | None
) -> Trace | CapacityTrace:
    """A request trace or a capacity trace, whichever the file is.

    Raises:
        TelemetryError: neither, or not readable; the message is of the nearer miss.
    """
    from telemetry.capacity_readers import CAPACITY_FORMATS, read_capacity
    from telemetry.errors import FormatError
    from telemetry.readers import TRACE_FORMATS, read_trace

    keys: Mapping[str, object] = key_values(options)
    with_polarity = {**keys, **({"polarity": polarity} if polarity else {})}
    if format in CAPACITY_FORMATS or polarity is not None:
        return read_capacity(path, format, **with_polarity)
    if format is not None and format not in TRACE_FORMATS:
        known = ", ".join(sorted({*TRACE_FORMATS, *CAPACITY_FORMATS}))
        raise Misused(f"There is no format {format!r}; give --format one of {known}.")
    try:
        return read_trace(path, format, **keys)
    except FormatError as no_trace:
        if format is not None or "no request format" not in str(no_trace):
            raise
        try:
            return read_capacity(path, None, **keys)
        except FormatError as no_capacity:
            if "no capacity format" not in str(no_capacity):
                raise no_capacity from None
    known = ", ".join(sorted({*TRACE_FORMATS, *CAPACITY_FORMATS}))
    raise Misused(
        f"{path.name} is in no request or capacity format that is known here; say which with "
        f"--format ({known})."
    )


def stretch(trace: Trace, start_s: float, stop_s: float | None) -> Trace:
    """The part of the trace between two of its seconds.

    Raises:
        Misused: no request lies between them.
    """
    if start_s == 0 and stop_s is None:
        return trace
    end_s = trace.span_s if stop_s is None else stop_s
    part = trace.slice(start_s, end_s) if 0 <= start_s < end_s else None
    if part is None or not len(part):
        raise Misused(
            f"No request lies from {start_s:g} s to {end_s:g} s of {trace.meta.name}; it lasts "
            f"{trace.span_s:,.0f} s: give --from and --until within it."
        )
    return part


def lasting(trace: Trace, span_s: float, seed: int) -> Trace:
    """The trace cut to `span_s`, or continued by the generator fitted on its own rows."""
    if span_s <= trace.span_s:
        return trace.slice(0.0, span_s)
    from telemetry.fit import fit_profile
    from telemetry.generator import generate

    more = generate(fit_profile(trace), span_s=span_s - trace.span_s, seed=seed)
    share = len(more) / (len(trace) + len(more))
    return trace.extend(more).noting(
        f"After {trace.span_s:,.0f} s the trace is continued by requests generated from a profile "
        f"of its own rows: {share:.0%} of all requests are generated."
    )
