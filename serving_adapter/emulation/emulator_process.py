"""The command line of one emulated engine: announce the port, serve, stop when told."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

from aiohttp import web

from serving_adapter.emulation.emulator import Emulator, EmulatorSettings
from serving_adapter.emulation.faults import Fault, FaultKind, read_fault
from serving_adapter.emulation.profiled import cold_start_s, settings_from_profile
from serving_adapter.errors import FleetError
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner

IDLE_POLL_S = 0.01


def parser() -> argparse.ArgumentParser:
    """Arguments under vLLM's names where vLLM has one."""
    arguments = argparse.ArgumentParser(prog="python -P -m serving_adapter.emulation.emulator")
    add = arguments.add_argument
    add("--port", type=int, default=0, help="0 lets the system choose")
    add("--gpu", default="H100")
    add("--model", default="llama-3.1-8b")
    add("--tp", type=int, default=1)
    add("--time-scale", type=float, default=1.0, help="engine s per real s")
    add("--max-num-seqs", type=int)
    add("--max-num-batched-tokens", type=int)
    add("--kv-blocks", type=int)
    add("--enable-prefix-caching", action="store_true")
    add("--old-metric-names", action="store_true", help="of vLLM before 0.10")
    add("--cold-start", action="store_true", help="load the model first: 503 until then")
    add("--fault", action="append", default=[], metavar="KIND[:VALUE][@AFTER_S][+FOR_S]")
    add("--shutdown-timeout", type=float, help="end as vLLM does, see `end_like_vllm`")
    add("--with-parent", action="store_true", help="stop when stdin closes")
    return arguments


def settings_of(arguments: argparse.Namespace) -> EmulatorSettings:
    """The engine that the arguments describe.

    Raises:
        sandbox.profiles.UnknownProfile: no such profile.
        FleetError: a fault is no fault.
    """
    limits = {
        name: value
        for name in ("max_num_seqs", "max_num_batched_tokens", "kv_blocks")
        if (value := getattr(arguments, name)) is not None
    }
    replica = arguments.gpu, arguments.model, arguments.tp
    settings = settings_from_profile(*replica, arguments.time_scale, limits)
    return replace(
        settings,
        engine=replace(settings.engine, prefix_caching=arguments.enable_prefix_caching),
        start_s=cold_start_s(*replica) if arguments.cold_start else 0.0,
        old_metric_names=arguments.old_metric_names,
        faults=tuple(map(read_fault, arguments.fault)),
    )


def die(kind: FaultKind) -> None:
    """End this process as the fault ends an engine's."""
    if kind is FaultKind.CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(1)


async def serve(
    settings: EmulatorSettings, port: int, *, with_parent: bool, shutdown_timeout_s: float | None
) -> None:
    """Serve one engine on loopback until SIGTERM, SIGINT or the end of standard input.

    What runs inside is finished first, or ends by `end_like_vllm` where a timeout is given; a
    second signal, and the end of standard input, end that too.
    """
    stop, hurry = _told_to_stop(with_parent=with_parent)
    emulator = Emulator(settings, on_end=die)
    runner = new_runner(emulator.application())
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, port).start()
    print(json.dumps({"port": bound_port(runner), "model": settings.model}), flush=True)
    try:
        await stop.wait()
        if shutdown_timeout_s is not None:
            await end_like_vllm(emulator, shutdown_timeout_s, hurry)
    finally:
        await runner.cleanup()


def _told_to_stop(*, with_parent: bool) -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first signal, and by the second; by the end of the parent both."""
    loop, stop, hurry = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    def parent_said() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            stop.set()
            hurry.set()
            loop.remove_reader(sys.stdin)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    if with_parent:
        loop.add_reader(sys.stdin, parent_said)
    return stop, hurry


async def end_like_vllm(emulator: Emulator, timeout_s: float, hurry: asyncio.Event) -> None:
    """What vLLM's server was seen to do after SIGTERM.

    It goes on listening, /health goes on saying 200, and new requests get 500. Those inside have
    `timeout_s`; with 0 they get no further token and hang until their clients give up.
    """
    emulator.shutting_down = True
    if timeout_s == 0:
        emulator.faults.add(Fault(kind=FaultKind.STALLED))
    ends_s = asyncio.get_running_loop().time() + (timeout_s or math.inf)
    while not (emulator.idle or hurry.is_set()) and asyncio.get_running_loop().time() < ends_s:
        await asyncio.sleep(IDLE_POLL_S)
    emulator.driver.lose()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one emulated engine; 0 when it was told to stop, 2 when the arguments are not right."""
    from sandbox.profiles import ProfileError

    arguments = parser().parse_args(argv)
    try:
        settings = settings_of(arguments)
    except (ProfileError, FleetError) as refusal:
        print(refusal, file=sys.stderr)
        return 2
    work = serve(
        settings,
        arguments.port,
        with_parent=arguments.with_parent,
        shutdown_timeout_s=arguments.shutdown_timeout,
    )
    asyncio.run(work)
    return 0
