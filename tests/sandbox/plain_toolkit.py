"""The toolkit as its documentation says it, in plain Python and without a frame.

A second writing of `sandbox/toolkit.py` for the reference in `plain_python.py`. Nothing here may
call the sandbox's own code.
"""

import math

import plain_language as language

from sandbox.contract import MAX_CLASSES, MAX_REPLICAS, MAX_RUNNING

INDEX, NOT_A_NUMBER, OTHER = language.INDEX, language.NOT_A_NUMBER, language.OTHER
Int, Numbers, need, whole = language.Int, language.Numbers, language.need, language.whole
LONGEST = 2**31


def floor(x: float):
    whole(x)
    return Int(math.floor(x))


def ceil(x: float):
    whole(x)
    return Int(math.ceil(x))


def is_missing(x: float):
    return math.isnan(x)


def sqrt(x: float):
    return 0.0 if x < 0 else math.sqrt(x)


def exp(x: float):
    return x if math.isnan(x) else math.exp(sorted((-700.0, x, 700.0))[1])


def log(x: float):
    if x <= 0:
        return -745.0
    return math.log(x)


def clip(x, low, high):
    if float in (type(x), type(low), type(high)):
        x, low, high = float(x), float(low), float(high)
    if x < low:
        return low
    return high if x > high else x


def ratio(a: float, b: float, otherwise: float):
    return otherwise if math.isnan(a) or math.isnan(b) or b == 0 else a / b


def mixed(z):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ z >> shift) * factor % 2**64
    return z ^ z >> 31


def random01(seed: int, k: int):
    z = mixed(int(seed) % 2**64) + (int(k) + 1) * 0x9E3779B97F4A7C15
    return (mixed(z % 2**64) >> 11) / 2**53


def step_time_s(instance, batch: float, context_tokens: float):
    each = instance.step_base_s + instance.step_per_seq_s * batch
    return each + instance.step_per_context_s * context_tokens


def prefill_time_s(instance, tokens: float):
    speed = instance.prefill_tokens_per_s
    if speed > 0:
        return tokens / speed
    return math.inf if tokens > 0 else 0.0


def positive(n):
    return float(max(n, 0))


def completion_s(request, instance):
    predicted = request.predicted_output_tokens
    output = 256.0 if math.isnan(predicted) else predicted - float(request.done_tokens)
    others = positive(instance.running_requests) + positive(instance.queued_requests)
    seats = float(instance.max_num_seqs) if instance.max_num_seqs > 0 else others + 1
    context = float(instance.context_tokens) + float(request.prompt_tokens)
    step = step_time_s(instance, others + 1 if others + 1 < seats else seats, context)
    rest = instance.predicted_remaining_tokens
    rest = 128.0 * others if math.isnan(rest) else rest
    each = rest / others if others > 0 else 0.0
    seat = (others + 1 - seats if others + 1 > seats else 0.0) * each * step / seats
    own = float(request.prompt_tokens) - float(instance.cached_prefix_tokens)
    ahead = float(instance.queued_prompt_tokens) + float(instance.prefill_backlog_tokens)
    prefill = prefill_time_s(instance, (own if own > 0 else 0.0) + ahead)
    return seat + prefill + (output if output >= 1 or output != output else 1.0) * step


def find_shape(cluster, pool: int, tp: int, pp: int):
    for place, shape in enumerate(cluster.shapes):
        if (shape.pool, shape.tp, shape.pp) == (pool, tp, pp):
            return place
    return -1


def shape_of(cluster, replica):
    place = find_shape(cluster, replica.pool, replica.tp, replica.pp)
    return cluster.shapes[place] if place >= 0 else None


def serving_rate_rps(cluster, plan):
    rate = 0.0
    for shape in [shape_of(cluster, replica) for replica in plan.replicas]:
        rate += shape.rate_rps if shape else 0.0
    return rate


def switch_cost_s(cluster, plan, new_plan):
    left = [(one.pool, one.tp, one.pp) for one in plan.replicas]
    longest = 0.0
    for replica in new_plan.replicas:
        like = (replica.pool, replica.tp, replica.pp)
        if like in left:
            left.remove(like)
            continue
        shape = shape_of(cluster, replica)
        longest = shape.start_s if shape and shape.start_s > longest else longest
    return longest


def plan_gpus(plan, pool: int):
    return language.total(Int(one.tp) * one.pp for one in plan.replicas if one.pool == pool)


def add_replica(new_plan, pool: int, tp: int, pp: int, role: int):
    need(1 <= tp <= 64 and 1 <= pp <= 64 and 0 <= role <= 2 and 0 <= pool <= 15, OTHER)
    index = len(new_plan.replicas)
    if index == MAX_REPLICAS:
        return -1
    new_plan.lengthen("replicas", index + 1)
    vars(new_plan.replicas[index]).update(
        pool=pool, tp=tp, pp=pp, role=role, length_low_tokens=0, length_high_tokens=LONGEST,
        share=Numbers([1.0] * MAX_CLASSES), instance=-1, ready=False, queued_requests=0,
        running_requests=0, kv_used=0.0, rate_rps=0.0,
    )  # fmt: skip
    return index


def set_lengths(new_plan, index: int, low_tokens: int, high_tokens: int):
    replica = new_plan.replicas[index]
    replica.length_low_tokens = sorted((0, low_tokens, LONGEST))[1]
    replica.length_high_tokens = sorted((0, high_tokens, LONGEST))[1]


def set_share(new_plan, index: int, class_id: int, share: float):
    replica = new_plan.replicas[index]
    need(0 <= class_id < MAX_CLASSES, INDEX)
    need(share == share, NOT_A_NUMBER)
    replica.share[class_id] = sorted((0.0, share, 1.0))[1]


def keep_plan(new_plan, plan):
    new_plan.lengthen("replicas", len(plan.replicas))
    for target, source in zip(new_plan.replicas, plan.replicas, strict=True):
        target.copy(source)
    new_plan.keep = True


def drop_replica(new_plan, index: int):
    rows = new_plan.replicas
    need(0 <= index < len(rows), INDEX)
    for place in range(index, len(rows) - 1):
        rows[place].copy(rows[place + 1])
    new_plan.lengthen("replicas", len(rows) - 1)


def want_gpus(cluster, pool: int, count: int):
    row = cluster.pools[pool]
    need(0 <= count <= 1_000_000, OTHER)
    row.wanted = count


def add_move(moves, running, instance_id: int):
    index = len(moves.rows)
    if index == MAX_RUNNING:
        return False
    moves.lengthen("rows", index + 1)
    moves.rows[index].request, moves.rows[index].instance = running.request, instance_id
    return True


def bring_in(entry):
    entry.wanted = True


def prune(branch):
    branch.pruned = True


def set_token_budget(instance, tokens: int):
    instance.knob_token_budget = sorted((16, tokens, 65_536))[1]


def set_speculation(instance, depth: int):
    instance.knob_speculation = sorted((0, depth, 16))[1]


def set_offline_share(instance, share: float):
    need(share == share, NOT_A_NUMBER)
    instance.knob_offline_share = sorted((0.0, share, 1.0))[1]


def set_finetune_share(instance, share: float):
    need(share == share, NOT_A_NUMBER)
    instance.knob_finetune_share = sorted((0.0, share, 0.9))[1]
