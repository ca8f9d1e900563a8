"""L4: instances specialise in a range of sequence lengths, and requests that outgrow one move up.

Paper: L4, renamed CascadeInfer (arXiv 2512.19179).
Taken from the abstract: a step takes as long as its longest sequence makes it, so instances are
partitioned into stages of lengths by dynamic programming, ranges are refined at run time, requests
migrate when their length leaves the range, and load is balanced across and within stages.
Inferred: the histogram (half octaves of length, weighted by residency, seen at migration ticks),
the cost of a stage (requests x step time, plus the transfer at its lower edge), the penalty per
token between longest and mean length, what stages must be worth, refinement by solving the
programme again, the least predicted completion within a stage, and one greedy rule for both kinds
of migration. Replicas are taken as alike, with the steps of the first instance.
"""

REFINE_S = 10.0  # tune: 1 .. 600
FORGET = 0.999  # tune: 0.98 .. 0.9999
SPREAD_S_PER_TOKEN = 2e-7  # tune: 0 .. 1e-5
OVERGROWN = 1.1  # tune: 1 .. 2
IMBALANCE = 1.3  # tune: 1.05 .. 4
PAYBACK = 2.0  # tune: 0.5 .. 10
UNEVEN = 0.1  # tune: 0 .. 0.5

# Planner memory: 0..19 requests and 20..39 their tokens by length bucket, 40 ticks, all forgetting
# at one pace; 41..43 the step model of the first instance.


def bucket_of(tokens):
    return int(clip(floor(2.0 * log(max(tokens, 1) / 128.0) / log(2.0)), 0, 19))


def edge_tokens(bucket):
    # Lower edge of a bucket; the first reaches down to zero and the last has no upper edge.
    if bucket <= 0:
        return 0
    if bucket >= 20:
        return 2147483648
    return floor(128.0 * exp(0.5 * bucket * log(2.0)))


def remember(running, instances, memory):
    for slot in range(41):
        memory[slot] = FORGET * memory[slot]
    memory[40] = memory[40] + 1.0
    for row in running:
        bucket = bucket_of(row.context_tokens)
        memory[bucket] = memory[bucket] + 1.0
        memory[20 + bucket] = memory[20 + bucket] + row.context_tokens
    if len(instances) > 0:
        memory[41] = instances[0].step_base_s
        memory[42] = instances[0].step_per_seq_s
        memory[43] = instances[0].step_per_context_s


def stage_cost(memory, upto, low, high, copies):
    # Sum over the stage's requests of the step time they see, which is what QoE is made of.
    requests = upto[high, 0] - upto[low, 0]
    tokens = upto[high, 1] - upto[low, 1]
    spread = max(upto[high, 2] - ratio(tokens, requests, 0.0), 0.0)
    batch_s = memory[42] * requests / copies + memory[43] * tokens / copies
    return requests * (memory[41] + batch_s + SPREAD_S_PER_TOKEN * spread)


def crossing_cost(cluster, memory, low):
    # Requests just above a cut have paid one transfer for the tokens they make in that bucket.
    if low <= 0 or low >= 19 or len(cluster.pools) == 0:
        return 0.0
    edge = edge_tokens(low)
    transfer_s = ratio(edge * cluster.kv_bytes_per_token, cluster.pools[0].link_bytes_per_s, 0.0)
    requests = memory[low] / max(memory[40], 1.0)
    return requests * transfer_s / (edge_tokens(low + 1) - edge)


def cut_stages(cluster, memory, count, cost, cut, copies):
    # cost[i, k]: lengths below bucket i on k replicas; the last stage is cut[i, k] .. i on copies.
    # upto[i]: requests, tokens and the longest length below bucket i. Answers with the cost of all
    # replicas as one stage.
    upto = zeros(21, 3)
    for i in range(20):
        upto[i + 1, 0] = upto[i, 0] + memory[i] / max(memory[40], 1.0)
        upto[i + 1, 1] = upto[i, 1] + memory[20 + i] / max(memory[40], 1.0)
        upto[i + 1, 2] = upto[i, 2]
        if memory[i] > 0.01:
            upto[i + 1, 2] = edge_tokens(min(i + 1, 19))
    for i in range(21):
        for k in range(count + 1):
            cost[i, k] = INF
    cost[0, 0] = 0.0
    for i in range(1, 21):
        for low in range(i):
            crossing = crossing_cost(cluster, memory, low)
            for k in range(1, count + 1):
                for s in range(1, k + 1):
                    if cost[low, k - s] < INF:
                        total = cost[low, k - s] + crossing + stage_cost(memory, upto, low, i, s)
                        if total < cost[i, k]:
                            cost[i, k] = total
                            cut[i, k] = low
                            copies[i, k] = s
    return stage_cost(memory, upto, 0, 20, count)


def add_best_replicas(cluster, new_plan):
    for pool in range(len(cluster.pools)):
        best, most = -1, 0.0
        for i in range(len(cluster.shapes)):
            shape = cluster.shapes[i]
            free = (cluster.pools[pool].present - cluster.pools[pool].leaving) // shape.gpus
            rate = shape.rate_rps * min(shape.fits_now, free)
            if shape.pool == pool and rate > most:
                best, most = i, rate
        if best >= 0:
            shape = cluster.shapes[best]
            free = (cluster.pools[pool].present - cluster.pools[pool].leaving) // shape.gpus
            for copy in range(min(shape.fits_now, free)):
                add_replica(new_plan, pool, shape.tp, shape.pp, MIXED)


def should_reschedule(window, cluster, plan, memory):
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        return True
    return window.since_plan_s >= REFINE_S and memory[40] > 0.0


def schedule(window, cluster, plan, new_plan, memory):
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        add_best_replicas(cluster, new_plan)
    else:
        for replica in plan.replicas:
            add_replica(new_plan, replica.pool, replica.tp, replica.pp, replica.role)
    count = len(new_plan.replicas)
    if memory[40] <= 0.0 or count < 2:
        return
    cost, cut, copies = zeros(21, count + 1), zeros(21, count + 1), zeros(21, count + 1)
    # Stages cost balance that the model does not see: they have to be worth a twentieth.
    if 0.95 * cut_stages(cluster, memory, count, cost, cut, copies) < cost[20, count]:
        return
    high, left = 20, count
    for stage in range(20):
        if high > 0 and left > 0:
            low, size = int(cut[high, left]), int(copies[high, left])
            for index in range(left - size, left):
                set_lengths(new_plan, index, edge_tokens(low), edge_tokens(high))
            high, left = low, left - size


def load(inst):
    queued = max(inst.queued_prompt_tokens, 0)
    return ratio(inst.context_tokens + queued, inst.kv_capacity_tokens, 0.0)


def holds(inst, tokens):
    if inst.role == PREFILL or inst.draining or inst.starting:
        return False
    if inst.length_high_tokens <= 0:
        return True
    return inst.length_low_tokens <= tokens and tokens < inst.length_high_tokens


def waits_s(request, inst):
    # To its last token there; where a door tells no times, how many requests are before it.
    took_s = completion_s(request, inst)
    if is_missing(took_s) or took_s >= 1e6:
        return 1.0 * max(inst.queued_requests, 0) + max(inst.running_requests, 0)
    return took_s


def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        # A stage that cannot take the request now is passed over only for want of another.
        cost = waits_s(request, inst)
        if not holds(inst, request.prompt_tokens):
            cost += 1e6
        if cost < least:
            best, least = inst.id, cost
    return best


def migrate(running, instances, moves, memory):
    remember(running, instances, memory)
    loads = zeros(len(instances) + 1)
    for i in range(len(instances)):
        loads[i] = load(instances[i])
    for row in running:
        source, target = -1, -1
        for i in range(len(instances)):
            if instances[i].id == row.instance:
                source = i
            elif holds(instances[i], row.context_tokens):
                if target < 0 or loads[i] < loads[target]:
                    target = i
        if source >= 0 and target >= 0 and row.decoding:
            share = ratio(row.context_tokens, instances[target].kv_capacity_tokens, 0.0)
            high = instances[source].length_high_tokens
            outgrown = high > 0 and row.context_tokens > OVERGROWN * high
            least = loads[target] + share
            heavy = loads[source] > max(IMBALANCE * least, least + UNEVEN)
            left_s = row.predicted_remaining_tokens * instances[source].step_time_s
            worth = (outgrown or heavy) and not left_s <= PAYBACK * row.transfer_s
            if worth and loads[target] + share < 1.0:
                if not add_move(moves, row, instances[target].id):
                    return
                loads[source] = loads[source] - share
                loads[target] = loads[target] + share
