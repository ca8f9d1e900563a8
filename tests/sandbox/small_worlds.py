"""Small random simulations, and a stepper that stops at every event."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hostile_policies import HOSTILE

from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from sandbox.engine import load_policy
from sandbox.kernel import state
from sandbox.kernel.program import Program
from sandbox.replay import default_policy
from sandbox.request_spec import ClassSpec, PredictorSpec, SamplesSpec
from sandbox.signal_profiles import signal_profile_names
from sandbox.simulation import Setup, build
from sandbox.verifier import verify
from telemetry.blocks import Blocks, roots
from telemetry.capacity import CapacityTrace
from telemetry.joins import Joins
from telemetry.trace import Trace, TraceMeta

META = TraceMeta(name="small")


def policy(name, engine="interpreted"):
    return load_policy(verify(HOSTILE[name], name), engine=engine)


@dataclass(frozen=True)
class World:
    setup: Setup
    kv_blocks: int


def world(seed: int, **changes: Any) -> World:
    """A random small simulation; equal seeds give equal worlds."""
    rng = np.random.default_rng(seed)
    trace, cluster = random_trace(rng), random_cluster(rng)
    cluster = with_predictor(cluster, np.random.default_rng([seed, 1]))
    cluster = with_classes(cluster, np.random.default_rng([seed, 2]))
    capacity = random_capacity(rng, cluster) if rng.random() < 0.5 else None
    cluster = with_transfers(cluster, np.random.default_rng([seed, 34]))
    cluster = with_samples(cluster, np.random.default_rng([seed, 3]))
    cluster = with_plans(cluster, np.random.default_rng([seed, 56]))
    cluster = with_signals(cluster, np.random.default_rng([seed, 58]))
    capacity = with_failures(capacity, np.random.default_rng([seed, 57]))
    setup = Setup(
        trace, cluster, capacity, "backlog" if rng.random() < 0.25 else "open", seed % 1000,
        float(rng.choice([12.0, 60.0, 300.0])),
    )  # fmt: skip
    setup = replace(setup, **changes)
    return World(setup, scarce_blocks(setup.trace, np.random.default_rng([seed, 9])))


def with_signals(cluster, rng):
    """Every other world is seen through a door that does not tell everything."""
    if rng.random() < 0.5:
        return cluster
    return cluster.seen_by(str(rng.choice(signal_profile_names())))


def scarce_blocks(trace, rng):
    """KV blocks for the longest request and not many more, mostly; some worlds have plenty."""
    longest = int((trace.prompt_tokens + trace.output_tokens).max()) // 16 + 1
    factor = rng.choice([0.8, 1.1, 1.1, 1.6, 1.6, 2.5, 20.0])
    return max(int(factor * longest) + int(rng.integers(0, 4)), 4)


def random_trace(rng):
    n = int(rng.integers(1, 60))
    after = np.where(rng.random(n) < 0.3, rng.integers(-1, np.arange(n) + 1) - 1, -1)
    after = np.clip(after, -1, np.arange(n) - 1)
    prompt = rng.integers(1, rng.choice([40, 400, 1000]), n)
    width = int(rng.choice([16, 32, 64]))
    session = np.where(rng.random(n) < 0.5, rng.integers(0, 1 + n // 3, n), -1)
    turn = np.array([int((session[:k] == session[k]).sum()) for k in range(n)])
    splits = rng.integers(1, 8, n + 3)
    chains = [  # a beginning that some share, then blocks of a session's or a request's own
        [(c % 3 if d < splits[c] else 100 + c, d) for d in range(40)] for c in range(n + 3)
    ]
    which = np.where(session >= 0, session, rng.integers(0, n + 3, n))
    rows = [chains[which[k]][: p // width] for k, p in enumerate(prompt)]
    codes = {key: k for k, key in enumerate(sorted({x for row in rows for x in row}))}
    counts = np.array([len(row) for row in rows])
    ids = np.array([codes[x] for row in rows for x in row], np.int64)
    blocks = Blocks(np.concatenate([[0], np.cumsum(counts)]), ids, width)
    tree = roots(after)
    joins = [[p for p in range(r) if tree[p] == tree[r] and rng.random() < 0.2] for r in range(n)]
    return Trace.of(
        META,
        arrival_s=np.sort(np.round(rng.random(n) * rng.choice([0.5, 5.0, 20.0]), 2)),
        prompt_tokens=prompt,
        output_tokens=rng.integers(1, rng.choice([3, 60, 120]), n),
        tenant=rng.integers(0, 3, n),
        online=rng.random(n) < 0.7,
        session=session,
        turn=np.where(session >= 0, turn, 0),
        after=after,
        think_s=np.where(after >= 0, rng.random(n) * 2.0, 0.0),
        blocks=blocks if rng.random() < 0.7 else None,
        joins=Joins.of_lists(joins),
        span_s=25.0,
    )


def random_cluster(rng):
    def one(*values):
        return values[rng.integers(len(values))]

    pools = [{"gpu": "A100", "count": int(rng.integers(1, 4)), "node_size": 2}]
    pools.append({"gpu": "L40S", "count": int(rng.integers(1, 4)), "spot": True})
    cluster = ClusterSpec.model_validate(
        {
            "model": "Llama-3.1-8B",
            "pool": pools,
            "engine": {
                "max_num_batched_tokens": one(16, 64, 512),
                "max_num_seqs": one(1, 4, 9, 20),
                "scheduler_reserve_full_isl": one(True, False),
            },
            "tick": {
                "monitoring_s": one(0.7, 3.0), "rekey_s": one(0.05, 0.3), "max_hold_s": one(0.2, 5),
            },
            "router": {"count": one(1, 2, 3), "signal_age_s": one(0.0, 0.05, 1.0)},
            "switch": {
                "start_s": one(0.0, 2.0), "drain_s": one(0.0, 1.0, 9.0), "grace_s": one(0.0, 1.0),
                "load_share": 20.0,
            },
            "price": {
                "fuel_ns": one(2.0, 5000.0), "planner_s": one(0.5, 2.0),
                "decision_fuel": one(2000, 60_000, 60_000),
            },
        }
    )  # fmt: skip
    return with_engine(cluster, rng)


def with_engine(cluster, rng):
    """Swap, pipelines, speculation, fine-tuning and uneven lengths, each on or off."""

    def one(*values):
        return values[rng.integers(len(values))]

    engine = {
        "preemption": one("recompute", "swap", "swap", "swap"),
        "swap_space_bytes": one(0.0, 3e7, 4e9, 4e9),
        "max_pipeline_parallel_size": one(1, 2, 2), "pipeline_hop_s": one(0.0, 1e-3),
        "length_spread": one(0.0, 0.3, 1.0),
    }  # fmt: skip
    deepest = one(0, 3)
    speculation = {
        "max_depth": deepest, "depth": one(0, deepest), "acceptance": one(0.0, 0.6, 1.0),
        "draft_share": one(0.0, 0.1),
    }  # fmt: skip
    finetune = one(None, {"share": one(0.0, 0.3), "kv_share": 0.1})
    asked = cluster.model_dump()
    asked["engine"] |= engine
    asked |= {"speculation": speculation, "finetune": finetune, "tick": asked["tick"]}
    asked["tick"]["control_s"] = one(0.35, 1.7)
    return ClusterSpec.model_validate(asked)


def with_predictor(cluster, rng):
    predictor = PredictorSpec(
        mode=rng.choice(["noisy", "noisy", "history", "none"]), bias=rng.choice([1.0, 0.4, 3.0]),
        workflow_sigma=rng.choice([0.5, 0.0, None]),
    )  # fmt: skip
    return cluster.model_copy(update={"predictor": predictor})


def with_classes(cluster, rng):
    classes = [
        ClassSpec(
            name=f"c{k}", tenants=("t0",) * int(rng.integers(2)), prompt_max_tokens=300 * k + 100,
            online=rng.choice([None, True]), weight=k + 1.0, offline=rng.choice([None, True]),
            deadline_s=rng.choice([0.05, 0.5, 5.0]), drop_late=bool(rng.random() < 0.7),
            max_hold_s=rng.choice([None, 0.3, 9.0]),
        )
        for k in range(int(rng.integers(0, 5)))
    ]  # fmt: skip
    return cluster.model_copy(update={"classes": tuple(classes)})


def with_transfers(cluster, rng):
    """Roles, slow and fast links, and drains by moving, at random."""
    network = {
        "bytes_per_s": float(rng.choice([2e7, 2e8, 5e10])), "latency_s": rng.choice([0.0, 0.03]),
        "keep_s": rng.choice([0.5, 480.0]),
    }  # fmt: skip
    roles = [("mixed",) * 2, ("prefill", "decode"), ("prefill", "mixed"), ("mixed", "decode")]
    pair = roles[rng.integers(4)]
    stages = [int(rng.choice([1, min(pool.count, 2)])) for pool in cluster.pool]
    stages = [min(pp, cluster.engine.max_pipeline_parallel_size) for pp in stages]
    replicas = [
        {
            "pool": k,
            "tp": 1,
            "pp": stages[k],
            "role": pair[k],
            "count": int(rng.integers(1, pool.count // stages[k] + 1)),
        }
        for k, pool in enumerate(cluster.pool)
    ]
    changed = cluster.model_dump() | {"network": network}
    changed["switch"]["move_running"] = bool(rng.random() < 0.5)
    changed["tick"]["migration_s"] = float(rng.choice([0.05, 0.5]))
    if rng.random() < 0.7:
        changed["replica"] = replicas
    return ClusterSpec.model_validate(changed)


def with_samples(cluster, rng):
    """Parallel samples in every second world."""
    count = int(rng.integers(2, 7))
    samples = SamplesSpec(
        count=count, needed=int(rng.integers(1, count + 1)),
        check_every_tokens=int(rng.choice([1, 4, 16])), length_sigma=float(rng.random()),
        classes=("online",) if rng.random() < 0.3 else (),
    )  # fmt: skip
    if rng.random() < 0.5:
        return cluster
    # they run on mixed replicas that recompute what they preempt
    mixed = tuple(entry.model_copy(update={"role": "mixed"}) for entry in cluster.replica)
    engine = cluster.engine.model_copy(update={"preemption": "recompute"})
    changed = {"samples": samples, "replica": mixed, "engine": engine}
    return cluster.model_copy(update=changed)


def random_capacity(rng, cluster):
    nodes, events = cluster.pool[1].count, int(rng.integers(1, 8))
    trace = CapacityTrace.of(
        META, "availability", span_s=60.0, initial_up=rng.random(nodes) < 0.8,
        time_s=np.round(rng.random(events) * 15.0, 1), node=rng.integers(0, nodes, events),
        up=rng.random(events) < 0.5,
    )  # fmt: skip
    return Pairing(trace, 1, 1)


def with_plans(cluster, rng):
    """Weights from the nearest copy, flips, slow detection, a second zone, pools that grow."""
    switch = {"detect_s": float(rng.choice([0.0, 0.3, 4.0])), "flip_s": float(rng.choice([0, 0.7]))}
    if rng.random() < 0.7:
        switch["storage_bytes_per_s"] = float(rng.choice([5e9, 4e10]))
    pools = [pool.model_dump() for pool in cluster.pool]
    if rng.random() < 0.6:
        pools[1] |= {"elastic": True, "max_count": pools[1]["count"] + int(rng.integers(0, 3))}
        pools[1] |= {"provision_s": float(rng.choice([0.0, 0.9, 3.0])), "price_usd_per_hour": 0.7}
    pools[1] |= {"zone": 1}
    if rng.random() < 0.4:
        pools.append({"gpu": "A100", "count": 1, "zone": 1})
    changed = {"switch": cluster.switch.model_dump() | switch, "pool": pools}
    return ClusterSpec.model_validate(cluster.model_dump() | changed)


def with_failures(capacity, rng):
    """Some losses come without notice, some traces hit all pools of a zone."""
    if capacity is None:
        return None
    trace = capacity.trace
    sudden = (rng.random(len(trace.up)) < 0.5) & ~trace.up
    if rng.random() < 0.3:
        ones = np.ones(trace.nodes, np.int32)
        trace = replace(trace, zone=ones, zones=("z0", "z1"))
        return Pairing(replace(trace, unannounced=sudden), None, 1)
    return replace(capacity, trace=replace(trace, unannounced=sudden))


def prepared(small: World, loaded):
    """The simulation's rows with a KV cache small enough to run out."""
    sim = build(replace(small.setup, debug=True), loaded, default_policy())
    shapes = sim.shapes.copy()
    shapes["kv_blocks"], shapes["kv_tokens"] = small.kv_blocks, small.kv_blocks * 16
    return sim._replace(shapes=shapes)


def run(small: World, loaded, events=100_000):
    """Run to the end; the rows afterwards, None when no plan fits."""
    sim = prepared(small, loaded)
    program = Program(sim)
    if not program.start():
        return None
    while program.run(events):
        pass
    assert sim.totals["broken"][0] == 0
    return sim


def stepped(small: World, loaded):
    """The rows after every single event."""
    sim = prepared(small, loaded)
    program = Program(sim)
    if program.start():
        while program.run(1):
            yield sim


FATE = ("entered", "first", "finish", "state", "preempted", "held", "done", "keyed", "moved")
COUNTED = (
    "finished", "rejected", "preemptions", "fuel", "decisions", "plans", "faults",
    "first_fault", "reconfigurations", "cached_tokens", "price_usd", "loading_ps", "blocked_ps",
    "drain_ps", "recomputed", "flips", "failures",
    "gpu_ps", "integrated", "deciding_ps", "planning_ps", "migrations", "moves_refused",
    "kv_moved", "transfers", "transfer_ps",
    "swaps", "finetune_ps",
)  # fmt: skip


def fate(sim):
    """All that became of the requests and the run, as something that can be compared."""
    if sim is None:
        return None
    rows = {name: sim.requests[name].tolist() for name in FATE}
    ended = np.isin(sim.requests["state"], (state.FINISHED, state.REJECTED))
    # how far a decode run that was cut off by the end had come is not brought up to date
    rows["done"] = np.where(ended, sim.requests["done"], -1).tolist()
    done = sim.requests["state"] == state.FINISHED
    rows["behind"] = np.where(done, sim.requests["behind"], -1).tolist()
    rows["phases"] = sim.totals["phase_ps"][0].tolist()
    return rows | {name: sim.totals[name][0].item() for name in COUNTED}
