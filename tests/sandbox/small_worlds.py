"""Small random simulations, hostile policies for them, and a stepper that stops at every event."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sandbox import contract
from sandbox.capacity import Pairing
from sandbox.cluster import ClusterSpec
from sandbox.engine import load_policy
from sandbox.kernel import state
from sandbox.kernel.program import Program
from sandbox.replay import default_policy
from sandbox.request_spec import ClassSpec, PredictorSpec, SamplesSpec
from sandbox.simulation import Setup, build
from sandbox.verifier import verify
from telemetry.blocks import Blocks, roots
from telemetry.capacity import CapacityTrace
from telemetry.joins import Joins
from telemetry.trace import Trace, TraceMeta

META = TraceMeta(name="small")


def _sum_of(record, row, skip=()):
    """Source text that adds up every number a record has, missing ones left out."""
    lines = []
    for name, kind in record.__annotations__.items():
        if kind == "int" and name not in skip:
            lines.append(f"    total = 0.75 * total + {row}.{name}")
        elif kind == "float" and name not in skip:
            lines.append(f"    total = add(total, {row}.{name})")
    return "\n".join(lines)


ADD = '''"""Looks at every number there is."""


def add(total, value):
    return total if is_missing(value) else 0.75 * total + value


'''
LOOK = f"""def about(request):
    total = 0.0
{_sum_of(contract.Request, "request")}
    return total


def look(total, inst):
{_sum_of(contract.Instance, "inst", skip=("knob_token_budget", "knob_speculation"))}
    return total - floor(total)


"""
CURIOUS = (
    ADD
    + LOOK
    + """def route(request, instances, memory):
    best, least, total = HOLD, 0.9, about(request)
    for inst in instances:
        value = look(total, inst)
        if value < least:
            best, least = inst.id, value
    if least < 0.005:
        return REJECT
    return best


def priority(request, instance, memory):
    memory[0] += 1.0
    return look(about(request), instance)


def evict(entry, instance, memory):
    memory[2] += 1.0
    total = look(0.01 * entry.age_s + 0.3 * entry.tokens + 0.7 * entry.hits, instance)
    return total + 0.1 * entry.users + 0.001 * entry.depth_tokens


def admit(request, instance, memory):
    memory[1] += 1.0
    turn = 0.1 * memory[1]
    return look(about(request), instance) + turn - floor(turn) < 1.2


"""
    + f"""def route_decode(request, instances, memory):
    best, least, total = HOLD, 0.95, about(request)
    for inst in instances:
        value = look(total, inst)
        if value < least:
            best, least = inst.id, value
    return best


def migrate(running, instances, moves, memory):
    total = 0.0
    for inst in instances:
        total = look(total, inst)
    for row in running:
{_sum_of(contract.Running, "row").replace("    total", "        total")}
        total -= floor(total)
        for inst in instances:
            if total + 0.1 * inst.running_requests < 0.3 and row.instance != inst.id:
                add_move(moves, row, inst.id)


def tune(instance, memory):
    value = look(memory[2], instance)
    memory[2] += value
    if value < 0.6:
        set_token_budget(instance, int(value * 200.0))
        set_speculation(instance, int(value * 8.0))
    if value > 0.4:
        set_offline_share(instance, 2.0 * value - 1.0)
        set_finetune_share(instance, value)


def situation(window, cluster, plan):
    total = 0.0
{_sum_of(contract.Window, "window")}
{_sum_of(contract.Cluster, "cluster")}
    for row in window.classes:
        total = add(total, row.queue_mean_s)
        total = add(total, row.ttft_mean_s)
        total = add(total, float(row.queued_requests))
    for replica in plan.replicas:
        total = add(total, replica.kv_used)
        total = add(total, float(replica.running_requests))
    return total - floor(total)


def should_reschedule(window, cluster, plan, memory):
    memory[0] = situation(window, cluster, plan)
    return memory[0] < 0.5


def schedule(window, cluster, plan, new_plan, memory):
    for index, shape in enumerate(cluster.shapes):
        free = cluster.pools[shape.pool].present - plan_gpus(new_plan, shape.pool)
        if memory[0] * 4.0 - index > -1.0 and free >= shape.gpus:
            role = int(memory[0] * 6.0 + index) % 3
            add_replica(new_plan, shape.pool, shape.tp, shape.pp, role)
"""
)
BRANCHES = """

def branches(request, branches, memory):
    total = 0.0
    for branch in branches:
        total = add(total, branch.score) + 0.1 * branch.done_tokens + 0.01 * branch.index
        if total - floor(total) < 0.2 and not branch.finished:
            prune(branch)
    return int(6.0 * (total - floor(total))) if len(branches) > 0 else request.branch_count - 1
"""
ROUTE = '"""One line."""\n\n\ndef route(request, instances, memory):\n    return '
HOSTILE = {
    "holds": ROUTE + "HOLD\n",
    "rejects": ROUTE + "REJECT if request.prompt_tokens > 300 else instances[0].id\n",
    "garbage": ROUTE + "request.seed - 77\n",
    "divides": ROUTE + "1 // (request.prompt_tokens - request.prompt_tokens)\n",
    "burns": '"""Never done."""\n\n\ndef route(request, instances, memory):\n    total = 0\n'
    "    for a in range(100):\n        for b in range(30):\n            total += a * b\n"
    "    return instances[total % len(instances)].id\n",
    "starves": '"""Lets nobody in."""\n\n\n'
    "def admit(request, instance, memory):\n    return False\n",
    "flips": '"""Another plan each time, good or bad."""\n\n\n'
    "def should_reschedule(window, cluster, plan, memory):\n    return True\n\n\n"
    "def schedule(window, cluster, plan, new_plan, memory):\n    memory[0] += 1.0\n"
    "    for k in range(int(memory[0]) % 7):\n"
    "        add_replica(new_plan, k % 2, 1, 1, (k + int(memory[0])) % 3)\n",
    "buys": '"""Wants another number of GPUs each time, and plans with what is there."""\n\n\n'
    "def should_reschedule(window, cluster, plan, memory):\n    return True\n\n\n"
    "def schedule(window, cluster, plan, new_plan, memory):\n    memory[0] += 1.0\n"
    "    turn = int(memory[0])\n"
    "    for pool in range(len(cluster.pools)):\n"
    "        want_gpus(cluster, pool, (turn * 3 + pool) % 5)\n"
    "        for k in range(max(cluster.pools[pool].present - turn % 2, 0)):\n"
    "            index = add_replica(new_plan, pool, 1, 1, MIXED)\n"
    "            set_lengths(new_plan, index, turn % 3 * k, 1000 + k)\n",
    "moves": '"""Everything moves all the time, some of it nowhere."""\n\n\n'
    "def migrate(running, instances, moves, memory):\n    memory[0] += 1.0\n"
    "    for k in range(len(running)):\n"
    "        there = instances[(k + int(memory[0])) % len(instances)].id\n"
    "        add_move(moves, running[k], 999 if k == 7 else there)\n\n\n"
    "def route_decode(request, instances, memory):\n    memory[0] += 1.0\n"
    "    if int(memory[0]) % 3 == 0:\n        return HOLD\n"
    "    return instances[int(memory[0]) % len(instances)].id\n",
    "twists": '"""Turns every knob, too far."""\n\n\ndef tune(instance, memory):\n'
    "    memory[0] += 1.0\n    wild = random01(instance.id, int(memory[0]))\n"
    "    set_token_budget(instance, int(wild * 9000.0) - 50)\n"
    "    set_speculation(instance, int(wild * 19.0) - 1)\n"
    "    set_offline_share(instance, 1.4 * wild - 0.2)\n"
    "    set_finetune_share(instance, 1.4 * wild - 0.2)\n"
    "    if wild > 0.9:\n        memory[1] = 1.0 / (wild - wild)\n",
    "deep": '"""Pipelines where there are any, and speculation in them."""\n\n\n'
    "def should_reschedule(window, cluster, plan, memory):\n    return True\n\n\n"
    "def schedule(window, cluster, plan, new_plan, memory):\n    memory[0] += 1.0\n"
    "    for shape in cluster.shapes:\n"
    "        free = cluster.pools[shape.pool].present - plan_gpus(new_plan, shape.pool)\n"
    "        if free >= shape.gpus and (shape.pp > 1 or int(memory[0]) % 4 == 0):\n"
    "            add_replica(new_plan, shape.pool, shape.tp, shape.pp, MIXED)\n\n\n"
    "def priority(request, instance, memory):\n    return random01(request.seed, 7)\n\n\n"
    "def tune(instance, memory):\n    memory[0] += 1.0\n"
    "    set_speculation(instance, int(memory[0]) % 4)\n",
    "curious": CURIOUS + BRANCHES,
    "prunes": '"""Prunes all there is."""\n\n\n'
    "def branches(request, branches, memory):\n    for branch in branches:\n"
    "        prune(branch)\n    return 3\n",
}


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
    capacity = with_failures(capacity, np.random.default_rng([seed, 57]))
    setup = Setup(
        trace, cluster, capacity, "backlog" if rng.random() < 0.25 else "open", seed % 1000,
        float(rng.choice([12.0, 60.0, 300.0])),
    )  # fmt: skip
    return World(replace(setup, **changes), int(rng.choice([70, 90, 140, 400])))


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
                "max_num_seqs": one(1, 3, 20),
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
        "preemption": one("recompute", "swap"), "swap_space_bytes": one(0.0, 3e7, 4e9),
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
    replicas = [
        {"pool": k, "tp": 1, "count": int(rng.integers(1, pool.count + 1)), "role": pair[k]}
        for k, pool in enumerate(cluster.pool)
    ]
    changed = cluster.model_dump() | {"network": network}
    changed["switch"]["move_running"] = bool(rng.random() < 0.5)
    changed["tick"]["migration_s"] = float(rng.choice([0.05, 0.5]))
    if rng.random() < 0.7:
        changed["replica"] = replicas
    return ClusterSpec.model_validate(changed)
def with_samples(cluster, rng):
    count = int(rng.integers(1, 6))
    samples = SamplesSpec(
        count=count, needed=int(rng.integers(1, count + 1)),
        check_every_tokens=int(rng.choice([1, 7, 30])), length_sigma=float(rng.random()),
        classes=("online",) if rng.random() < 0.5 else (),
    )  # fmt: skip
    apart = any(entry.role != "mixed" for entry in cluster.replica)
    apart = apart or cluster.engine.preemption == "swap"
    wanted = rng.random() < 0.5 and not apart
    return cluster.model_copy(update={"samples": samples if wanted else None})


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
    rows["phases"] = sim.totals["phase_ps"][0].tolist()
    return rows | {name: sim.totals[name][0].item() for name in COUNTED}
