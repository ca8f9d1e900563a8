"""Starts and stops emulated engines as processes of their own, on loopback ports they choose.

    async with Fleet.of(3, EngineSpec(gpu="H100", time_scale=10.0)) as fleet:
        gateway = Gateway(host, fleet.facts(), registry)
        await fleet.fault(0, Fault(kind=FaultKind.SLOW, value=4.0))
        await fleet.kill(1)
        another = await fleet.add(EngineSpec())

An engine ends with its parent, however that ends, because it watches its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType

import aiohttp

from serving_adapter.emulation.fault_admin import FAULTS_PATH
from serving_adapter.emulation.faults import Fault
from serving_adapter.errors import FleetError
from serving_adapter.instances import InstanceFacts

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
PICOSECONDS = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One emulated engine, by the names that `sandbox.profiles` knows."""

    gpu: str = "H100"
    model: str = "llama-3.1-8b"
    tp: int = 1
    time_scale: float = 1.0
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    kv_blocks: int | None = None
    port: int = 0  # any that is free
    prefix_caching: bool = False
    cold_start: bool = False
    shutdown_timeout_s: float | None = None
    faults: tuple[Fault, ...] = ()

    def arguments(self) -> list[str]:
        """The command line of `serving_adapter.emulation.emulator`."""
        named: dict[str, object] = {
            "--gpu": self.gpu,
            "--model": self.model,
            "--tp": self.tp,
            "--time-scale": self.time_scale,
            "--max-num-seqs": self.max_num_seqs,
            "--max-num-batched-tokens": self.max_num_batched_tokens,
        }
        if self.port:
            named["--port"] = self.port
        if self.kv_blocks is not None:
            named["--kv-blocks"] = self.kv_blocks
        if self.shutdown_timeout_s is not None:
            named["--shutdown-timeout"] = self.shutdown_timeout_s
        pairs = [*named.items(), *(("--fault", fault) for fault in self.faults)]
        switches = {"--enable-prefix-caching": self.prefix_caching, "--cold-start": self.cold_start}
        words = [text for name, value in pairs for text in (name, str(value))]
        return words + [name for name, on in switches.items() if on]

    def facts(self) -> InstanceFacts:
        """What a gateway may be told of it, in real seconds.

        The decode step is the profile's line through batches 1 and 64, the prefill rate that of
        one full step.

        Raises:
            sandbox.profiles.UnknownProfile: no such profile.
        """
        from sandbox.profiles import load_profile

        profile = load_profile(self.gpu, self.model, self.tp)
        unit_s = 1 / (PICOSECONDS * self.time_scale)
        one, many = profile.step_ps([], 1, 0), profile.step_ps([], 64, 0)
        per_seq_ps = (many - one) / 63
        context_ps = (profile.step_ps([], 32, 32_000) - profile.step_ps([], 32, 0)) / 32_000
        chunk = min(self.max_num_batched_tokens, 2048)
        blocks = self.kv_blocks or profile.kv_capacity_tokens // 16
        return InstanceFacts(
            tp=self.tp,
            kv_capacity_tokens=blocks * 16,
            max_num_seqs=self.max_num_seqs,
            token_budget=self.max_num_batched_tokens,
            prefill_tokens_per_s=chunk / (profile.step_ps([(chunk, 0)], 0, 0) * unit_s),
            step_base_s=(one - per_seq_ps) * unit_s,
            step_per_seq_s=per_seq_ps * unit_s,
            step_per_context_s=context_ps * unit_s,
        )


@dataclass(slots=True)
class EngineProcess:
    """One running emulator."""

    spec: EngineSpec
    process: asyncio.subprocess.Process
    port: int
    model: str

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def fault(self, fault: Fault) -> None:
        """Let something go wrong with it.

        Raises:
            FleetError: it does not answer, or there are too many faults already.
        """
        body = {name: value for name, value in asdict(fault).items() if value != math.inf}
        timeout = aiohttp.ClientTimeout(total=STOP_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.url + FAULTS_PATH, json=body) as answer,
            ):
                taken = answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise FleetError("The engine is gone: it can have no more faults.") from error
        if not taken:
            raise FleetError("The engine does not take that fault: clear the others first.")

    async def stop(self) -> None:
        """Let it finish what it runs, then end it."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()


@dataclass(slots=True)
class Fleet:
    """Several emulators, started together and stopped together."""

    specs: Sequence[EngineSpec]
    engines: list[EngineProcess] = field(default_factory=list)

    @classmethod
    def of(cls, count: int, spec: EngineSpec | None = None) -> Fleet:
        """`count` engines alike."""
        return cls([spec or EngineSpec()] * count)

    @property
    def urls(self) -> list[str]:
        """Base URLs in the order of the specs."""
        return [engine.url for engine in self.engines]

    def facts(self) -> dict[str, InstanceFacts]:
        """What a gateway takes: base URL to facts."""
        return {engine.url: engine.spec.facts() for engine in self.engines}

    async def __aenter__(self) -> Fleet:
        """Start all side by side.

        Raises:
            FleetError: one did not come up; the others are stopped again.
        """
        started = await asyncio.gather(*map(start_engine, self.specs), return_exceptions=True)
        self.engines = [engine for engine in started if isinstance(engine, EngineProcess)]
        failure = next((error for error in started if isinstance(error, BaseException)), None)
        if failure is not None:
            await self.stop()
            raise failure
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def kill(self, index: int) -> None:
        """End one at once, as a crash would; its place in `engines` stays."""
        await self.engines[index].kill()

    async def fault(self, index: int, fault: Fault) -> None:
        """Let something go wrong with one.

        Raises:
            FleetError: it does not take it.
        """
        await self.engines[index].fault(fault)

    async def add(self, spec: EngineSpec) -> EngineProcess:
        """Start one more, at the end of `engines`.

        Raises:
            FleetError: it did not come up.
        """
        self.engines.append(await start_engine(spec))
        return self.engines[-1]

    async def remove(self, index: int) -> None:
        """Stop one after what it runs; those behind it move up."""
        await self.engines.pop(index).stop()

    async def stop(self) -> None:
        """Stop all side by side."""
        await asyncio.gather(*(engine.stop() for engine in self.engines))


async def start_engine(spec: EngineSpec) -> EngineProcess:
    """Start one emulator and wait until it listens.

    Raises:
        FleetError: it ended or said nothing in time.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "serving_adapter.emulation.emulator",
        "--with-parent",
        *spec.arguments(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    engine = EngineProcess(spec, process, 0, "")
    try:
        line = await asyncio.wait_for(_first_line(process), START_TIMEOUT_S)
        announced = json.loads(line)
        engine.port, engine.model = int(announced["port"]), str(announced["model"])
    except (TimeoutError, ValueError, KeyError) as error:
        await engine.kill()
        raise FleetError(
            "An emulated engine did not start: `python -P -m serving_adapter.emulation.emulator` "
            "says why."
        ) from error
    return engine


async def _first_line(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        raise FleetError("An emulated engine has no output: start it through `start_engine`.")
    return await process.stdout.readline()
