"""Serve applications for plans: which application and deployment holds which kind of replica.

One kind is a shape (pool, TP, PP) in one role. Its replicas are those of one deployment, so a plan
is a number of replicas per deployment, which Serve's declarative config can say without building
an application anew. The names tell the kind, so that what runs can be read back from Serve.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from sandbox import contract
from serving_adapter.actuators.replicas import ROLES, ReplicaSpec, Shape
from serving_adapter.errors import PlanRefused

Config: TypeAlias = dict[str, Any]
"""One application in the schema of Serve's declarative config."""

_SHAPE = r"p(\d{1,2})tp(\d{1,2})pp(\d{1,2})"
_CODES = {name: code for code, name in ROLES.items()}


class Applications(Protocol):
    """Says in Serve's words what a plan wants."""

    def spec_at(self, application: str, deployment: str) -> ReplicaSpec | None:
        """The kind of replica that a deployment holds; None when it is none of ours."""
        ...

    def configs(self, counts: Mapping[ReplicaSpec, int]) -> list[Config]:
        """The applications for so many replicas of each kind; kinds of none are left out.

        Raises:
            PlanRefused: Serve cannot have such replicas, or not in this combination.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainApplications:
    """One application per kind, made by `import_path` from its shape; for engines of any make.

    Attributes:
        import_path: an application builder as `module:function`.
        deployment: the name of its deployment of engines.
        args: for the builder; `engine` in it is given `gpu`, `tp` and `pp` of the kind.
        gpus: the GPU type of each pool.
        prefix: of the applications' names, and of their routes.
    """

    import_path: str
    deployment: str
    args: Config = field(default_factory=dict)
    gpus: tuple[str, ...] = ("H100",)
    prefix: str = "engines"

    def spec_at(self, application: str, deployment: str) -> ReplicaSpec | None:
        """See `Applications`."""
        found = re.fullmatch(rf"{re.escape(self.prefix)}-([a-z]+)-{_SHAPE}", application)
        if found is None or found[1] not in _CODES or deployment != self.deployment:
            return None
        return _spec(self.gpus, found.groups()[1:], _CODES[found[1]])

    def configs(self, counts: Mapping[ReplicaSpec, int]) -> list[Config]:
        """See `Applications`."""
        return [self._config(spec, count) for spec, count in counts.items() if count > 0]

    def _config(self, spec: ReplicaSpec, count: int) -> Config:
        name = f"{self.prefix}-{ROLES[spec.role]}-{_shape(spec)}"
        return {
            "name": name,
            "route_prefix": f"/{name}",
            "import_path": self.import_path,
            "args": {**self.args, "engine": {**self.args.get("engine", {}), **_engine(spec)}},
            "deployments": [{"name": self.deployment, "num_replicas": count}],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMApplications:
    """Applications of `ray.serve.llm`: one per shape, and one for a pair of prefill and decode.

    Attributes:
        model_id, model_source: as `ModelLoadingConfig` has them.
        accelerators: Ray's accelerator type of each pool.
        gpus: the GPU type of each pool, as profiles name it.
        engine_kwargs: for vLLM, besides the parallel sizes.
        deployment_config: options of each deployment, as `request_router_config`.
        kv_transfer_config: how KV goes from prefill to decode; without it, no such roles.
    """

    model_id: str
    model_source: str
    accelerators: tuple[str, ...]
    gpus: tuple[str, ...]
    engine_kwargs: Config = field(default_factory=dict)
    deployment_config: Config = field(default_factory=dict)
    kv_transfer_config: Config | None = None
    prefix: str = "llm"

    def spec_at(self, application: str, deployment: str) -> ReplicaSpec | None:
        """See `Applications`."""
        prefix = re.escape(self.prefix)
        found = re.fullmatch(rf"{prefix}-{_SHAPE}(?:-{_SHAPE})?", application)
        if found is None:
            return None
        first, second = found.groups()[:3], found.groups()[3:]
        kinds = {f"LLMServer:{self._name}": (first, contract.MIXED)}
        if second[0] is not None:
            kinds = {
                f"Prefill:{self._name}": (first, contract.PREFILL),
                f"Decode:{self._name}": (second, contract.DECODE),
            }
        return _spec(self.gpus, *kinds[deployment]) if deployment in kinds else None

    def configs(self, counts: Mapping[ReplicaSpec, int]) -> list[Config]:
        """See `Applications`."""
        wanted = {spec: count for spec, count in counts.items() if count > 0}
        if any(spec.shape.pool >= len(self.accelerators) for spec in wanted):
            raise PlanRefused("The plan names a pool without an accelerator type: name it.")
        by_role = {
            role: [spec for spec in wanted if spec.role == role]
            for role in (contract.MIXED, contract.PREFILL, contract.DECODE)
        }
        found = [self._mixed(spec, wanted[spec]) for spec in by_role[contract.MIXED]]
        pair = by_role[contract.PREFILL], by_role[contract.DECODE]
        if any(pair):
            found.append(self._pair(pair, wanted))
        return found

    @property
    def _name(self) -> str:
        """The model as `ray.serve.llm` puts it into names of deployments."""
        return self.model_id.replace("/", "--").replace(".", "_")

    def _mixed(self, spec: ReplicaSpec, count: int) -> Config:
        return {
            "name": f"{self.prefix}-{_shape(spec)}",
            "route_prefix": f"/{self.prefix}-{_shape(spec)}",
            "import_path": "ray.serve.llm:build_openai_app",
            "args": {"llm_configs": [self._llm(spec)]},
            "deployments": [{"name": f"LLMServer:{self._name}", "num_replicas": count}],
        }

    def _pair(
        self,
        pair: tuple[list[ReplicaSpec], list[ReplicaSpec]],
        counts: Mapping[ReplicaSpec, int],
    ) -> Config:
        if self.kv_transfer_config is None or not all(len(specs) == 1 for specs in pair):
            raise PlanRefused(
                "Ray Serve pairs one shape for prefill with one for decode, and needs a "
                "kv_transfer_config for it: keep the present plan."
            )
        (prefill,), (decode,) = pair
        name = f"{self.prefix}-{_shape(prefill)}-{_shape(decode)}"
        return {
            "name": name,
            "route_prefix": f"/{name}",
            "import_path": "ray.serve.llm:build_pd_openai_app",
            "args": {"prefill_config": self._llm(prefill), "decode_config": self._llm(decode)},
            "deployments": [
                {"name": f"Prefill:{self._name}", "num_replicas": counts[prefill]},
                {"name": f"Decode:{self._name}", "num_replicas": counts[decode]},
            ],
        }

    def _llm(self, spec: ReplicaSpec) -> Config:
        """One `LLMConfig`; `num_replicas` here only turns autoscaling off, the count is outside."""
        engine = {
            **self.engine_kwargs,
            "tensor_parallel_size": spec.shape.tp,
            "pipeline_parallel_size": spec.shape.pp,
        }
        if spec.role != contract.MIXED and self.kv_transfer_config is not None:
            engine["kv_transfer_config"] = self.kv_transfer_config
        return {
            "model_loading_config": {"model_id": self.model_id, "model_source": self.model_source},
            "accelerator_type": self.accelerators[spec.shape.pool],
            "engine_kwargs": engine,
            "deployment_config": {**self.deployment_config, "num_replicas": 1},
        }


def _shape(spec: ReplicaSpec) -> str:
    return f"p{spec.shape.pool}tp{spec.shape.tp}pp{spec.shape.pp}"


def _spec(gpus: tuple[str, ...], numbers: tuple[str, ...], role: int) -> ReplicaSpec | None:
    pool, tp, pp = map(int, numbers)
    if pool >= len(gpus):
        return None
    return ReplicaSpec(shape=Shape(pool=pool, gpu=gpus[pool], tp=tp, pp=pp), role=role)


def _engine(spec: ReplicaSpec) -> Config:
    return {"gpu": spec.shape.gpu, "tp": spec.shape.tp, "pp": spec.shape.pp}


def plain(spec: ReplicaSpec) -> ReplicaSpec:
    """The kind of an entry: Serve knows nothing of length ranges and shares."""
    return ReplicaSpec(shape=spec.shape, role=spec.role)
