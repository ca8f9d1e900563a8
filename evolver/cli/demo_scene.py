"""What the demo plays with: a generated window, three different GPUs, and how much work to do.

Everything ships in the wheel: the traffic is drawn from a fitted profile, the engines' step times
come from shipped tables. The fleet of the search is the fleet of the swap.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass

from evolver.problem import Problem
from sandbox.cluster import ClusterSpec, EngineSpec, PoolSpec, RouterSpec
from sandbox.replay import at_load
from sandbox.request_spec import PredictorSpec, SloSpec
from telemetry import TrafficProfile, generate, load_profile

PROFILE = "azure2023_conv"
GPUS = ("H100", "A100", "L40S")
MODEL = "Llama-3.1-8B"
LOAD = 0.8
SEATS = 16  # requests that an engine runs at once: small batches keep token latency low
STEP_TOKENS = 2048
DOOR = "gateway-declared"  # the fleet says what each engine is
DOOR_HOOKS = frozenset({"route"})

REFUSED = (
    ("reads the machine", 'import os\n\n\ndef route(request, instances, memory):\n'
     '    return os.getpid() % 3\n'),
    ("may run for ever", 'def route(request, instances, memory):\n    while True:\n'
     '        memory[0] += 1.0\n'),
    ("knows the future", 'def route(request, instances, memory):\n'
     '    if request.output_tokens > 100:\n        return instances[0].id\n    return HOLD\n'),
)  # fmt: skip
"""Candidates written to be refused: a title and the text of each."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much the demo does.

    Attributes:
        trace_s: length of the generated trace, before it is laid on the fleet.
        evaluations: budget of the search; one is a policy on every window of the search.
        model_evaluations: budget of the search by a model.
        seconds: each search stops here, wherever it is.
        live_s: real seconds of load before the swap, and again after it.
        time_scale: engine seconds that pass in a real one.
    """

    trace_s: float = 1800.0
    evaluations: float = 160.0
    model_evaluations: float = 30.0
    seconds: float = 40.0
    live_s: float = 11.0
    time_scale: float = 4.0


FULL = Scale()
QUICK = Scale(evaluations=40.0, model_evaluations=20.0, seconds=12.0, live_s=2.5)


@dataclass(frozen=True, slots=True)
class DoorProblem(Problem):
    """A search for what the gateway decides: the way of each request, nothing inside engines."""

    @property
    def hooks(self) -> frozenset[str]:
        """Routing alone."""
        return DOOR_HOOKS


def fleet() -> ClusterSpec:
    """Three engines on three types of GPU, seen by one router that predicts no output length."""
    return ClusterSpec(
        name="three-engines",
        model=MODEL,
        pool=tuple(PoolSpec(gpu=gpu, count=1) for gpu in GPUS),
        engine=EngineSpec(max_num_seqs=SEATS, max_num_batched_tokens=STEP_TOKENS),
        slo=SloSpec(ttft_s=2.0, tpot_s=0.06, e2e_s=30.0),
        router=RouterSpec(count=1),
        predictor=PredictorSpec(sigma=None),
        signals=DOOR,
    )


def problem(scale: Scale, seed: int) -> DoorProblem:
    """The generated window, laid on the fleet."""
    profile = load_profile(PROFILE)
    if not isinstance(profile, TrafficProfile):
        raise TypeError(f"{PROFILE} is no traffic profile")
    recorded = generate(profile, span_s=scale.trace_s, seed=seed)
    cluster = fleet()
    trace, report = at_load(recorded, cluster, LOAD, seed)
    return DoorProblem(trace, cluster, report, seed=seed)


def person() -> str:
    """Who approves: the user who runs the demo."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "demo"
