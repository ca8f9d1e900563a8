"""The toolkit: functions that every policy may call, one implementation for both engines.

All are total: their value outside the usual domain is stated. The first parameter, `frame`, is
added by the lowering; a policy writes `add_replica(new_plan, pool, tp, pp, role)`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from sandbox import contract
from sandbox.arithmetic import Frame, add, charge, mul, require, vector
from sandbox.contract import MAX_CLASSES, MAX_REPLICAS, MAX_RUNNING
from sandbox.frame import INDEX, NOT_A_NUMBER, OTHER, OVERFLOW

INF = math.inf

# To the type checker a row is anything; the annotation tells the verifier which record it is.
Request = Annotated[Any, contract.Request]
Instance = Annotated[Any, contract.Instance]
Cluster = Annotated[Any, contract.Cluster]
Plan = Annotated[Any, contract.Plan]
Replica = Annotated[Any, contract.Replica]
Moves = Annotated[Any, contract.Moves]
Running = Annotated[Any, contract.Running]
Entry = Annotated[Any, contract.Entry]
Branch = Annotated[Any, contract.Branch]
READABLE, WRITABLE = "readable floats", "writable floats"
Floats = Annotated[Any, READABLE]
NewFloats = Annotated[Any, WRITABLE]

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN = 0x9E37_79B9_7F4A_7C15
_LENGTH_LIMIT = 2_147_483_648


def is_missing(x: float) -> bool:
    """True for NaN, which is how a missing signal reads."""
    return x != x


def sqrt(x: float) -> float:
    """Square root; 0 below 0."""
    return math.sqrt(x) if not x < 0.0 else 0.0


def exp(x: float) -> float:
    """Exponential; x is held to -700 .. 700."""
    return math.exp(min(max(x, -700.0), 700.0)) if x == x else x


def log(x: float) -> float:
    """Natural logarithm; -745 at or below 0."""
    if x != x or x == math.inf:
        return x
    return math.log(x) if x > 0.0 else -745.0


def floor(frame: Frame, x: float) -> int:
    """Largest integer not above x; raises on NaN and beyond 2**53."""
    require(frame, x == x, NOT_A_NUMBER)
    require(frame, -9_007_199_254_740_992.0 <= x <= 9_007_199_254_740_992.0, OVERFLOW)
    return math.floor(x)


def ceil(frame: Frame, x: float) -> int:
    """Smallest integer not below x; raises on NaN and beyond 2**53."""
    return -floor(frame, -x)


def clip(x: float, low: float, high: float) -> float:
    """low if x < low, high if x > high, else x."""
    if x < low:
        return low
    return high if x > high else x


def ratio(a: float, b: float, otherwise: float) -> float:
    """a / b, or `otherwise` when b is zero or either is NaN."""
    if a != a or b != b or b == 0.0:
        return otherwise
    return a / b


def random01(seed: int, k: int) -> float:
    """Uniform in [0, 1), the k-th draw of a seed: equal wherever it runs."""
    z = _mix64((_mix64(seed & _MASK) + (k + 1) * _GOLDEN) & _MASK)
    return float(z >> 11) * 2.0**-53


def _mix64(z: int) -> int:
    """SplitMix64's finaliser on 64 bits (Steele, Lea and Flood, 2014)."""
    z = ((z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return z ^ (z >> 31)


def order(frame: Frame, values: Floats, n: int) -> NewFloats:
    """Positions (floats; use int()) that sort the first n values ascending, stable, NaN last."""
    require(frame, 0 <= n <= len(values), INDEX)
    levels = 0
    while (1 << levels) < n:
        levels += 1
    charge(frame, n * (levels + 1))
    source = vector(frame, n)
    target = vector(frame, n)
    for i in range(n):
        source[i] = float(i)
    width = 1
    while width < n:
        _merge_runs(values, source, target, n, width)
        source, target = target, source
        width *= 2
    return source


def _merge_runs(values: Floats, source: Floats, target: NewFloats, n: int, width: int) -> None:
    """One pass of a merge sort: neighbouring sorted runs of `width` positions become one."""
    for start in range(0, n, 2 * width):
        middle = min(start + width, n)
        stop = min(start + 2 * width, n)
        left, right = start, middle
        for place in range(start, stop):
            take_right = left >= middle
            if not take_right and right < stop:
                a, b = values[int(source[left])], values[int(source[right])]
                take_right = b < a or (a != a and b == b)
            if take_right:
                target[place] = source[right]
                right += 1
            else:
                target[place] = source[left]
                left += 1


def step_time_s(instance: Instance, batch: float, context_tokens: float) -> float:
    """Modelled decode step of this instance at another batch size and total context."""
    return float(
        instance.step_base_s
        + instance.step_per_seq_s * batch
        + instance.step_per_context_s * context_tokens
    )


def prefill_time_s(instance: Instance, tokens: float) -> float:
    """Modelled time to compute that many prompt tokens alone; infinite without a speed."""
    if instance.prefill_tokens_per_s > 0.0:
        return float(tokens / instance.prefill_tokens_per_s)
    return math.inf if tokens > 0.0 else 0.0


def completion_s(request: Request, instance: Instance) -> float:
    """Predicted time to this request's last token if it goes there now.

    The wait for a seat when the batch is full (each departure frees one), the prefill of what is
    queued, running and its own uncached prompt, then its predicted output (256 tokens without a
    prediction) at the step time of the batch it will be in.
    """
    own = float(request.prompt_tokens) - float(instance.cached_prefix_tokens)
    waiting = float(instance.queued_prompt_tokens) + float(instance.prefill_backlog_tokens)
    output = request.predicted_output_tokens - float(request.done_tokens)
    if request.predicted_output_tokens != request.predicted_output_tokens:
        output = 256.0
    others = float(max(instance.running_requests, 0)) + float(max(instance.queued_requests, 0))
    seats = float(instance.max_num_seqs) if instance.max_num_seqs > 0 else others + 1.0
    batch = min(others + 1.0, seats)
    context = float(instance.context_tokens) + float(request.prompt_tokens)
    step = step_time_s(instance, batch, context)
    rest = instance.predicted_remaining_tokens
    if rest != rest:
        rest = 128.0 * others
    each = rest / others if others > 0.0 else 0.0
    seat: float = max(others + 1.0 - seats, 0.0) * each * step / seats
    decode: float = max(output, 1.0) * step
    return seat + prefill_time_s(instance, max(own, 0.0) + waiting) + decode


def find_shape(frame: Frame, cluster: Cluster, pool: int, tp: int, pp: int) -> int:
    """Index into cluster.shapes, -1 when there is none."""
    charge(frame, 1 + cluster.n_shapes)
    for k in range(cluster.n_shapes):
        shape = cluster.shapes[k]
        if shape.pool == pool and shape.tp == tp and shape.pp == pp:
            return k
    return -1


def serving_rate_rps(frame: Frame, cluster: Cluster, plan: Plan) -> float:
    """Sum of `rate_rps` of the shapes of a plan's replicas; unknown shapes add nothing."""
    total = 0.0
    for k in range(plan.n_replicas):
        replica = plan.replicas[k]
        shape = find_shape(frame, cluster, replica.pool, replica.tp, replica.pp)
        if shape >= 0:
            total += cluster.shapes[shape].rate_rps
    return total


def switch_cost_s(frame: Frame, cluster: Cluster, plan: Plan, new_plan: Plan) -> float:
    """Longest `start_s` among replicas of new_plan that plan does not have.

    Replicas match by pool, TP and PP, each at most once; a change of role alone costs nothing.
    """
    longest = 0.0
    charge(frame, 2 * new_plan.n_replicas * (plan.n_replicas + new_plan.n_replicas))
    for k in range(new_plan.n_replicas):
        replica = new_plan.replicas[k]
        earlier = _count_like(new_plan, replica, k)
        if earlier >= _count_like(plan, replica, plan.n_replicas):
            shape = find_shape(frame, cluster, replica.pool, replica.tp, replica.pp)
            if shape >= 0 and cluster.shapes[shape].start_s > longest:
                longest = cluster.shapes[shape].start_s
    return longest


def _count_like(plan: Plan, replica: Replica, first: int) -> int:
    """How many of a plan's first replicas have this one's pool, TP and PP."""
    count = 0
    for k in range(first):
        other = plan.replicas[k]
        if other.pool == replica.pool and other.tp == replica.tp and other.pp == replica.pp:
            count += 1
    return count


def plan_gpus(frame: Frame, plan: Plan, pool: int) -> int:
    """GPUs of a pool that the plan uses; raises beyond 2**53, which no real plan reaches."""
    charge(frame, plan.n_replicas)
    total = 0
    for k in range(plan.n_replicas):
        replica = plan.replicas[k]
        if replica.pool == pool:
            total = add(frame, total, mul(frame, replica.tp, replica.pp))
    return total


def add_replica(frame: Frame, new_plan: Plan, pool: int, tp: int, pp: int, role: int) -> int:
    """Append a replica that takes all lengths and classes; its index, or -1 when the plan is full.

    Raises on TP or PP outside 1 .. 64, an unknown role, or a pool outside 0 .. 15.
    """
    require(frame, 1 <= tp <= 64 and 1 <= pp <= 64, OTHER)
    require(frame, 0 <= role <= 2 and 0 <= pool < 16, OTHER)
    index = new_plan.n_replicas
    if index >= MAX_REPLICAS:
        return -1
    charge(frame, MAX_CLASSES)
    replica = new_plan.replicas[index]
    replica.pool = pool
    replica.tp = tp
    replica.pp = pp
    replica.role = role
    replica.length_low_tokens = 0
    replica.length_high_tokens = _LENGTH_LIMIT
    replica.instance = -1
    replica.ready = False
    replica.queued_requests = 0
    replica.running_requests = 0
    replica.kv_used = 0.0
    replica.rate_rps = 0.0
    for class_id in range(MAX_CLASSES):
        replica.share[class_id] = 1.0
    new_plan.n_replicas = index + 1
    return int(index)


def set_lengths(
    frame: Frame, new_plan: Plan, index: int, low_tokens: int, high_tokens: int
) -> None:
    """Give a replica the requests whose length lies in low .. high."""
    require(frame, 0 <= index < new_plan.n_replicas, INDEX)
    replica = new_plan.replicas[index]
    replica.length_low_tokens = max(0, min(low_tokens, _LENGTH_LIMIT))
    replica.length_high_tokens = max(0, min(high_tokens, _LENGTH_LIMIT))


def set_share(frame: Frame, new_plan: Plan, index: int, class_id: int, share: float) -> None:
    """Give a replica this share (held to 0 .. 1) of a class of traffic."""
    require(frame, 0 <= index < new_plan.n_replicas, INDEX)
    require(frame, 0 <= class_id < MAX_CLASSES, INDEX)
    require(frame, share == share, NOT_A_NUMBER)
    new_plan.replicas[index].share[class_id] = max(0.0, min(share, 1.0))


def keep_plan(frame: Frame, new_plan: Plan, plan: Plan) -> None:
    """Copy the present plan into new_plan and say that nothing changes."""
    charge(frame, 16 * plan.n_replicas)
    for k in range(plan.n_replicas):
        _copy_replica(plan.replicas[k], new_plan.replicas[k])
    new_plan.n_replicas = plan.n_replicas
    new_plan.keep = True


def drop_replica(frame: Frame, new_plan: Plan, index: int) -> None:
    """Remove one replica; later ones move up."""
    require(frame, 0 <= index < new_plan.n_replicas, INDEX)
    charge(frame, 16 * new_plan.n_replicas)
    for k in range(index, new_plan.n_replicas - 1):
        _copy_replica(new_plan.replicas[k + 1], new_plan.replicas[k])
    new_plan.n_replicas -= 1


def _copy_replica(source: Replica, target: Replica) -> None:
    """Copy every field; plain assignment would alias in one engine and copy in the other."""
    target.pool = source.pool
    target.tp = source.tp
    target.pp = source.pp
    target.role = source.role
    target.length_low_tokens = source.length_low_tokens
    target.length_high_tokens = source.length_high_tokens
    target.instance = source.instance
    target.ready = source.ready
    target.queued_requests = source.queued_requests
    target.running_requests = source.running_requests
    target.kv_used = source.kv_used
    target.rate_rps = source.rate_rps
    for class_id in range(MAX_CLASSES):
        target.share[class_id] = source.share[class_id]


def want_gpus(frame: Frame, cluster: Cluster, pool: int, count: int) -> None:
    """Ask an elastic pool for that many GPUs."""
    require(frame, 0 <= pool < cluster.n_pools, INDEX)
    require(frame, 0 <= count <= 1_000_000, OTHER)
    cluster.pools[pool].wanted = count


def add_move(moves: Moves, running: Running, instance_id: int) -> bool:
    """Choose a migration; False when the list is full."""
    index = moves.n_rows
    if index >= MAX_RUNNING:
        return False
    move = moves.rows[index]
    move.request = running.request
    move.instance = instance_id
    moves.n_rows = index + 1
    return True


def bring_in(entry: Entry) -> None:
    """Bring this prefix or adapter in early."""
    entry.wanted = True


def prune(branch: Branch) -> None:
    """Stop this parallel sample."""
    branch.pruned = True


def set_token_budget(instance: Instance, tokens: int) -> None:
    """Ask for a token budget per step, held to 16 .. 65,536."""
    instance.knob_token_budget = max(16, min(tokens, 65_536))


def set_speculation(instance: Instance, depth: int) -> None:
    """Ask for a speculation depth, held to 0 .. 16."""
    instance.knob_speculation = max(0, min(depth, 16))


def set_offline_share(frame: Frame, instance: Instance, share: float) -> None:
    """Ask for a share of the step for offline work, held to 0 .. 1."""
    require(frame, share == share, NOT_A_NUMBER)
    instance.knob_offline_share = max(0.0, min(share, 1.0))


def set_finetune_share(frame: Frame, instance: Instance, share: float) -> None:
    """Ask for a share of the GPU for fine-tuning, held to 0 .. 0.9."""
    require(frame, share == share, NOT_A_NUMBER)
    instance.knob_finetune_share = max(0.0, min(share, 0.9))
