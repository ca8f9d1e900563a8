"""Runs in which a planner's answers are written down by time, and what stands at any moment."""

import numpy as np

from sandbox.cluster import ClusterSpec
from sandbox.engine import load_policy
from sandbox.kernel.program import Program
from sandbox.kernel.state import PS_PER_S
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build
from sandbox.verifier import verify
from telemetry.capacity import CapacityTrace
from telemetry.trace import Trace, TraceMeta

META = TraceMeta(name="planned")
ALWAYS = "def should_reschedule(window, cluster, plan, memory):\n    return True\n\n\n"


NEWEST = (
    "def route(request, instances, memory):\n    best = -1\n    for inst in instances:\n"
    "        best = max(best, inst.id)\n    return best\n"
)


def newest():
    """A policy that sends everything to the newest engine it sees."""
    return load_policy(verify('"""To the newest."""\n\n\n' + NEWEST), engine="interpreted")


def planner(*lines):
    """A policy that is asked for a plan at every turn; `lines` are the body of its planner.

    It sends requests to the newest engine.
    """
    body = "".join(f"    {line}\n" for line in lines)
    hook = "def schedule(window, cluster, plan, new_plan, memory):\n"
    text = '"""Plans by time."""\n\n\n' + NEWEST + "\n\n" + ALWAYS + hook + body
    return load_policy(verify(text), engine="interpreted")


def cluster(*pools, model="Llama-3.1-8B", replica=(), **parts):
    given = {"model": model, "pool": list(pools), "replica": list(replica)}
    given["tick"] = {"monitoring_s": 1.0}
    return ClusterSpec.model_validate(given | parts)


def requests(n=1, gap_s=1.0, prompt=100, output=10, **columns):
    given = {
        "arrival_s": np.arange(n) * gap_s, "prompt_tokens": np.full(n, prompt),
        "output_tokens": np.full(n, output), "span_s": max(n * gap_s, 1.0),
    }  # fmt: skip
    return Trace.of(META, **(given | columns))


def patient(n=200, gap_s=1.0):
    """Requests enough to keep a run going for that long."""
    return requests(n, gap_s)


def capacity(events, nodes=1, kind="availability", zone=0):
    """A capacity trace from (time, node, up)."""
    time_s, node, up = zip(*events, strict=True) if events else ((), (), ())
    return CapacityTrace.of(
        META, kind, span_s=1000.0, initial_up=[True] * nodes, time_s=time_s, node=node, up=up,
        zone=zone,
    )  # fmt: skip


class Watched:
    """A simulation that can be looked at on its way."""

    def __init__(self, spec, policy=None, trace=None, **setup):
        self.policy = policy = policy or default_policy()  # the kernel knows its address only
        setup = {"stop_s": 500.0} | setup
        self.sim = build(Setup(trace or patient(), spec, **setup), policy, default_policy())
        self.program = Program(self.sim)
        assert self.program.start()

    def until(self, time_s):
        """Handle every event up to a time."""
        while self.sim.totals["now"][0] < time_s * PS_PER_S and self.program.run(1):
            pass
        return self

    def end(self):
        """Run to the end; the totals."""
        while self.program.run(100_000):
            pass
        return self.sim.totals[0]

    def engines(self, *states):
        """Rows of the engines in these states."""
        return self.sim.instances[np.isin(self.sim.instances["state"], states)]
