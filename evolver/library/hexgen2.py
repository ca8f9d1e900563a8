"""HexGen-2: unlike GPUs split into prefill and decode groups so that the flow through is greatest.

Paper: HexGen-2 (arXiv 2502.07903; the abstract was read, the steps of the search are recalled).
Taken: which GPUs form a group, which phase it serves, its parallelism and the ways KV takes are one
problem, a graph partitioned so that the maximum flow from prompts to tokens is greatest.
Recalled: a first partition, then swaps and moves led by which side of the cut is saturated.
Inferred: a replica's capacity as the lesser of its phase's rate, with room to spare, and its
link's; requests dealt by planned flow; as every replica has one way out and in, the flow is the
lesser sum of the two sides, so no augmenting paths are looked for; moves turn replicas of the slack
side, in their shape or another, towards the saturated one; swaps exchange replicas between the
sides, one for one or for several.
Left out: groups that span pools, and planning anew when only traffic changes.
"""

WORTH = 1.001  # tune: 1.0001 .. 1.1
STABILITY_S = 600.0  # tune: 30 .. 7200
WAIT_WEIGHT = 1.0  # tune: 0.1 .. 10
DECODE_SPARE = 1.3  # tune: 1 .. 4


def prompt_tokens(window, cluster):
    # The window's mean, held to what no shape's rate contradicts: rates are of the forecast.
    prompt = 1000.0
    if len(window.classes) > 0 and window.classes[0].prompt_mean_tokens > 0.0:
        prompt = window.classes[0].prompt_mean_tokens
    for shape in cluster.shapes:
        prompt = min(prompt, 0.9 * ratio(shape.prefill_tokens_per_s, shape.rate_rps, INF))
    return prompt


def set_rates(window, cluster, rates):
    # rates[s, 0]: prompts, rates[s, 1]: answers, requests per second of one replica of shape s;
    # answers with room to spare, for a shape's rate is that of the fullest batch.
    prompt = prompt_tokens(window, cluster)
    for s, shape in enumerate(cluster.shapes):
        both_s = ratio(1.0, shape.rate_rps, 0.0)
        prompt_s = ratio(prompt, shape.prefill_tokens_per_s, 0.0)
        link = cluster.pools[shape.pool].link_bytes_per_s * shape.gpus
        link_rps = ratio(link, prompt * cluster.kv_bytes_per_token, INF)
        decode_s = max(both_s - prompt_s, 0.05 * both_s)
        rates[s, 0] = min(ratio(1.0, prompt_s, 0.0), link_rps)
        rates[s, 1] = min(ratio(1.0, DECODE_SPARE * decode_s, 0.0), link_rps)


def side_rps(cluster, count, rates, side):
    total = 0.0
    for s in range(len(cluster.shapes)):
        total += count[s, side] * rates[s, side]
    return total


def room(cluster, count, s):
    # How many more replicas of shape s the pool holds beside those counted.
    shape = cluster.shapes[s]
    pool = cluster.pools[shape.pool]
    used = 0
    for o in range(len(cluster.shapes)):
        if cluster.shapes[o].pool == shape.pool:
            used += int(count[o, 0] + count[o, 1]) * cluster.shapes[o].gpus
    blocks = shape.fits_now - (used + shape.gpus - 1) // shape.gpus
    return max(min(blocks, (pool.present - pool.leaving - used) // shape.gpus), 0)


def fill(cluster, count):
    # What is free decodes in the shape that does most; moves towards prompts come after.
    for turn in range(32):
        best, most = -1, 0.0
        for s in range(len(cluster.shapes)):
            rate = room(cluster, count, s) * cluster.shapes[s].rate_rps
            if rate > most:
                best, most = s, rate
        if best < 0:
            return
        count[best, 1] = count[best, 1] + room(cluster, count, best)


def best_move(cluster, count, rates, flow_rps):
    # (flow, a, side of a, how many go, b, side of b, how many come): replicas of a become b.
    sums = (side_rps(cluster, count, rates, 0), side_rps(cluster, count, rates, 1))
    short = 0 if sums[0] < sums[1] else 1
    best = (flow_rps * WORTH, -1, 0, 0, -1, 0, 0)
    for a, one in enumerate(cluster.shapes):
        for side in range(2):
            for b, other in enumerate(cluster.shapes):
                differs = a != b or side != short
                if count[a, side] > 0.0 and one.pool == other.pool and differs:
                    gone = (other.gpus + one.gpus - 1) // one.gpus
                    come = max(one.gpus // other.gpus, 1)
                    if gone <= int(count[a, side]):
                        p_rps, d_rps = sums
                        if side == 0:
                            p_rps -= gone * rates[a, 0]
                        else:
                            d_rps -= gone * rates[a, 1]
                        if short == 0:
                            p_rps += come * rates[b, 0]
                        else:
                            d_rps += come * rates[b, 1]
                        if min(p_rps, d_rps) > best[0]:
                            best = (min(p_rps, d_rps), a, side, gone, b, short, come)
    return best


def best_swap(cluster, count, rates, flow_rps):
    # (flow, a, how many, b, how many): prefill replicas of shape a and decode replicas of shape b
    # change sides, one for one or one for several.
    p_sum = side_rps(cluster, count, rates, 0)
    d_sum = side_rps(cluster, count, rates, 1)
    best = (flow_rps * WORTH, -1, 0, -1, 0)
    for a in range(len(cluster.shapes)):
        for b in range(len(cluster.shapes)):
            if a != b and count[a, 0] > 0.0 and count[b, 1] > 0.0:
                for k in range(12):
                    # One for six to one for one, then six for one.
                    m, n = max(k - 5, 1), max(6 - k, 1)
                    if m <= int(count[a, 0]) and n <= int(count[b, 1]):
                        p_rps = p_sum - m * rates[a, 0] + n * rates[b, 0]
                        d_rps = d_sum - n * rates[b, 1] + m * rates[a, 1]
                        if min(p_rps, d_rps) > best[0]:
                            best = (min(p_rps, d_rps), a, m, b, n)
    return best


def refine(cluster, count, rates):
    flow_rps = 0.0
    for turn in range(200):
        move = best_move(cluster, count, rates, flow_rps)
        swap = best_swap(cluster, count, rates, max(flow_rps, move[0]))
        if swap[1] >= 0:
            count[swap[1], 0] = count[swap[1], 0] - swap[2]
            count[swap[1], 1] = count[swap[1], 1] + swap[2]
            count[swap[3], 1] = count[swap[3], 1] - swap[4]
            count[swap[3], 0] = count[swap[3], 0] + swap[4]
            flow_rps = swap[0]
        elif move[1] >= 0:
            count[move[1], move[2]] = count[move[1], move[2]] - move[3]
            count[move[4], move[5]] = count[move[4], move[5]] + move[6]
            flow_rps = move[0]
        else:
            return flow_rps
    return flow_rps


def write(cluster, new_plan, count, rates):
    # A replica's share is its flow beside that of the one with most; dealing goes by it.
    replicas, most = 0.0, 0.0
    for s in range(len(cluster.shapes)):
        replicas += count[s, 0] + count[s, 1]
        for side in range(2):
            if count[s, side] > 0.0:
                most = max(most, rates[s, side])
    # Larger replicas first, as they need whole blocks of a node.
    for size in range(7):
        gpus = 64 >> size
        for s, shape in enumerate(cluster.shapes):
            if shape.gpus <= gpus and 2 * shape.gpus > gpus:
                for side in range(2):
                    role = PREFILL if side == 0 else DECODE
                    if replicas < 2.0:
                        role = MIXED
                    for copy in range(int(count[s, side])):
                        add_replica(new_plan, shape.pool, shape.tp, shape.pp, role)
    for index in range(len(new_plan.replicas)):
        replica = new_plan.replicas[index]
        s = find_shape(cluster, replica.pool, replica.tp, replica.pp)
        side = 0 if replica.role == PREFILL else 1
        for c in range(8):
            set_share(new_plan, index, c, ratio(rates[s, side], most, 1.0))


def present(cluster, plan, count):
    # A replica that does both counts half on either side.
    for replica in plan.replicas:
        s = find_shape(cluster, replica.pool, replica.tp, replica.pp)
        if s >= 0:
            if replica.role != DECODE:
                count[s, 0] = count[s, 0] + (1.0 if replica.role == PREFILL else 0.5)
            if replica.role != PREFILL:
                count[s, 1] = count[s, 1] + (1.0 if replica.role == DECODE else 0.5)


def should_reschedule(window, cluster, plan, memory):
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        return True
    # memory[0]: 1 once a plan was made for traffic that was seen, and not for a guess.
    return memory[0] == 0.0 and len(window.classes) > 0 and window.classes[0].requests > 0


def schedule(window, cluster, plan, new_plan, memory):
    rates, count, old = zeros(64, 2), zeros(64, 2), zeros(64, 2)
    if len(window.classes) > 0 and window.classes[0].requests > 0:
        memory[0] = 1.0
    set_rates(window, cluster, rates)
    fill(cluster, count)
    flow_rps = refine(cluster, count, rates)
    write(cluster, new_plan, count, rates)
    if not window.plan_feasible or len(plan.replicas) == 0:
        return
    present(cluster, plan, old)
    old_rps = min(side_rps(cluster, old, rates, 0), side_rps(cluster, old, rates, 1))
    cost_s = switch_cost_s(cluster, plan, new_plan)
    if (flow_rps - old_rps) * (STABILITY_S - cost_s) <= old_rps * cost_s:
        keep_plan(new_plan, plan)


def route(request, instances, memory):
    best, soonest = instances[0].id, INF
    for inst in instances:
        ahead = max(inst.queued_prompt_tokens, 0) + max(inst.prefill_backlog_tokens, 0)
        finish = prefill_time_s(inst, ahead + request.prompt_tokens)
        if inst.role == PREFILL and not is_missing(inst.handoff_s):
            finish += WAIT_WEIGHT * inst.handoff_s
        if finish < soonest:
            best, soonest = inst.id, finish
    return best


def route_decode(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        # What it has beside what the flow gives it; a full cache is a wait.
        has = 1.0 + max(inst.queued_requests, 0) + max(inst.decoding_requests, 0)
        load = ratio(has, inst.share, has)
        tokens = inst.kv_used_tokens + request.prompt_tokens * (1.0 + max(inst.queued_requests, 0))
        if tokens > 0.95 * inst.kv_capacity_tokens:
            load += 1e6
        if not is_missing(inst.transfer_s):
            load += WAIT_WEIGHT * inst.transfer_s
        if load < least:
            best, least = inst.id, load
    return best
