"""A cluster file: which model runs on which GPUs, how engines are set, what is promised."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from sandbox.calibration import Calibration, read_calibration
from sandbox.contract import DECODE, MIXED, PREFILL
from sandbox.engine_spec import FinetuneSpec, OffloadSpec, SpeculationSpec
from sandbox.errors import SandboxError
from sandbox.profile_standing import ProfileStanding
from sandbox.profiles import Profile, UnknownProfile, load_profile
from sandbox.request_spec import (
    ClassSpec,
    NotNegative,
    Part,
    Positive,
    PredictorSpec,
    SamplesSpec,
    Signals,
    SloSpec,
)
from sandbox.signal_profiles import FULL, signal_profile
from sandbox.techniques import Which, check_combination

Rate = Annotated[float, Field(ge=1e6, le=1e14, allow_inf_nan=False)]


class ClusterError(SandboxError):
    """A cluster file that cannot be used; the message names the entry."""


class PoolSpec(Part):
    """GPUs of one type in one zone.

    Attributes:
        gpu: a GPU type that profiles exist for.
        count: GPUs when nothing is missing; a capacity trace takes some away and gives them back.
        node_size: GPUs per node; the GPU type's usual one when left out.
        zone: code of the place.
        spot: may be taken away; capacity traces apply to spot pools, or to all if none is spot.
        elastic: policies may ask for GPUs; `count` of them are held at the start.
        max_count: most GPUs of an elastic pool.
        provision_s: from asking for a GPU to having it.
        price_usd_per_hour: of one GPU that is held; the GPU type's usual one when left out.
    """

    gpu: str
    count: int = Field(ge=0, le=512)
    node_size: int | None = Field(default=None, ge=1, le=16)
    zone: int = Field(default=0, ge=0, le=1000)
    spot: bool = False
    elastic: bool = False
    max_count: int | None = Field(default=None, ge=1, le=512)
    provision_s: NotNegative = 120.0
    price_usd_per_hour: NotNegative | None = None

    @property
    def most(self) -> int:
        """GPUs there are rows for: what is held at most."""
        return self.count if self.max_count is None else self.max_count

    @model_validator(mode="after")
    def _counts_agree(self) -> PoolSpec:
        if not self.elastic and (self.max_count is not None or self.count < 1):
            raise ValueError("max_count and a count of 0 are for pools with elastic = true")
        if self.elastic and (self.max_count is None or self.max_count < self.count):
            raise ValueError("an elastic pool needs a max_count of at least its count")
        return self


class ReplicaSpec(Part):
    """`count` equal replicas of the starting plan.

    Attributes:
        role: "prefill" computes prompts for others, "decode" takes over from there, "mixed" does
            both.
    """

    pool: int = Field(ge=0)
    tp: int = Field(ge=1, le=16)
    pp: Literal[1, 2, 4] = 1
    count: int = Field(default=1, ge=1, le=512)
    role: Literal["mixed", "prefill", "decode"] = "mixed"

    @property
    def role_code(self) -> int:
        """The contract's number for the role."""
        return {"mixed": MIXED, "prefill": PREFILL, "decode": DECODE}[self.role]


class EngineSpec(Part):
    """Engine settings, under vLLM's names where it has them.

    Attributes:
        scheduler_reserve_full_isl: let a request in only when blocks for its whole prompt are
            free, and not just for its first chunk; else long prompts thrash.
        preemption: what becomes of the KV of a request that is preempted.
        swap_space_bytes: host memory for it, per GPU.
        max_pipeline_parallel_size: plans may use replicas of up to this many stages.
        pipeline_hop_s: hand-over of one micro-batch from a stage to the next.
        length_spread: share, 0 to 1, of the wait for the longest sequence that attention kernels
            do not hide; see docs/simulator/engine.md.
        technique: published ways to shorten steps; see docs/simulator/techniques.md.
        technique_gain: reckon with what was published as usual, or as the best.
        shared_prefix_share: share of the context that all sequences of a batch have in common.
        pipeline_bubble: share of a step that the stages of a pipeline idle.
    """

    max_num_batched_tokens: int = Field(default=2048, ge=16, le=16_384)
    max_num_seqs: int = Field(default=256, ge=1, le=1024)
    enable_prefix_caching: bool = True
    scheduler_reserve_full_isl: bool = True
    preemption: Literal["recompute", "swap"] = "recompute"
    swap_space_bytes: float = Field(default=4 * 2.0**30, ge=0, le=2.0**44, allow_inf_nan=False)
    max_pipeline_parallel_size: Literal[1, 2, 4] = 1
    pipeline_hop_s: float = Field(default=5e-5, ge=0, le=1, allow_inf_nan=False)
    length_spread: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    technique: tuple[str, ...] = Field(default=(), max_length=8)
    technique_gain: Which = "average"
    shared_prefix_share: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    pipeline_bubble: float = Field(default=0.0, ge=0, le=0.9, allow_inf_nan=False)

    @model_validator(mode="after")
    def _techniques_go_together(self) -> EngineSpec:
        check_combination(self.technique)
        if "sipipe" in self.technique and self.pipeline_bubble == 0.0:
            raise ValueError("sipipe takes pipeline bubbles away; set pipeline_bubble")
        if "flashforge" in self.technique and not (
            self.enable_prefix_caching and self.shared_prefix_share > 0.0
        ):
            raise ValueError("flashforge reads shared prefixes once; set shared_prefix_share")
        return self


class TickSpec(Part):
    """How often things are looked at; each is the end of a macro-step."""

    monitoring_s: Positive = 10.0
    rekey_s: Positive = 0.25
    migration_s: Positive = 0.25
    control_s: Positive = 1.0
    hold_s: Positive = 0.05
    max_hold_s: Positive = 5.0


class RouterSpec(Part):
    """Router processes and how old their view of the engines may be."""

    count: int = Field(default=2, ge=1, le=16)
    signal_age_s: NotNegative = 0.05


class SwitchSpec(Part):
    """What a reconfiguration takes.

    Attributes:
        start_s: process start, graph capture and warm-up of an engine.
        load_share: share of the host link that weight loading reaches.
        drain_s: running requests of a replica that goes may finish this long.
        grace_s: notice before a GPU is taken away.
        storage_bytes_per_s: what storage gives to all that load from it at once. Left out, every
            node holds the weights in host memory from the start.
        flip_s: a change of role alone; waiting work waits, running work goes on.
        detect_s: from a failure that nobody announced until it is known.
        move_running: requests that decode on a replica that goes are moved with their KV to
            where most KV is free, instead of being computed again.
    """

    start_s: NotNegative = 20.0
    load_share: Positive = 0.5
    drain_s: NotNegative = 30.0
    grace_s: NotNegative = 30.0
    storage_bytes_per_s: Annotated[float, Field(ge=1e6, lt=1e13)] | None = None
    flip_s: NotNegative = 0.1
    detect_s: NotNegative = 1.0
    move_running: bool = False


class NetworkSpec(Part):
    """How KV moves between replicas; within a node it takes the GPU type's own link.

    Attributes:
        bytes_per_s: to another node, per GPU, one direction; the GPU type's own when left out.
        latency_s: of any transfer before its first byte.
        zone_bytes_per_s, zone_latency_s: the same between zones.
        keep_s: a replica drops KV it keeps for another that does not fetch it for this long.
    """

    bytes_per_s: Rate | None = None
    latency_s: NotNegative = 0.0005
    zone_bytes_per_s: Rate = 1.25e9
    zone_latency_s: NotNegative = 0.002
    keep_s: Positive = 480.0


class PriceSpec(Part):
    """What a decision costs.

    Attributes:
        fuel_ns: scheduling time per unit of fuel.
        decision_fuel: most fuel of a per-request hook.
        planner_s: most time of a planner-scope hook.
    """

    fuel_ns: Positive = 2.0
    decision_fuel: int = Field(default=60_000, ge=100, le=10_000_000)
    planner_s: Positive = 2.0


class ClusterSpec(Part):
    """One cluster; see the attributes of its parts.

    Attributes:
        calibration: files that `evolver calibrate` wrote, relative to the cluster file.
        calibrated: what they hold.
        signals: the signal profile of the door that policies run behind, see docs/signals.md.
        standing: how far simulated times were right here when somebody last looked.
    """

    name: str = Field(default="cluster", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    model: str
    pool: tuple[PoolSpec, ...] = Field(min_length=1, max_length=16)
    replica: tuple[ReplicaSpec, ...] = ()
    engine: EngineSpec = EngineSpec()
    speculation: SpeculationSpec = SpeculationSpec()
    offload: OffloadSpec | None = None
    finetune: FinetuneSpec | None = None
    slo: SloSpec = SloSpec()
    offline_slo: SloSpec = SloSpec(ttft_s=600.0, tpot_s=1.0, e2e_s=3600.0)
    tick: TickSpec = TickSpec()
    router: RouterSpec = RouterSpec()
    switch: SwitchSpec = SwitchSpec()
    network: NetworkSpec = NetworkSpec()
    predictor: PredictorSpec = PredictorSpec()
    price: PriceSpec = PriceSpec()
    calibration: tuple[str, ...] = Field(default=(), max_length=16)
    calibrated: tuple[Calibration, ...] = ()
    classes: tuple[ClassSpec, ...] = Field(default=(), max_length=7, alias="class")
    samples: SamplesSpec | None = None
    signals: Signals = FULL.name
    standing: ProfileStanding | None = None

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="after")
    def _classes_have_room(self) -> ClusterSpec:
        names = [spec.name for spec in self.classes]
        if len(set(names)) < len(names):
            raise ValueError("two classes have one name; rename one")
        if len(names) > 5 and not self.classes[-1].takes_all:
            raise ValueError(
                "more than five classes leave no room for online and offline work that matches "
                "none; let the last class match everything"
            )
        taken = {"online", "offline", "all"}.intersection(names)
        if taken:
            raise ValueError(f"a class is called {min(taken)}, which is taken; rename it")
        return self

    @model_validator(mode="after")
    def _roles_serve(self) -> ClusterSpec:
        roles = {entry.role for entry in self.replica}
        if roles in ({"prefill"}, {"decode"}):
            raise ValueError(
                f"all replicas have the role {roles.pop()}; prefill needs decode or mixed, and "
                "decode needs prefill or mixed"
            )
        return self

    @model_validator(mode="after")
    def _drafts_are_verified(self) -> ClusterSpec:
        if "specsa" in self.engine.technique and self.speculation.max_depth < 1:
            raise ValueError("specsa verifies drafts; set speculation.max_depth")
        return self

    @model_validator(mode="after")
    def _samples_are_of_classes(self) -> ClusterSpec:
        known = {"online", "offline", *(spec.name for spec in self.classes)}
        for name in self.samples.classes if self.samples else ():
            if name not in known:
                raise ValueError(f"samples name the class {name}, which is not declared")
        if self.samples and any(entry.role != "mixed" for entry in self.replica):
            raise ValueError("samples run on mixed replicas only; leave samples or the roles out")
        if self.samples and self.engine.preemption == "swap":
            raise ValueError("samples are recomputed when preempted; leave samples or swap out")
        return self

    @model_validator(mode="after")
    def _replicas_have_pools(self) -> ClusterSpec:
        for entry in self.replica:
            if entry.pool >= len(self.pool):
                raise ValueError(
                    f"replica names pool {entry.pool}; pools are 0 to {len(self.pool) - 1}"
                )
        return self

    def seen_by(self, signals: str) -> ClusterSpec:
        """The same cluster behind the door of a signal profile; raises UnknownSignals."""
        return self.model_copy(update={"signals": signal_profile(signals).name})

    def describe(self) -> str:
        """One line for people."""
        pools = " + ".join(_pool_words(p) for p in self.pool)
        return f"{self.name}: {self.model} on {pools}"


def _pool_words(pool: PoolSpec) -> str:
    held = f"{pool.count} to {pool.most}" if pool.elastic else f"{pool.count}"
    return f"{held} x {pool.gpu}{' spot' if pool.spot else ''}"


def cluster_names() -> tuple[str, ...]:
    """Names of the clusters that ship."""
    shipped = files("sandbox") / "clusters"
    return tuple(sorted(f.name[:-5] for f in shipped.iterdir() if f.name.endswith(".toml")))


def load_cluster(name_or_path: str) -> ClusterSpec:
    """A shipped cluster by name, or a TOML file.

    Raises:
        ClusterError: no such cluster, or an entry is wrong; says which.
    """
    if name_or_path in cluster_names():
        text = (files("sandbox") / "clusters" / f"{name_or_path}.toml").read_text()
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise ClusterError(
                f"There is no cluster {name_or_path!r}; give a TOML file or one of: "
                f"{', '.join(cluster_names())}."
            )
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            raise ClusterError(f"{path.name} is not UTF-8 text; give a TOML file.") from None
        return with_calibrations(parse_cluster(text), path.parent)
    return parse_cluster(text)


def with_calibrations(
    cluster: ClusterSpec, folder: Path, files: tuple[str, ...] | None = None
) -> ClusterSpec:
    """The cluster with its own calibration files read, or with these instead.

    Raises:
        CalibrationRefused: a file is damaged, or its tables have changed.
        ClusterError: a file is about a replica that this cluster cannot have.
    """
    found = tuple(read_calibration(folder / name) for name in files or cluster.calibration)
    for calibration in found:
        profile = _replica(cluster, calibration)
        if profile is None:
            raise ClusterError(
                f"The calibration is of {calibration.key}, which {cluster.name} does not have "
                f"({cluster.describe()}); name one of its own or leave it out."
            )
        calibration.applied(profile)
    return cluster.model_copy(update={"calibrated": cluster.calibrated + found})


def _replica(cluster: ClusterSpec, calibration: Calibration) -> Profile | None:
    """The shipped profile that a calibration is about, if the cluster can have such a replica."""
    for pool in cluster.pool:
        try:
            profile = load_profile(pool.gpu, cluster.model, calibration.tp)
        except UnknownProfile:
            continue
        if calibration.tp <= pool.count and calibration.fits(profile):
            return profile
    return None


def parse_cluster(text: str) -> ClusterSpec:
    """A cluster from TOML text; calibration files it names are not read."""
    try:
        return ClusterSpec.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ClusterError(f"The cluster file is not TOML: {error}; mend that line.") from None
    except RecursionError:
        raise ClusterError("The cluster file is nested too deep; write it flat.") from None
    except ValidationError as error:
        raise ClusterError(f"The cluster file is wrong: {_first(error.errors())}.") from None


def _first(errors: list[Any]) -> str:
    place = ".".join(str(part) for part in errors[0]["loc"]) or "the file"
    return f"{place}: {errors[0]['msg']}"
