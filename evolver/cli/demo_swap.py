"""The swap of the demo: emulated engines behind the real gateway, under real HTTP requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from evolver.cli.demo_scene import GPUS, MODEL, SEATS, STEP_TOKENS, Scale
from sandbox.engine import load_policy
from sandbox.replay import replay
from sandbox.simulation import Setup
from sandbox.verifier import verify
from serving_adapter.emulation.fleet import EngineSpec
from serving_adapter.emulation.load import LoadRequest
from serving_adapter.emulation.rehearsal import RehearsalReport, rehearse
from telemetry.trace import Trace


@dataclass(frozen=True, slots=True)
class Swap:
    """From one policy source to another, with what the simulator expects of both.

    Attributes:
        stretch: the requests that are sent twice, on the engines' clock.
        predicted_s: mean end-to-end seconds of these requests in the simulator, before and after.
    """

    before_name: str
    after_name: str
    stretch: Trace
    predicted_s: tuple[float, float]
    report: RehearsalReport


def specs(time_scale: float) -> list[EngineSpec]:
    """The engines of the demo's fleet."""
    return [
        EngineSpec(gpu=gpu, model=MODEL, time_scale=time_scale, max_num_seqs=SEATS,
                   max_num_batched_tokens=STEP_TOKENS)
        for gpu in GPUS
    ]  # fmt: skip


def swap_live(
    setup: Setup,
    before: tuple[str, str],
    after: tuple[str, str],
    scale: Scale,
    on_swap: Callable[[], None],
) -> Swap:
    """Send the requests of `setup` under one policy, then under another; `(name, source)` each."""
    trace = setup.trace
    rows = zip(trace.arrival_s, trace.prompt_tokens, trace.output_tokens, strict=True)
    requests = [LoadRequest(float(at), int(prompt), int(out)) for at, prompt, out in rows]
    report = asyncio.run(
        rehearse(requests, before[1], after[1], specs=specs(scale.time_scale), on_swap=on_swap)
    )
    expected = _predicted_s(setup, before[1]), _predicted_s(setup, after[1])
    return Swap(before[0], after[0], trace, expected, report)


def _predicted_s(setup: Setup, source: str) -> float:
    loaded = load_policy(verify(source), engine="compiled", only=("route",))
    return replay(setup, [("", loaded)])[0].metrics.latencies["e2e_s"]["mean"]
