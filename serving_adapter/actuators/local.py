"""Replicas as processes of this machine: engine emulators and vLLM servers, on loopback.

    router = GatewayRouter(gateway, kind.facts)
    async with LocalFleet(kind, router, (PoolSpec(gpu="H100", gpus=8),), logs=folder) as fleet:
        actuator = StepwiseActuator(fleet)
        outcome = await actuator.apply(specs_of(plan, fleet.pools))

The fleet's processes end with it. Emulators end with this process, too, however it ends; a vLLM
server survives a parent that is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import aiohttp

from serving_adapter.actuators.asking import engine_state
from serving_adapter.actuators.commands import EngineKind
from serving_adapter.actuators.protocol import ReplicaState
from serving_adapter.actuators.replicas import PoolSpec, Replica, ReplicaSpec
from serving_adapter.actuators.router_side import RouterSide
from serving_adapter.errors import ReplicaError
from serving_adapter.web_server import LOOPBACK

KILL_S = 10.0


@dataclass(slots=True)
class _Engine:
    """One process."""

    spec: ReplicaSpec
    process: asyncio.subprocess.Process
    url: str
    devices: tuple[int, ...]
    stopping: bool = False

    @property
    def failed(self) -> str:
        """Why it will never be ready; empty while it may."""
        if self.stopping:
            return "it is being stopped."
        code = self.process.returncode
        return "" if code is None else f"its process ended with {code}."


class LocalFleet:
    """The `ReplicaFleet` of processes that this one starts.

    Args:
        kind: which engine.
        router: what sends requests to them.
        pools: GPUs by pool; emulated ones are only counted.
        logs: folder for what the engines print, a file each.
        devices: for each pool the numbers of its GPUs, where the engines are to be bound to them.
    """

    def __init__(
        self,
        kind: EngineKind,
        router: RouterSide,
        pools: tuple[PoolSpec, ...],
        *,
        logs: Path,
        devices: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        self.pools = pools
        self.flips = True  # a role is what the router makes of an engine
        self._kind = kind
        self._router = router
        self._logs = logs
        self._devices = dict(devices or {})
        self._engines: dict[str, _Engine] = {}
        self._number = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> LocalFleet:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every process, side by side."""
        try:
            await asyncio.gather(*map(self.stop, tuple(self._engines)))
        finally:
            await self._open_session().close()

    async def present(self) -> tuple[Replica, ...]:
        """Replicas that exist, ready or not, in the order they came."""
        names = tuple(self._engines)
        states = await asyncio.gather(*map(self.state, names))
        added = self._router.added()
        return tuple(
            Replica(
                name=name,
                spec=self._engines[name].spec,
                ready=state.ready and name in added,
                failed=bool(state.failed),
            )
            for name, state in zip(names, states, strict=True)
            if name in self._engines
        )

    async def start(self, spec: ReplicaSpec) -> str:
        """Begin to start one; its name."""
        devices, port = self._free_devices(spec), _free_port()
        command = self._kind.command(spec, port)
        self._number += 1
        name = f"local-{self._number}"
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            with (self._logs / f"{name}.log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **self._kind.environment(devices)},
                    start_new_session=True,  # so that its workers can be ended with it
                )
        except OSError as error:
            raise ReplicaError(
                f"{command[0]} does not start ({error.strerror}): see where it is installed."
            ) from error
        self._engines[name] = _Engine(spec, process, f"http://{LOOPBACK}:{port}", devices)
        return name

    async def state(self, name: str) -> ReplicaState:
        """How one replica is now."""
        engine = self._engines.get(name)
        failed = "it is gone." if engine is None else engine.failed
        url = "" if engine is None else engine.url
        return await engine_state(self._open_session(), url, self._router.inside(name), failed)

    async def add(self, name: str) -> None:
        """Let the router send requests to it."""
        engine = self._known(name)
        if engine.failed:
            raise ReplicaError(f"Replica {name} cannot be used: {engine.failed}")
        await self._router.add(name, engine.url, engine.spec)

    async def change(self, name: str, spec: ReplicaSpec) -> None:
        """Let the router use it otherwise."""
        engine = self._known(name)
        await self._router.change(name, spec)
        engine.spec = replace(spec, shape=engine.spec.shape)

    async def drain(self, name: str) -> None:
        """Let the router send nothing more to it."""
        await self._router.drain(name)

    async def stop(self, name: str) -> None:
        """End its process: SIGTERM, and SIGKILL for the whole session if that is too slow."""
        engine = self._engines.get(name)
        if engine is None:
            return
        engine.stopping = True
        await self._router.remove(name)
        try:
            if not await _ended(engine.process, signal.SIGTERM, self._kind.stop_s):
                await _ended(engine.process, signal.SIGKILL, KILL_S)
        finally:
            # Cancelled in the middle: nothing of it may stay, not even its workers.
            _signal(engine.process, signal.SIGKILL)
        if engine.process.returncode is None:
            raise ReplicaError(
                f"Replica {name} does not end: look for process {engine.process.pid}."
            )
        del self._engines[name]

    def url(self, name: str) -> str:
        """Base URL of a replica.

        Raises:
            ReplicaError: there is none of that name.
        """
        return self._known(name).url

    def _known(self, name: str) -> _Engine:
        if name not in self._engines:
            raise ReplicaError(f"There is no replica {name}: ask which are present.")
        return self._engines[name]

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ReplicaError("The local fleet has not started: enter it with `async with`.")
        return self._session

    def _free_devices(self, spec: ReplicaSpec) -> tuple[int, ...]:
        """The lowest GPUs of its pool that nobody has; none where they are not numbered."""
        of_pool = self._devices.get(spec.shape.pool)
        if of_pool is None:
            return ()
        taken = {device for engine in self._engines.values() for device in engine.devices}
        free = [device for device in of_pool if device not in taken][: spec.shape.gpus]
        if len(free) < spec.shape.gpus:
            raise ReplicaError(f"Pool {spec.shape.pool} has no GPUs left for {spec}: stop one.")
        return tuple(free)


def _free_port() -> int:
    """A port that is free now; an engine that finds it taken ends, and its plan is taken back."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # SIGTERM is for the server alone, which ends its workers in order.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if number is signal.SIGKILL:
            os.killpg(process.pid, number)
        elif process.returncode is None:
            process.send_signal(number)


async def _ended(
    process: asyncio.subprocess.Process, number: signal.Signals, within_s: float
) -> bool:
    _signal(process, number)
    try:
        await asyncio.wait_for(process.wait(), within_s)
    except TimeoutError:
        return False
    return True
