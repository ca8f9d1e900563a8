"""HexGen-3: annealed shares of GPUs per phase, replaced only if that is paid back in time.

Paper: HexGen-3 (ICML 2026, OpenReview fVG57FKBNp; its published code was read). Of one line with
HexGen-2 (arXiv 2502.07903).
Taken from the code: guided annealing moves blocks of GPUs from a kind of worker, by its throughput,
or from the idle ones, to another, by the inverse, with its temperatures and stopping rule; the
lesser throughput counts; a new plan is rejected unless its gain over the stability window, less the
reload, beats what the reload loses; use of capacity outside a band around 0.75 scales pools by at
most a factor of two, again until scaling would change nothing, before the plan is made.
Inferred: two kinds of workers, prefill and decode, each pool's GPUs of a kind in the shape that
does most; use as arrivals over what the plan sustains.
Left out: attention and feed-forward apart, experts, uneven parallelism, memoised plans.
"""

STABILITY_S = 300.0  # tune: 30 .. 3600
TARGET_USE = 0.75  # tune: 0.3 .. 0.95
BAND = 0.08  # tune: 0.01 .. 0.4
POLL_S = 40.0  # tune: 10 .. 900
WINDOW_S = 40.0  # tune: 5 .. 600
ROUNDS = 60  # tune: 10 .. 200
PATIENCE = 12  # tune: 2 .. 60

# gpus[p, w] of pool p: 0 prefill, 1 decode, 2 idle. Planner memory: 0 plans made, for the draws;
# 1 arrivals per second and 2 mean prompt, over the latest windows.


def notice(window, memory):
    if memory[2] <= 0.0:
        memory[2] = 1000.0
    if len(window.classes) > 0:
        part = min(window.span_s / WINDOW_S, 1.0)
        if memory[1] <= 0.0:
            part = 1.0
        if window.classes[0].rate_rps >= 0.0:
            memory[1] = memory[1] + part * (window.classes[0].rate_rps - memory[1])
        if window.classes[0].prompt_mean_tokens > 0.0:
            memory[2] = memory[2] + part * (window.classes[0].prompt_mean_tokens - memory[2])


def set_rates(cluster, prompt, rates):
    # Requests per second of one replica of shape s: rates[s, 0] prompts, rates[s, 1] answers.
    # Shapes' rates are of the forecast: a prompt is held to what none of them contradicts.
    for shape in cluster.shapes:
        prompt = min(prompt, 0.9 * ratio(shape.prefill_tokens_per_s, shape.rate_rps, INF))
    for s, shape in enumerate(cluster.shapes):
        both_s = ratio(1.0, shape.rate_rps, 0.0)
        prompt_s = ratio(prompt, shape.prefill_tokens_per_s, 0.0)
        rates[s, 0] = ratio(1.0, prompt_s, 0.0)
        rates[s, 1] = ratio(1.0, max(both_s - prompt_s, 0.05 * both_s), 0.0)


def best_shape(cluster, rates, pool, gpus, worker):
    best, most = -1, 0.0
    for s, shape in enumerate(cluster.shapes):
        if shape.pool == pool and (gpus // shape.gpus) * rates[s, worker] > most:
            best, most = s, (gpus // shape.gpus) * rates[s, worker]
    return best


def worker_rps(cluster, rates, gpus, worker):
    total = 0.0
    for pool in range(len(cluster.pools)):
        s = best_shape(cluster, rates, pool, int(gpus[pool, worker]), worker)
        if s >= 0:
            total += (int(gpus[pool, worker]) // cluster.shapes[s].gpus) * rates[s, worker]
    return total


def block_of(cluster, pool):
    smallest = 64
    for shape in cluster.shapes:
        if shape.pool == pool and shape.gpus < smallest:
            smallest = shape.gpus
    return smallest


def propose(cluster, gpus, rps, seed, k):
    # (pool, from, to) of one block; the pool is -1 where there is nothing to move.
    weak = ratio(1.0, rps[0] + 1e-9, 1.0)
    total = weak + ratio(1.0, rps[1] + 1e-9, 1.0)
    to = 0 if random01(seed, k) * total < weak else 1
    weight, all_weights = (rps[0], rps[1], rps[0] + rps[1] + 1e-9), 0.0
    for pool in range(len(cluster.pools)):
        for worker in range(3):
            share = weight[0] if worker == 0 else (weight[1] if worker == 1 else weight[2])
            if worker != to and gpus[pool, worker] >= block_of(cluster, pool):
                all_weights += share * gpus[pool, worker] + 1e-9
    draw = random01(seed, k + 1) * all_weights
    for pool in range(len(cluster.pools)):
        for worker in range(3):
            share = weight[0] if worker == 0 else (weight[1] if worker == 1 else weight[2])
            if worker != to and gpus[pool, worker] >= block_of(cluster, pool):
                draw -= share * gpus[pool, worker] + 1e-9
                if draw < 0.0:
                    return pool, worker, to
    return -1, 0, 0


def copy_gpus(cluster, source, target):
    for pool in range(len(cluster.pools)):
        for worker in range(3):
            target[pool, worker] = source[pool, worker]


def anneal(cluster, rates, gpus, seed):
    best = zeros(16, 3)
    copy_gpus(cluster, gpus, best)
    rps = (worker_rps(cluster, rates, gpus, 0), worker_rps(cluster, rates, gpus, 1))
    now_rps, best_rps, heat, stale = min(rps[0], rps[1]), min(rps[0], rps[1]), 0.25, 0
    for k in range(ROUNDS):
        pool, source, to = propose(cluster, gpus, rps, seed, 3 * k)
        if pool < 0 or (stale >= PATIENCE and best_rps > 0.0):
            break
        block = block_of(cluster, pool)
        gpus[pool, source] = gpus[pool, source] - block
        gpus[pool, to] = gpus[pool, to] + block
        new = (worker_rps(cluster, rates, gpus, 0), worker_rps(cluster, rates, gpus, 1))
        gain = ratio(min(new[0], new[1]) - now_rps, max(now_rps, 1e-9), 0.0)
        if gain > 0.0 or random01(seed, 3 * k + 2) < exp(gain / heat):
            rps, now_rps = new, min(new[0], new[1])
        else:
            gpus[pool, source] = gpus[pool, source] + block
            gpus[pool, to] = gpus[pool, to] - block
        stale += 1
        if now_rps > best_rps:
            best_rps, stale = now_rps, 0
            copy_gpus(cluster, gpus, best)
        heat *= 0.92
    copy_gpus(cluster, best, gpus)
    return best_rps


def set_gpus(cluster, plan, held, gpus):
    # The present plan's GPUs as they serve, those of replicas that do both by halves of blocks.
    for pool in range(len(cluster.pools)):
        left = int(held[pool])
        for replica in plan.replicas:
            size = replica.tp * replica.pp
            if replica.pool == pool and size <= left:
                worker = 0 if replica.role == PREFILL else 1
                gpus[pool, worker] = gpus[pool, worker] + size
                left -= size
        gpus[pool, 2] = left


def plan_rps(cluster, rates, plan):
    prompts_rps, tokens_rps = 0.0, 0.0
    for replica in plan.replicas:
        s = find_shape(cluster, replica.pool, replica.tp, replica.pp)
        if s >= 0 and replica.role == MIXED:
            prompts_rps += 0.5 * rates[s, 0]
            tokens_rps += 0.5 * rates[s, 1]
        elif s >= 0 and replica.role == PREFILL:
            prompts_rps += rates[s, 0]
        elif s >= 0:
            tokens_rps += rates[s, 1]
    return min(prompts_rps, tokens_rps)


def write(cluster, rates, new_plan, gpus):
    for pool in range(len(cluster.pools)):
        for worker in range(2):
            held = int(gpus[pool, worker])
            s = best_shape(cluster, rates, pool, held, worker)
            if s >= 0:
                shape = cluster.shapes[s]
                for copy in range(held // shape.gpus):
                    role = PREFILL if worker == 0 else DECODE
                    add_replica(new_plan, pool, shape.tp, shape.pp, role)


def write_whole(cluster, new_plan):
    # Too few GPUs for two kinds of workers: replicas that do both.
    for pool in range(len(cluster.pools)):
        best, most = -1, 0.0
        left = cluster.pools[pool].present - cluster.pools[pool].leaving
        for s, shape in enumerate(cluster.shapes):
            if shape.pool == pool and (left // shape.gpus) * shape.rate_rps > most:
                best, most = s, (left // shape.gpus) * shape.rate_rps
        if best >= 0:
            shape = cluster.shapes[best]
            for copy in range(left // shape.gpus):
                add_replica(new_plan, pool, shape.tp, shape.pp, MIXED)


def scale(cluster, plan, rate, capacity_rps, held):
    # Fills held[p], GPUs to plan with: elastic pools go by use over its target, again until the
    # use would be within the band. True when the plan must give GPUs back.
    shrinks = False
    for pool in range(len(cluster.pools)):
        row = cluster.pools[pool]
        held[pool] = row.present - row.leaving
        if row.elastic and row.present > 0 and rate > 0.0 and capacity_rps > 0.0:
            count = row.present
            for again in range(3):
                use = rate / (capacity_rps * count / row.present)
                if abs(use - TARGET_USE) > BAND:
                    count = max(ceil(count * clip(use / TARGET_USE, 0.5, 2.0)), 1)
            count = int(clip(count, row.present // 2, 2 * row.present))
            # Whole replicas, two of the smallest at least: one of each kind of worker.
            block = block_of(cluster, pool)
            count = max((count + block - 1) // block, 2) * block
            want_gpus(cluster, pool, count)
            held[pool] = min(held[pool], count)
            shrinks = shrinks or plan_gpus(plan, pool) > count
    return shrinks


def should_reschedule(window, cluster, plan, memory):
    notice(window, memory)
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        return True
    if window.since_plan_s < POLL_S or memory[1] <= 0.0:
        return False
    rates = zeros(64, 2)
    set_rates(cluster, memory[2], rates)
    use = ratio(memory[1], plan_rps(cluster, rates, plan), 2.0)
    return abs(use - TARGET_USE) > BAND


def schedule(window, cluster, plan, new_plan, memory):
    rates, gpus = zeros(64, 2), zeros(16, 3)
    if memory[2] <= 0.0:
        notice(window, memory)
    set_rates(cluster, memory[2], rates)
    old_rps, held = plan_rps(cluster, rates, plan), zeros(16)
    shrinks = scale(cluster, plan, memory[1], old_rps, held)
    set_gpus(cluster, plan, held, gpus)
    memory[0] = memory[0] + 1.0
    new_rps = anneal(cluster, rates, gpus, int(memory[0]))
    if old_rps <= 0.0:
        scale(cluster, plan, memory[1], new_rps, held)
    write(cluster, rates, new_plan, gpus)
    if new_rps <= 0.0:
        for copy in range(len(new_plan.replicas)):
            drop_replica(new_plan, len(new_plan.replicas) - 1)
        write_whole(cluster, new_plan)
    if window.plan_feasible and len(plan.replicas) > 0 and not shrinks:
        cost_s = switch_cost_s(cluster, plan, new_plan)
        left_s = STABILITY_S - cost_s
        if left_s <= 0.0 or (new_rps - old_rps) * left_s <= old_rps * cost_s:
            keep_plan(new_plan, plan)


def route(request, instances, memory):
    best, soonest = instances[0].id, INF
    for inst in instances:
        ahead = max(inst.queued_prompt_tokens, 0) + max(inst.prefill_backlog_tokens, 0)
        finish = prefill_time_s(inst, ahead + request.prompt_tokens)
        if finish < soonest:
            best, soonest = inst.id, finish
    return best
