"""Splitwise: machines for prompts, machines for tokens, and a few in between that do either.

Paper: Splitwise (arXiv 2311.18677; the abstract was read, its pools and routing are recalled).
Taken: prompt computation and token generation run on machines of their own, each phase on hardware
that suits it; requests go to the shortest queue of each; a mixed pool takes what overflows, and
machines change pools when the load does.
Inferred: sizes of the pools by the split that lets most requests through, phase speeds from the
shapes' rates (what a replica that does both needs, less its prompts, is decoding), hardware with
much computing per byte of bandwidth for prompts, and the queue beyond which work overflows.
Left out: KV is sent when the prompt is done, not layer by layer, and a mixed machine keeps what it
began.
"""

MIXED_SHARE = 0.2  # tune: 0 .. 0.6
OVERFLOW_S = 1.0  # tune: 0.05 .. 20
KV_FULL = 0.9  # tune: 0.5 .. 1
BAND = 0.1  # tune: 0.02 .. 0.5
SETTLE_S = 60.0  # tune: 10 .. 900


def prompt_tokens(window, cluster):
    # The window's mean, held to what no shape's rate contradicts: rates are of the forecast.
    prompt = 1000.0
    if len(window.classes) > 0 and window.classes[0].prompt_mean_tokens > 0.0:
        prompt = window.classes[0].prompt_mean_tokens
    for shape in cluster.shapes:
        prompt = min(prompt, 0.9 * ratio(shape.prefill_tokens_per_s, shape.rate_rps, INF))
    return prompt


def prefill_rps(shape, prompt):
    return ratio(shape.prefill_tokens_per_s, prompt, 0.0)


def decode_rps(shape, prompt):
    both_s = ratio(1.0, shape.rate_rps, 0.0)
    prompt_s = ratio(prompt, shape.prefill_tokens_per_s, 0.0)
    return ratio(1.0, max(both_s - prompt_s, 0.05 * both_s), 0.0)


def copies_left(cluster, shape, used):
    # Every block that a larger replica took is gone for this size as well.
    blocks = shape.fits_now - (used + shape.gpus - 1) // shape.gpus
    pool = cluster.pools[shape.pool]
    return min(blocks, (pool.present - pool.leaving - used) // shape.gpus)


def settled(window, plan):
    return len(plan.replicas) > 0 and window.plan_feasible and not window.capacity_changed


def machines(window, cluster, plan):
    # (suits tokens, shape) of every replica: those of the plan, or the best that fit.
    found = []
    if settled(window, plan):
        for replica in plan.replicas:
            s = find_shape(cluster, replica.pool, replica.tp, replica.pp)
            if s >= 0:
                found.append((suits_tokens(cluster, s), s))
    else:
        for pool in range(len(cluster.pools)):
            used = 0
            for size in range(8):
                best, most = -1, 0.0
                for s, shape in enumerate(cluster.shapes):
                    if shape.pool == pool:
                        rate = shape.rate_rps * copies_left(cluster, shape, used)
                        if rate > most:
                            best, most = s, rate
                if best < 0:
                    break
                copies = copies_left(cluster, cluster.shapes[best], used)
                used += copies * cluster.shapes[best].gpus
                for copy in range(copies):
                    found.append((suits_tokens(cluster, best), best))
    found.sort(key=lambda one: one[0])
    return found


def suits_tokens(cluster, s):
    pool = cluster.pools[cluster.shapes[s].pool]
    return ratio(pool.bandwidth_bytes_per_s, pool.flops, 0.0)


def best_split(window, cluster, found):
    # How many of the first machines compute prompts, so that the lesser phase is the greatest.
    prompt = prompt_tokens(window, cluster)
    tokens_rps = 0.0
    for one in found:
        tokens_rps += decode_rps(cluster.shapes[one[1]], prompt)
    best, most, prompts_rps, count = 1, -1.0, 0.0, 0
    for one in found:
        count += 1
        prompts_rps += prefill_rps(cluster.shapes[one[1]], prompt)
        tokens_rps -= decode_rps(cluster.shapes[one[1]], prompt)
        through = min(prompts_rps, tokens_rps)
        if count < len(found) and through > most:
            best, most = count, through
    return best


def should_reschedule(window, cluster, plan, memory):
    if not settled(window, plan):
        return True
    if window.since_plan_s < SETTLE_S or len(plan.replicas) < 2:
        return False
    found = machines(window, cluster, plan)
    wanted, present = 1.0 * best_split(window, cluster, found), 0.0
    for replica in plan.replicas:
        if replica.role == PREFILL:
            present += 1.0
        elif replica.role == MIXED:
            present += 0.5
    return abs(wanted - present) >= max(1.0, BAND * len(plan.replicas))


def schedule(window, cluster, plan, new_plan, memory):
    found = machines(window, cluster, plan)
    split, mixed = best_split(window, cluster, found), floor(MIXED_SHARE * len(found))
    before = max(split - mixed // 2, 1)
    after = min(before + mixed, len(found) - 1)
    for place, one in enumerate(found):
        role = DECODE
        if len(found) < 2 or (place >= before and place < after):
            role = MIXED
        elif place < before:
            role = PREFILL
        shape = cluster.shapes[one[1]]
        add_replica(new_plan, shape.pool, shape.tp, shape.pp, role)


def prompt_wait_s(inst):
    ahead = max(inst.queued_prompt_tokens, 0) + max(inst.prefill_backlog_tokens, 0)
    return prefill_time_s(inst, ahead)


def route(request, instances, memory):
    own, shortest_s, mixed, mixed_s = -1, INF, -1, INF
    for inst in instances:
        wait_s = prompt_wait_s(inst)
        if inst.role == PREFILL and wait_s < shortest_s:
            own, shortest_s = inst.id, wait_s
        elif inst.role != PREFILL and wait_s < mixed_s:
            mixed, mixed_s = inst.id, wait_s
    if own >= 0 and (mixed < 0 or shortest_s <= OVERFLOW_S or shortest_s <= mixed_s):
        return own
    if mixed >= 0:
        return mixed
    return instances[0].id


def route_decode(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        tokens = inst.kv_used_tokens + request.prompt_tokens * (1.0 + max(inst.queued_requests, 0))
        load = ratio(tokens, inst.kv_capacity_tokens, 0.0)
        if inst.role != DECODE:
            # The mixed pool is for what the token machines cannot hold.
            load += KV_FULL
        if load < least:
            best, least = inst.id, load
    return best
