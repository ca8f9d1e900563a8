"""The command line of one emulated engine: announce the port, serve, stop when told."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence

from aiohttp import web

from serving_adapter.emulation.emulator import Emulator, EmulatorSettings, settings_from_profile
from serving_adapter.web_server import LOOPBACK, bound_port, new_runner


def parser() -> argparse.ArgumentParser:
    """Arguments under vLLM's names where vLLM has one."""
    arguments = argparse.ArgumentParser(prog="python -P -m serving_adapter.emulation.emulator")
    arguments.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    arguments.add_argument("--gpu", default="H100")
    arguments.add_argument("--model", default="llama-3.1-8b")
    arguments.add_argument("--tp", type=int, default=1)
    arguments.add_argument("--time-scale", type=float, default=1.0, help="engine s per real s")
    arguments.add_argument("--max-num-seqs", type=int)
    arguments.add_argument("--max-num-batched-tokens", type=int)
    arguments.add_argument("--kv-blocks", type=int)
    arguments.add_argument("--with-parent", action="store_true", help="stop when stdin closes")
    return arguments


def settings_of(arguments: argparse.Namespace) -> EmulatorSettings:
    """The engine that the arguments describe.

    Raises:
        sandbox.profiles.UnknownProfile: no such profile.
    """
    limits = {
        name: value
        for name in ("max_num_seqs", "max_num_batched_tokens", "kv_blocks")
        if (value := getattr(arguments, name)) is not None
    }
    return settings_from_profile(
        arguments.gpu, arguments.model, arguments.tp, arguments.time_scale, limits
    )


def _stop_at_end_of_input(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        stop.set()


async def serve(settings: EmulatorSettings, port: int, *, with_parent: bool) -> None:
    """Serve one engine on loopback until SIGTERM, SIGINT or the end of standard input."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if with_parent:
        loop.add_reader(sys.stdin, _stop_at_end_of_input, stop)
    runner = new_runner(Emulator(settings).application())
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, port).start()
    print(json.dumps({"port": bound_port(runner), "model": settings.model}), flush=True)
    try:
        await stop.wait()
    finally:
        await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one emulated engine; 0 when it was told to stop, 2 when there is no such profile."""
    from sandbox.profiles import ProfileError

    arguments = parser().parse_args(argv)
    try:
        settings = settings_of(arguments)
    except ProfileError as refusal:
        print(refusal, file=sys.stderr)
        return 2
    asyncio.run(serve(settings, arguments.port, with_parent=arguments.with_parent))
    return 0
