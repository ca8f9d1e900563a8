"""Pairs of requests and capacity as `pairs.toml` has them: every scaling factor with its reason."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evolver.errors import ExperimentRefused
from sandbox.capacity import Pairing, pair
from sandbox.cluster import ClusterSpec, load_cluster
from telemetry.capacity import CapacityTrace
from telemetry.capacity_generator import generate_capacity
from telemetry.capacity_readers import read_capacity
from telemetry.generator import generate
from telemetry.profile import CapacityProfile, TrafficProfile, load_profile
from telemetry.readers import read_trace
from telemetry.trace import Trace

LATER = 20.0  # a backlog may take this many spans: capacity stays as it was last
SEED = 8  # of generated traces: the same for every arm and seed of a search
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Since = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Kind = TypeVar("_Kind", TrafficProfile, CapacityProfile)
_Sentence = Annotated[str, Field(min_length=8, max_length=600)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Regime(_Strict):
    """A stretch of the measured part, up to `until_s` of the trace as it is replayed."""

    name: Annotated[str, Field(min_length=1, max_length=40)]
    until_s: _Positive


class Requests(_Strict):
    """Which requests: a file below the traces' folder, or a built-in profile to draw from.

    Attributes:
        rate: they come so many times as fast; every distance in time shrinks alike.
        span_s: drawn length, of a profile.
    """

    file: str | None = None
    profile: str | None = None
    from_s: _Since = 0.0
    until_s: _Positive | None = None
    rate: _Positive = 1.0
    span_s: _Positive | None = None
    why: _Sentence


class Capacity(_Strict):
    """Which capacity: a file or a profile, and what one node of it is.

    Attributes:
        speed: it runs so many times as fast, four at most.
        node: `GPU:COUNT`, what one node of the file stands for.
    """

    file: str | None = None
    profile: str | None = None
    from_s: _Since = 0.0
    speed: Annotated[float, Field(ge=1, le=4)] = 1.0
    node: str
    why: _Sentence


class PairSpec(_Strict):
    """One pair.

    Attributes:
        cluster: name of a shipped cluster, or a cluster file's content.
        past_s: of the replayed trace is known to everybody before the measured part begins.
        think_every_s: simulated seconds from the begin of one search to the next, at least.
        piece_s: a search expects the last stretch of this length to come again.
        planner_s: most time of one planner call.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]
    requests: Requests
    capacity: Capacity
    cluster: str | dict[str, Any]
    cluster_why: _Sentence
    monitoring_s: _Positive
    past_s: _Positive
    think_every_s: _Positive
    piece_s: _Positive
    planner_s: _Positive = 0.002
    regime: Annotated[tuple[Regime, ...], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _fits(self) -> PairSpec:
        for part in (self.requests, self.capacity):
            if (part.file is None) == (part.profile is None):
                raise ValueError("requests and capacity each name either a file or a profile")
        for name in ("past_s", "piece_s"):
            if getattr(self, name) % self.monitoring_s:
                raise ValueError(f"{name} must be a multiple of monitoring_s")
        ends = [self.past_s, *(one.until_s for one in self.regime)]
        if any(later <= sooner for sooner, later in pairwise(ends)):
            raise ValueError("regimes must end one after the other, all after past_s")
        return self

    @property
    def needs_files(self) -> bool:
        """Does it read any file of the traces' folder?"""
        return self.requests.file is not None or self.capacity.file is not None


class _File(_Strict):
    pair: Annotated[tuple[PairSpec, ...], Field(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True)
class Ground:
    """A pair as it is replayed: what happens, apart from who decides.

    Attributes:
        trace: requests as open arrivals, cut where the last regime ends.
        notes: what was done to both traces, in sentences.
    """

    spec: PairSpec
    trace: Trace
    cluster: ClusterSpec
    capacity: Pairing
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the pair."""
        return self.spec.name

    @property
    def volatile(self) -> tuple[bool, ...]:
        """Of each regime: do GPUs come and go more often than in the measured part as a whole?

        The clock is the capacity trace's own; a backlog may be elsewhere in it.
        """
        course, spec = self.capacity.trace, self.spec
        pool = self.capacity.pool
        most = len(course.gpus) if pool is None else self.cluster.pool[pool].most
        laid = course.node < most // self.capacity.gpus_per_node
        edges = [spec.past_s, *(one.until_s for one in spec.regime)]
        counts, _ = np.histogram(course.time_s[laid], bins=edges)
        rates = counts / np.diff(edges)
        mean = counts.sum() / (edges[-1] - edges[0])
        return tuple(bool(rate > mean) for rate in rates)

    def regime_at(self, time_s: float) -> int:
        """Index of the regime that a second of the trace belongs to."""
        ends = [one.until_s for one in self.spec.regime[:-1]]
        return int(np.searchsorted(ends, time_s, side="right"))


def read_pairs(path: Path | None = None) -> tuple[PairSpec, ...]:
    """The pairs of a file, or those that ship.

    Raises:
        ExperimentRefused: the file is missing or wrong; says where.
    """
    try:
        if path is None:
            text = resources.files(__package__).joinpath("pairs.toml").read_text("utf-8")
        else:
            text = path.read_text("utf-8")
        found = _File.model_validate(tomllib.loads(text)).pair
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentRefused(f"The pairs in {path} cannot be read ({error}).") from None
    except tomllib.TOMLDecodeError as error:
        raise ExperimentRefused(f"The pairs are not TOML: {error}; mend that line.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ExperimentRefused(f"The pairs are wrong at {place}: {first['msg']}.") from None
    if len({one.name for one in found}) < len(found):
        raise ExperimentRefused("Two pairs have one name: rename one.")
    return found


def lay(spec: PairSpec, traces: Path | None) -> Ground:
    """Read or draw both traces of a pair, and scale them as it says.

    Raises:
        ExperimentRefused: it needs files and no folder was given, or reaches past its trace.
        TelemetryError, SandboxError: a file cannot be read, or does not fit the cluster.
    """
    cluster = _cluster(spec)
    requests = _requests(spec.requests, traces)
    end_s = spec.regime[-1].until_s
    if end_s > requests.span_s + spec.monitoring_s:
        raise ExperimentRefused(
            f"The regimes of {spec.name} end at {end_s:g} s and its requests at "
            f"{requests.span_s:.0f} s: let the last regime end sooner."
        )
    trace = requests.slice(0.0, end_s)
    capacity = _capacity(spec.capacity, traces, LATER * end_s)
    pairing = pair(cluster, capacity, spec.capacity.node)
    notes = (
        cluster.describe(), *trace.meta.notes, pairing.describe(cluster), *capacity.meta.notes,
        f"Requests: {spec.requests.why}", f"Capacity: {spec.capacity.why}",
        f"Cluster: {spec.cluster_why}",
    )  # fmt: skip
    return Ground(spec, trace, cluster, pairing, notes)


def _cluster(spec: PairSpec) -> ClusterSpec:
    if isinstance(spec.cluster, str):
        cluster = load_cluster(spec.cluster)
    else:
        try:
            cluster = ClusterSpec.model_validate(dict(spec.cluster))
        except ValidationError as error:
            raise ExperimentRefused(
                f"The cluster of {spec.name} is wrong: {error.errors()[0]['msg']}."
            ) from None
    tick = cluster.tick.model_copy(update={"monitoring_s": spec.monitoring_s})
    price = cluster.price.model_copy(update={"planner_s": spec.planner_s})
    return cluster.model_copy(update={"tick": tick, "price": price})


def _below(traces: Path | None, name: str) -> Path:
    if traces is None:
        raise ExperimentRefused(
            f"The pair needs {name} of a folder of traces: name the folder with --traces."
        )
    return traces / name


def _requests(spec: Requests, traces: Path | None) -> Trace:
    if spec.file is not None:
        trace = read_trace(_below(traces, spec.file))
        trace = trace.slice(spec.from_s, spec.until_s or trace.span_s)
    else:
        profile = _profile(spec.profile, TrafficProfile)
        span_s = None if spec.span_s is None else spec.span_s * spec.rate
        trace = generate(profile, span_s=span_s, seed=SEED)
    return _opened(trace).scale_rate(spec.rate)


def _opened(trace: Trace) -> Trace:
    """All requests come at their recorded times, whoever revealed them: as a log tells it."""
    if not (trace.after >= 0).any():
        return trace
    free: Mapping[str, Any] = {
        "after": np.full(len(trace), -1), "think_s": np.zeros(len(trace)),
        "join_offsets": np.zeros(len(trace) + 1, np.int64), "join_rows": np.zeros(0, np.int32),
    }  # fmt: skip
    return replace(trace, **free).noting("Follow-up requests come at their recorded times.")


def _capacity(spec: Capacity, traces: Path | None, until_s: float) -> CapacityTrace:
    if spec.file is not None:
        course = read_capacity(_below(traces, spec.file))
    else:
        profile = _profile(spec.profile, CapacityProfile)
        course = generate_capacity(profile, span_s=until_s * spec.speed + spec.from_s, seed=SEED)
    if spec.from_s:
        course = course.slice(spec.from_s, course.span_s)
    course = course.speed_up(spec.speed)
    return replace(course, span_s=max(course.span_s, until_s))


def _profile(name: str | None, kind: type[_Kind]) -> _Kind:
    profile = load_profile(name or "")
    if not isinstance(profile, kind):
        raise ExperimentRefused(f"The built-in profile {name} is of the other kind of trace.")
    return profile
