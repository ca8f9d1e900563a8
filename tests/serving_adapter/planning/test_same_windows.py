"""A simulated trace and its request log, replayed through a live host, make the same windows."""

import json
import math

import numpy as np
import pytest

from sandbox.classes import classes_of
from sandbox.cluster import parse_cluster
from sandbox.engine import load_policy
from sandbox.kernel.program import Program
from sandbox.kernel.state import FINISHED, PS_PER_S, REJECTED
from sandbox.replay import default_policy
from sandbox.simulation import Setup, build
from sandbox.verifier import verify
from serving_adapter.exposition import Registry
from serving_adapter.host_metrics import HostMetrics
from serving_adapter.live import Live
from serving_adapter.live_slot import LiveSlot
from serving_adapter.planning.planner import Planner, Reading
from serving_adapter.planning.prepare import prepare_planned
from serving_adapter.planning.wanted import ReplicaReading
from serving_adapter.planning.window import Tally
from serving_adapter.request_log import RequestOutcome
from telemetry import generate, load_profile
from telemetry.trace import Trace, TraceMeta

AT_REST = '''"""Leaves the plan as it is."""


def should_reschedule(window, cluster, plan, memory):
    return False
'''
CLUSTER = """
name = "pair"
model = "Llama-3.1-8B"
[[pool]]
gpu = "H100"
count = 2
[[replica]]
pool = 0
tp = 1
count = 2
[tick]
monitoring_s = %s
[[class]]
name = "short"
prompt_max_tokens = 1000
slo = {ttft_s = 0.2, tpot_s = 0.02, e2e_s = 9.0}
deadline_s = 3.0
drop_late = true
"""
NOT_TOLD = {"busy", "scheduling_s", "reconfiguration_s", "last_switch_s"}
"""How long engines computed and loaded no host is told, and planning takes its own time."""


def simulated(setup, kv_blocks):
    """Window, queues, KV and preemptions at each monitoring point; and what became of requests."""
    policy = load_policy(verify(AT_REST), engine="interpreted")
    sim = build(setup, policy, default_policy())
    sim.shapes["kv_blocks"], sim.shapes["kv_tokens"] = kv_blocks, kv_blocks * 16
    program, points, latest_ps = Program(sim), [], 0
    assert program.start()
    while program.run(1):
        totals = program.sim.totals[0]
        if totals["last_monitor"] > latest_ps:
            latest_ps = int(totals["last_monitor"])
            points.append((latest_ps, sim.window[0].copy(), *engine_side(program.sim)))
    return points, sim.requests[: len(setup.trace)].copy()


def engine_side(sim):
    """What engines themselves tell at an instant: queues by class, KV in use, preemptions."""
    queued = sim.class_stats["queued"].tolist()
    queued[0] = int(sim.instances["waiting"].sum() + sim.totals[0]["held"])
    plan = sim.plan[0]
    kv_used = plan["replicas"]["kv_used"][: plan["n_replicas"]].tolist()
    times = np.bincount(sim.requests["class_id"], sim.requests["preempted"], len(queued))
    return queued, kv_used, times.astype(int).tolist()


def request_log(rows):
    """Lines in the order of what they tell, each with the picosecond it happened at."""
    def since(row, name):
        return (int(row[name]) - int(row["entered"])) / PS_PER_S if row[name] >= 0 else None

    lines = []
    for row in rows[rows["entered"] >= 0]:
        about = {"class_id": int(row["class_id"]), "prompt_tokens": int(row["prompt"])}
        at_s = int(row["entered"]) / PS_PER_S
        lines.append((int(row["entered"]), {"arrived_s": at_s, **about}))
        if row["state"] == REJECTED:
            lines.append((int(row["finish"]), {"outcome": "rejected", **about}))
        elif row["state"] == FINISHED:
            told = {"cached_tokens": int(row["found"]), "output_tokens": int(row["output"]),
                    "queue_s": since(row, "began"), "ttft_s": since(row, "first"),
                    "e2e_s": since(row, "finish"), "outcome": "ok"}  # fmt: skip
            lines.append((int(row["finish"]), {**told, **about}))
    return [(at, json.dumps(line)) for at, line in sorted(lines, key=lambda one: one[0])]


class Host:
    """A live host: a tally that is fed, and a planner with readings of two replicas."""

    def __init__(self, cluster):
        slot = LiveSlot(HostMetrics(Registry()), lambda _: None, None)
        slot.assign(Live(1, active=prepare_planned(cluster, "interpreted")(AT_REST)))
        self.planner = Planner(slot, cluster, engine="interpreted")
        self.tally = Tally([one.slo for one in classes_of(cluster)])
        self.preempted = [0] * (1 + len(classes_of(cluster)))
        self.point(0.0, self.preempted, [math.nan] * 2, self.preempted)

    def take(self, line):
        told = json.loads(line)
        if "arrived_s" in told:
            self.tally.arrived(told["arrived_s"], told["prompt_tokens"], told["class_id"])
        else:
            self.tally.ended(RequestOutcome(told.pop("outcome")), **told)

    def point(self, now_s, queued, kv_used, preempted):
        for class_id in range(1, len(preempted)):
            times = preempted[class_id] - self.preempted[class_id]
            self.tally.preempted(times, class_id)
        self.preempted = preempted
        spec = self.planner.cluster.spec_of(0, 1, 1)
        replicas = tuple(ReplicaReading(spec=spec, kv_used=used) for used in kv_used)
        self.planner.step(
            Reading(now_s=now_s, sums=self.tally.sums, replicas=replicas,
                    queued_requests=queued[0], queued_by_class=tuple(queued[1:])))  # fmt: skip
        return self.planner.windows.window[0]


def bits(record, names):
    return {name: np.ascontiguousarray(record[name]).tobytes() for name in names}


def crowded():
    """Prompts that share beginnings, more than the KV cache holds."""
    return generate(load_profile("mooncake_conversation"), span_s=90.0, seed=3), 1.7, 8_000


def hourly():
    """The same twenty minutes of every hour bring work, for as long as seasons need to show."""
    rng = np.random.default_rng(0)
    at_s = np.sort(rng.uniform(0.0, 1200.0, 900) + 3600.0 * rng.integers(0, 3, 900))
    prompts, outputs = rng.integers(1, 3000, 900), rng.integers(1, 300, 900)
    given = {"arrival_s": at_s, "prompt_tokens": prompts, "output_tokens": outputs}
    return Trace.of(TraceMeta(name="hourly"), **given, span_s=8400.0), 60.0, 2_000


@pytest.mark.parametrize("load", [crowded, hourly])
def test_a_log_replayed_live_and_the_trace_simulated_show_the_same(load):
    trace, monitoring_s, kv_blocks = load()
    cluster = parse_cluster(CLUSTER % monitoring_s)
    points, requests = simulated(Setup(trace, cluster), kv_blocks)
    log, host, at = request_log(requests), Host(cluster), 0
    for now_ps, window, *told in points:
        while at < len(log) and log[at][0] <= now_ps:
            host.take(log[at][1])
            at += 1
        live, classes = host.point(now_ps / PS_PER_S, *told), int(window["n_classes"])
        names = [name for name in window.dtype.names if name not in {"classes", *NOT_TOLD}]
        assert bits(live, names) == bits(window, names)
        for class_id in range(classes):
            mine, theirs = live["classes"][class_id], window["classes"][class_id]
            assert bits(mine, theirs.dtype.names) == bits(theirs, theirs.dtype.names)
    assert len(points) > 50
    if load is crowded:  # or else most columns would be equal because they are empty
        rows = [window["classes"][0] for _, window, *_ in points]
        for name in ("rejected", "preemptions", "reuse", "queue_mean_s", "slo_attainment"):
            assert sum(row[name] > 0 for row in rows) > 2
