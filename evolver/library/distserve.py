"""DistServe: prefill and decode replicas of unlike parallelism, in numbers that meet both targets.

Paper: DistServe (arXiv 2401.09670; its published simulator was read).
Taken: for each phase the parallel configuration with the highest goodput per GPU is looked for by
trying all, goodput being the highest rate at which TTFT, or TPOT, still holds; replicas of both are
then matched in number; a request goes to the prefill instance with the least queued, then to the
least loaded decode instance; when the traffic has shifted, it is all done again.
Recalled: prefill as the queue of an M/D/1 server.
Inferred: the targets as constants, for planners are told none; the decode step between the batch
of one and the batch that fills KV as a line, cut where it passes the target; whole pools matched;
rates without targets where none can be met; lengths over some hundred requests, for chance is no
shift.
Left out: the search by simulating, and placing both phases within a node for the KV's sake.
"""

TTFT_S = 1.0  # tune: 0.1 .. 20
TPOT_S = 0.06  # tune: 0.01 .. 0.5
SHIFT = 0.3  # tune: 0.05 .. 2
SETTLE_S = 120.0  # tune: 10 .. 3600
WORTH = 1.1  # tune: 1 .. 3
LARGEST_BATCH = 256.0  # tune: 1 .. 1024
SEEN = 300.0  # tune: 20 .. 5000

# Planner memory: 0, 1 mean prompt and output that the plan was made for; 2, 3 the same as they are
# now, over some hundred requests; 4 is 1 once a plan was made for traffic that was seen.


def notice(window, memory):
    if memory[2] <= 0.0:
        memory[2], memory[3] = 1000.0, 200.0
    if len(window.classes) > 0 and window.classes[0].requests > 0:
        every = window.classes[0]
        part = every.requests / (every.requests + SEEN)
        if memory[4] == 0.0:
            part = 1.0
        if every.prompt_mean_tokens > 0.0:
            memory[2] = memory[2] + part * (every.prompt_mean_tokens - memory[2])
        if every.output_mean_tokens > 0.0:
            memory[3] = memory[3] + part * (every.output_mean_tokens - memory[3])


def prefill_goodput(shape, prompt, target_s):
    takes_s = ratio(prompt, shape.prefill_tokens_per_s, INF)
    if target_s == INF:
        return ratio(1.0, takes_s, 0.0)
    if takes_s >= target_s:
        return 0.0
    return 2.0 * (target_s - takes_s) / (takes_s * (2.0 * target_s - takes_s))


def decode_goodput(shape, prompt, output, target_s):
    both_s = ratio(1.0, shape.rate_rps, INF)
    prompt_s = ratio(prompt, shape.prefill_tokens_per_s, 0.0)
    rate = ratio(1.0, max(both_s - prompt_s, 0.05 * both_s), 0.0)
    batch = clip(ratio(shape.kv_capacity_tokens, prompt + 0.5 * output, 1.0), 1.0, LARGEST_BATCH)
    full_s = ratio(batch, rate * output, INF)
    if full_s <= target_s:
        return rate
    alone_s = max(shape.latency_s - prompt_s, 0.0) / max(output, 1.0)
    if not alone_s < target_s or not alone_s < full_s or full_s == INF:
        return 0.0
    seats = 1.0 + (target_s - alone_s) / (full_s - alone_s) * (batch - 1.0)
    return seats / (target_s * output)


def match(cluster, pool, prompt, output, ttft_s, tpot_s):
    # (rate, prefill shape, its count, decode shape, its count), the best for one pool.
    gpus = cluster.pools[pool].present - cluster.pools[pool].leaving
    best = (0.0, -1, 0, -1, 0)
    for a, first in enumerate(cluster.shapes):
        rate_a = prefill_goodput(first, prompt, ttft_s)
        if first.pool == pool and rate_a > 0.0:
            for b, second in enumerate(cluster.shapes):
                rate_b = decode_goodput(second, prompt, output, tpot_s)
                if second.pool == pool and rate_b > 0.0:
                    for count in range(1, gpus // first.gpus + 1):
                        others = (gpus - count * first.gpus) // second.gpus
                        rate = min(count * rate_a, others * rate_b)
                        if rate > best[0]:
                            best = (rate, a, count, b, others)
    return best


def add_copies(cluster, new_plan, s, count, role):
    for copy in range(count):
        add_replica(
            new_plan, cluster.shapes[s].pool, cluster.shapes[s].tp, cluster.shapes[s].pp, role
        )


def should_reschedule(window, cluster, plan, memory):
    notice(window, memory)
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        return True
    if memory[4] == 0.0:
        return len(window.classes) > 0 and window.classes[0].requests > 0
    if window.since_plan_s < SETTLE_S:
        return False
    away = abs(memory[2] - memory[0]) > SHIFT * memory[0]
    return away or abs(memory[3] - memory[1]) > SHIFT * memory[1]


def goodput(cluster, plan, memory, ttft_s, tpot_s):
    # Of a plan, pool by pool the lesser phase; a replica that does both takes half of each.
    total = 0.0
    for pool in range(len(cluster.pools)):
        prompts_rps, answers_rps = 0.0, 0.0
        for replica in plan.replicas:
            s = find_shape(cluster, replica.pool, replica.tp, replica.pp)
            if s >= 0 and replica.pool == pool:
                part = 0.5 if replica.role == MIXED else 1.0
                if replica.role != DECODE:
                    one_rps = prefill_goodput(cluster.shapes[s], memory[0], ttft_s)
                    prompts_rps += part * one_rps
                if replica.role != PREFILL:
                    one_rps = decode_goodput(cluster.shapes[s], memory[0], memory[1], tpot_s)
                    answers_rps += part * one_rps
        total += min(prompts_rps, answers_rps)
    return total


def schedule(window, cluster, plan, new_plan, memory):
    if memory[2] <= 0.0:
        notice(window, memory)
    if len(window.classes) > 0 and window.classes[0].requests > 0:
        memory[4] = 1.0
    memory[0], memory[1] = memory[2], memory[3]
    # Shapes' rates are of the forecast: a prompt is held to what none of them contradicts.
    for shape in cluster.shapes:
        most = 0.9 * ratio(shape.prefill_tokens_per_s, shape.rate_rps, INF)
        memory[0] = min(memory[0], most)
    total = 0.0
    for pool in range(len(cluster.pools)):
        found = match(cluster, pool, memory[0], memory[1], TTFT_S, TPOT_S)
        total += found[0]
        if found[0] <= 0.0:
            found = match(cluster, pool, memory[0], memory[1], INF, INF)
        if found[0] > 0.0:
            # The larger replicas first, as they need whole blocks of a node.
            prefill_first = cluster.shapes[found[1]].gpus >= cluster.shapes[found[3]].gpus
            if prefill_first:
                add_copies(cluster, new_plan, found[1], found[2], PREFILL)
            add_copies(cluster, new_plan, found[3], found[4], DECODE)
            if not prefill_first:
                add_copies(cluster, new_plan, found[1], found[2], PREFILL)
        else:
            add_one(cluster, new_plan, pool)
    stands = len(plan.replicas) > 0 and window.plan_feasible and not window.capacity_changed
    if stands and total <= WORTH * goodput(cluster, plan, memory, TTFT_S, TPOT_S):
        keep_plan(new_plan, plan)


def add_one(cluster, new_plan, pool):
    # A pool too small for two replicas serves as it is.
    best, most = -1, 0.0
    for s, shape in enumerate(cluster.shapes):
        if shape.pool == pool and shape.fits_now > 0 and shape.rate_rps > most:
            best, most = s, shape.rate_rps
    if best >= 0:
        add_copies(cluster, new_plan, best, 1, MIXED)


def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        ahead = max(inst.queued_prompt_tokens, 0) + max(inst.prefill_backlog_tokens, 0)
        load = prefill_time_s(inst, ahead + request.prompt_tokens)
        if load < least:
            best, least = inst.id, load
    return best


def route_decode(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        tokens = inst.kv_predicted_tokens
        if is_missing(tokens):
            tokens = 1.0 * inst.kv_used_tokens
        tokens += request.prompt_tokens * max(inst.queued_requests, 0)
        load = ratio(tokens, inst.kv_capacity_tokens, 0.0)
        if load < least:
            best, least = inst.id, load
    return best
