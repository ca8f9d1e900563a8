"""A scenario laid out: traffic at its load on the cluster, with capacity that comes and goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from evolver.errors import ExperimentRefused
from evolver.leaderboard.reading import overlaid, read_scenario
from evolver.leaderboard.spec import CapacityPart, Changes, Losses, Part, ScenarioSpec
from evolver.leaderboard.traffic import below, traffic
from evolver.problem import Problem
from sandbox.capacity import Pairing, pair
from sandbox.cluster import ClusterSpec, load_cluster
from sandbox.hardware import build_hardware
from sandbox.replay import LoadReport, at_load
from sandbox.workflows import graph_of, remaining_s, unloaded_s
from telemetry.capacity import CapacityTrace
from telemetry.capacity_generator import generate_capacity
from telemetry.capacity_readers import read_capacity
from telemetry.profile import CapacityProfile, load_profile
from telemetry.trace import Trace, TraceMeta

LATER = 2.0  # capacity is known for so many spans: runs go on until their requests are done
MOST_LOSSES = 200_000  # and returns
CAPACITY_SEED = 7  # drawn capacity has streams of its own


@dataclass(frozen=True, slots=True)
class Scenario:
    """One published evaluation, to be laid out under any seed."""

    spec: ScenarioSpec

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.spec.name

    def problem(self, seed: int, traces: Path | None = None) -> Problem:
        """The scenario's problem; another seed is other traffic with the same statistics.

        Raises:
            ExperimentRefused: it needs files and no folder was given, or its cluster is wrong.
            TelemetryError, SandboxError: a file cannot be read, or nothing fits the cluster.
        """
        requests = traffic(self.spec.traffic, seed, traces)
        cluster = _with_deadlines(self._cluster(self.spec.cluster), self.spec.traffic, requests)
        plain = self.baseline_cluster(cluster)
        requests, report = self._loaded(requests, plain)
        capacity = _capacity(self.spec.capacity, cluster, requests.span_s, seed, traces)
        return Problem(requests, cluster, report, capacity, self.spec.mode, seed)

    def baseline_cluster(self, cluster: ClusterSpec) -> ClusterSpec:
        """The cluster under the baseline: the same, with the baseline's own changes."""
        changes = self.spec.baseline.cluster
        if not changes:
            return cluster
        content = cluster.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return self._cluster(overlaid(content, changes))

    def _cluster(self, content: str | Changes) -> ClusterSpec:
        if isinstance(content, str):
            return load_cluster(content)
        own = {"name": self.name, **content}
        if "from" in own:
            start = load_cluster(str(own.pop("from")))
            own = overlaid(start.model_dump(mode="json", by_alias=True, exclude_unset=True), own)
        try:
            return ClusterSpec.model_validate(own)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise ExperimentRefused(
                f"The cluster of {self.name} is wrong at {place}: {first['msg']}."
            ) from None

    def _loaded(self, requests: Trace, cluster: ClusterSpec) -> tuple[Trace, LoadReport]:
        if self.spec.load is not None:
            return at_load(requests, cluster, self.spec.load)
        factor = (self.spec.rate_rps or 0.0) / requests.rate_rps
        scaled = requests.scale_rate(factor)
        return scaled, LoadReport(None, float("nan"), scaled.rate_rps, factor)


def load_scenario(name: str | Path) -> Scenario:
    """A scenario that ships, by name, or a file of one's own; raises `ExperimentRefused`."""
    return Scenario(read_scenario(name))


def _with_deadlines(cluster: ClusterSpec, parts: tuple[Part, ...], requests: Trace) -> ClusterSpec:
    """The cluster with a class for each part that has deadlines of its own."""
    timed = [part for part in parts if part.deadline_times is not None]
    if not timed:
        return cluster
    hardware = build_hardware(cluster)
    left_s = remaining_s(requests, graph_of(requests), unloaded_s(requests, hardware))
    content = cluster.model_dump(mode="json", by_alias=True, exclude_unset=True)
    classes: list[dict[str, Any]] = list(content.get("class", []))
    for part in timed:
        tenant = str(part.tenant)
        mine = (requests.tenant == requests.tenants.index(tenant)) & (requests.after < 0)
        due_s = (part.deadline_times or 1.0) * float(np.median(left_s[mine]))
        same = [one for one in classes if one.get("tenants") == [tenant]]
        for one in same:
            one["deadline_s"] = due_s
        if not same:
            classes.insert(0, {"name": tenant, "tenants": [tenant], "deadline_s": due_s})
    return ClusterSpec.model_validate({**content, "class": classes})


def _capacity(
    spec: CapacityPart | None, cluster: ClusterSpec, span_s: float, seed: int, traces: Path | None
) -> Pairing | None:
    if spec is None:
        return None
    until_s = LATER * span_s
    course = _course(spec, until_s, seed, traces)
    if spec.from_s and spec.drawn is None:
        course = course.slice(spec.from_s, course.span_s)
    course = course.speed_up(spec.speed)
    course = replace(course, span_s=max(course.span_s, until_s))
    return replace(pair(cluster, course, spec.node), notice=spec.notice)


def _course(spec: CapacityPart, until_s: float, seed: int, traces: Path | None) -> CapacityTrace:
    if spec.drawn is not None:
        return _lost(spec.drawn, until_s * spec.speed, seed)
    if spec.file is not None:
        return read_capacity(below(traces, spec.file))
    profile = load_profile(spec.profile or "")
    if not isinstance(profile, CapacityProfile):
        raise ExperimentRefused(f"{spec.profile} is a profile of traffic; name one of capacity.")
    return generate_capacity(profile, span_s=until_s * spec.speed + spec.from_s, seed=seed)


def _lost(losses: Losses, span_s: float, seed: int) -> CapacityTrace:
    """Nodes that are all there at first, then go and come back."""
    rng = np.random.default_rng([CAPACITY_SEED, seed])
    means = (losses.stay_s, losses.away_s)
    time_s: list[float] = []
    nodes: list[int] = []
    ups: list[bool] = []
    for node in range(losses.nodes):
        at, up = float(rng.exponential(means[0])), True
        while at < span_s:
            if len(time_s) >= MOST_LOSSES:
                raise ExperimentRefused("Capacity is lost too often; lengthen stay_s and away_s.")
            up = not up
            time_s.append(at)
            nodes.append(node)
            ups.append(up)
            at += float(rng.exponential(means[0] if up else means[1]))
    meta = TraceMeta(name="drawn losses", format="generated")
    there = np.ones(losses.nodes, np.bool_)
    return CapacityTrace.of(
        meta, "availability", span_s=span_s, initial_up=there, time_s=time_s, node=nodes, up=ups
    )
