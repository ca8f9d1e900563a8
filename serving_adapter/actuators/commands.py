"""How an engine of a plan is started as a process: the command lines of the kinds there are."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from serving_adapter.actuators.replicas import ReplicaSpec
from serving_adapter.actuators.router_side import plain_facts
from serving_adapter.emulation.fleet import EngineSpec
from serving_adapter.errors import ReplicaError
from serving_adapter.instances import InstanceFacts
from serving_adapter.web_server import LOOPBACK


class EngineKind(Protocol):
    """One kind of engine.

    Attributes:
        stop_s: how long one may take to end after SIGTERM.
    """

    stop_s: float

    def command(self, spec: ReplicaSpec, port: int) -> list[str]:
        """Its command line, to listen on that loopback port.

        Raises:
            ReplicaError: there is no such engine.
        """
        ...

    def environment(self, devices: Sequence[int], /) -> Mapping[str, str]:
        """Variables it needs beside those of this process."""
        ...

    def facts(self, spec: ReplicaSpec) -> InstanceFacts:
        """What a router may be told of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedEngine:
    """Our engine emulator; `like` gives everything that a plan leaves open."""

    like: EngineSpec = field(default_factory=EngineSpec)
    stop_s: float = 10.0

    def command(self, spec: ReplicaSpec, port: int) -> list[str]:
        """See `EngineKind.command`."""
        module = [sys.executable, "-P", "-m", "serving_adapter.emulation.emulator"]
        return [*module, "--with-parent", "--port", str(port), *self._spec(spec).arguments()]

    def environment(self, _: Sequence[int], /) -> Mapping[str, str]:
        """None: emulated GPUs are no devices."""
        return {}

    def facts(self, spec: ReplicaSpec) -> InstanceFacts:
        """See `EngineKind.facts`."""
        return replace(self._spec(spec).facts(), pool=spec.shape.pool)

    def _spec(self, spec: ReplicaSpec) -> EngineSpec:
        if spec.shape.pp > 1:
            raise ReplicaError("Emulated engines have no pipeline parallelism: plan with pp=1.")
        return replace(self.like, gpu=spec.shape.gpu, tp=spec.shape.tp)


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmServer:
    """vLLM's own server.

    The module is started, since the console script fails where vLLM is installed under another
    name. Without a time-out for shutting down it would leave its clients hanging.

    Attributes:
        model: path or name, as `--model` takes it.
        python: the interpreter of an environment that has vLLM.
        arguments: further ones, as `--max-model-len 2048`.
    """

    model: str
    python: str = sys.executable
    arguments: tuple[str, ...] = ()
    shutdown_timeout_s: int = 60

    @property
    def stop_s(self) -> float:
        """What is inside may finish, then the workers end."""
        return self.shutdown_timeout_s + 30.0

    def command(self, spec: ReplicaSpec, port: int) -> list[str]:
        """See `EngineKind.command`."""
        named = {
            "--model": self.model,
            "--host": LOOPBACK,
            "--port": port,
            "--tensor-parallel-size": spec.shape.tp,
            "--pipeline-parallel-size": spec.shape.pp,
            "--shutdown-timeout": self.shutdown_timeout_s,
        }
        words = [text for name, value in named.items() for text in (name, str(value))]
        server = [self.python, "-P", "-m", "vllm.entrypoints.openai.api_server"]
        return [*server, *words, *self.arguments]

    def environment(self, devices: Sequence[int], /) -> Mapping[str, str]:
        """The GPUs it may use, where they are counted."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, devices))} if devices else {}

    def facts(self, spec: ReplicaSpec) -> InstanceFacts:
        """See `EngineKind.facts`."""
        return plain_facts(spec)
