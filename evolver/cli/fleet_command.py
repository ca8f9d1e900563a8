"""`evolver fleet`: emulated engines on this machine, to try things out without a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evolver.cli.failures import Misused
from evolver.cli.options import Quiet, screen_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from evolver.cli.screen import Screen
    from serving_adapter.emulation.faults import Fault
    from serving_adapter.emulation.fleet import Fleet

MAX_ENGINES = 64

Engines = Annotated[int, typer.Option(min=1, max=MAX_ENGINES, help="How many.")]
Gpu = Annotated[str, typer.Option(help="GPU type of the profile.")]
Model = Annotated[str, typer.Option(help="Model of the profile.")]
Tp = Annotated[int, typer.Option(min=1, help="GPUs of one engine.")]
TimeScale = Annotated[
    float, typer.Option(min=0.01, max=1000.0, help="Engine seconds that pass in one second.")
]
FirstPort = Annotated[int, typer.Option(min=0, max=65535, help="Then upwards; 0: any free ones.")]
ColdStart = Annotated[bool, typer.Option("--cold-start", help="Load the model first.")]
PrefixCaching = Annotated[bool, typer.Option("--prefix-caching", help="Keep prompts' blocks.")]
FaultWords = Annotated[
    list[str] | None,
    typer.Option(metavar="ENGINE=FAULT", help="0=slow:4@10+5: from 10 s on for 5 s; repeatable."),
]


def fleet(
    context: typer.Context,
    engines: Engines = 3,
    gpu: Gpu = "H100",
    model: Model = "llama-3.1-8b",
    tp: Tp = 1,
    time_scale: TimeScale = 1.0,
    first_port: FirstPort = 0,
    cold_start: ColdStart = False,
    prefix_caching: PrefixCaching = False,
    fault: FaultWords = None,
    quiet: Quiet = False,
) -> None:
    """Run emulated engines: the OpenAI API, filler words, the timing of a real engine.

    They listen on loopback and end with this command. Faults come by --fault, or later by POST to
    /emulator/faults of an engine.

    \b
    evolver fleet --engines 3 --gpu H100 --time-scale 5
    evolver fleet --fault 0=crash@30 --fault 1=slow:4@10+20
    """
    import asyncio

    from serving_adapter.emulation.fleet import EngineSpec, Fleet

    screen = screen_of(context, quiet)
    wrong = _faults_by_engine(fault or [], engines)
    specs = [
        EngineSpec(
            gpu=gpu,
            model=model,
            tp=tp,
            time_scale=time_scale,
            port=first_port + index if first_port else 0,
            cold_start=cold_start,
            prefix_caching=prefix_caching,
            faults=tuple(wrong.get(index, ())),
        )
        for index in range(engines)
    ]
    if first_port + engines > 2**16:
        raise Misused(f"There are no {engines} ports from {first_port} on; begin lower.")
    specs[0].facts()  # says which profiles there are, where this is none
    asyncio.run(_until_told(Fleet(specs), screen))


def _faults_by_engine(words: Sequence[str], engines: int) -> dict[int, list[Fault]]:
    from serving_adapter.emulation.faults import read_fault
    from serving_adapter.errors import FleetError

    found: dict[int, list[Fault]] = {}
    for text in words:
        index, _, word = text.partition("=")
        if not index.isdecimal() or not word or int(index) >= engines:
            raise Misused(f"--fault {text!r} names no engine; give one like 0=slow:4@10+5.")
        try:
            found.setdefault(int(index), []).append(read_fault(word))
        except FleetError as refusal:
            raise Misused(str(refusal)) from refusal
    return found


async def _until_told(fleet: Fleet, screen: Screen) -> None:
    import asyncio
    import signal

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_fleet(fleet, screen, stop)


async def run_fleet(fleet: Fleet, screen: Screen, stop: asyncio.Event) -> None:
    """Start a fleet, say where it is, keep it until `stop` is set.

    Raises:
        FleetError: an engine did not start.
    """
    async with fleet:
        for engine in fleet.engines:
            screen.text(f"{engine.url}  {engine.model} on {engine.spec.gpu} tp={engine.spec.tp}")
        screen.next("evolver serve " + " ".join(f"--engine {url}" for url in fleet.urls))
        await stop.wait()
