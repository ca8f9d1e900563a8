"""ThunderServe: groups and phases by tabu search, and after a change new phases before new groups.

Paper: ThunderServe (arXiv 2502.09334; known from the abstract and a third party's notes).
Taken: on rented GPUs of many kinds, tabu search decides which GPUs form a replica and which phase
it serves, an inner problem how requests are dealt to them; when GPUs fail or the traffic shifts,
rescheduling is light: seconds instead of minutes.
Recalled: light means that phases change and the routing is solved again, while no weights move.
Inferred: the neighbours (a replica changes phase; replicas become another shape of their pool), how
long a move stays tabu, the flow as the lesser sum of both phases, a full search only for traffic
seen for the first time, or on GPUs that came free where the light answer carries too little, and if
the gain pays for the reload; dealing by what an instance has to do and can do.
Left out: KV sent in four bits, and parallelism that is uneven within a replica.
"""

HEADROOM = 1.2  # tune: 1 .. 3
SHIFT = 0.25  # tune: 0.05 .. 2
TABU_TURNS = 6  # tune: 1 .. 20
SEARCH_TURNS = 40  # tune: 5 .. 200
STABILITY_S = 300.0  # tune: 30 .. 3600
SETTLE_S = 30.0  # tune: 5 .. 600
DECODE_SPARE = 1.3  # tune: 1 .. 4

# Planner memory: 0, 1 mean prompt and output that the phases were set for; 2, 3 the same as they
# are now; 4 is 1 once groups were formed for traffic that was seen.


def traffic(window, memory, first):
    memory[first], memory[first + 1] = 1000.0, 200.0
    if len(window.classes) > 0:
        if window.classes[0].prompt_mean_tokens > 0.0:
            memory[first] = window.classes[0].prompt_mean_tokens
        if window.classes[0].output_mean_tokens > 0.0:
            memory[first + 1] = window.classes[0].output_mean_tokens


def demand_rps(window):
    if len(window.classes) == 0:
        return 0.0
    every = window.classes[0]
    if every.forecast_rps > every.rate_rps:
        return HEADROOM * every.forecast_rps
    return HEADROOM * max(every.rate_rps, 0.0)


def set_rates(cluster, prompt, rates):
    # Requests per second of one replica of shape s: rates[s, 0] prompts, rates[s, 1] answers.
    # Shapes' rates are of the forecast: a prompt is held to what none of them contradicts.
    for shape in cluster.shapes:
        prompt = min(prompt, 0.9 * ratio(shape.prefill_tokens_per_s, shape.rate_rps, INF))
    for s, shape in enumerate(cluster.shapes):
        both_s = ratio(1.0, shape.rate_rps, 0.0)
        prompt_s = ratio(prompt, shape.prefill_tokens_per_s, 0.0)
        rates[s, 0] = ratio(1.0, prompt_s, 0.0)
        # A shape's rate is that of the fullest batch, so decoding gets room to spare.
        decode_s = max(both_s - prompt_s, 0.05 * both_s)
        rates[s, 1] = ratio(1.0, DECODE_SPARE * decode_s, 0.0)


def through(cluster, count, rates):
    prompts_rps, tokens_rps = 0.0, 0.0
    for s in range(len(cluster.shapes)):
        prompts_rps += count[s, 0] * rates[s, 0]
        tokens_rps += count[s, 1] * rates[s, 1]
    return min(prompts_rps, tokens_rps)


def room(cluster, count, s):
    shape = cluster.shapes[s]
    pool = cluster.pools[shape.pool]
    used = 0
    for o in range(len(cluster.shapes)):
        if cluster.shapes[o].pool == shape.pool:
            used += int(count[o, 0] + count[o, 1]) * cluster.shapes[o].gpus
    blocks = shape.fits_now - (used + shape.gpus - 1) // shape.gpus
    return max(min(blocks, (pool.present - pool.leaving - used) // shape.gpus), 0)


def still_fits(cluster, count, s):
    # A replica that runs has its place in a node; it needs GPUs that stay, no whole block anew.
    pool, used = cluster.pools[cluster.shapes[s].pool], 0
    for o in range(len(cluster.shapes)):
        if cluster.shapes[o].pool == cluster.shapes[s].pool:
            used += int(count[o, 0] + count[o, 1]) * cluster.shapes[o].gpus
    return used + cluster.shapes[s].gpus <= pool.present - pool.leaving


def fill(cluster, count):
    for turn in range(32):
        best, most = -1, 0.0
        for s in range(len(cluster.shapes)):
            rate = room(cluster, count, s) * cluster.shapes[s].rate_rps
            if rate > most:
                best, most = s, rate
        if best < 0:
            return
        count[best, 1] = count[best, 1] + room(cluster, count, best)


def survivors(cluster, plan, count):
    # Replicas of the plan that still fit, in their phases; one that did both decodes.
    for replica in plan.replicas:
        s = find_shape(cluster, replica.pool, replica.tp, replica.pp)
        if s >= 0 and replica.instance >= 0 and still_fits(cluster, count, s):
            side = 0 if replica.role == PREFILL else 1
            count[s, side] = count[s, side] + 1.0


def change(cluster, count, a, side, b, to_side):
    # Replicas of shape a in one phase become shape b in another; False when there are too few.
    gone, come = 1, 1
    if a != b:
        one, other = cluster.shapes[a].gpus, cluster.shapes[b].gpus
        gone, come = (other + one - 1) // one, max(one // other, 1)
    if gone > int(count[a, side]):
        return False
    count[a, side] = count[a, side] - gone
    count[b, to_side] = count[b, to_side] + come
    return True


def copy_counts(cluster, source, target):
    for s in range(len(cluster.shapes)):
        target[s, 0] = source[s, 0]
        target[s, 1] = source[s, 1]


def search(cluster, count, rates, light, turns):
    # Tabu search: the best neighbour that is not tabu, even a worse one; the best seen stays.
    trial, best, until = zeros(64, 2), zeros(64, 2), zeros(64, 2)
    best_rps = through(cluster, count, rates)
    copy_counts(cluster, count, best)
    for turn in range(turns):
        found = (-1.0, -1, 0, -1, 0)
        for a in range(len(cluster.shapes)):
            for b in range(len(cluster.shapes)):
                same_pool = cluster.shapes[a].pool == cluster.shapes[b].pool
                if same_pool and (a == b or not light):
                    for way in range(4):
                        side, to_side = way // 2, way % 2
                        if count[a, side] > 0.0 and (a != b or side != to_side):
                            copy_counts(cluster, count, trial)
                            if change(cluster, trial, a, side, b, to_side):
                                rps = through(cluster, trial, rates)
                                free = until[b, to_side] <= turn or rps > best_rps
                                if free and rps > found[0]:
                                    found = (rps, a, side, b, to_side)
        if found[1] < 0:
            break
        change(cluster, count, found[1], found[2], found[3], found[4])
        # Coming back to what was left is tabu for a while.
        until[found[1], found[2]] = turn + 1 + TABU_TURNS
        if found[0] > best_rps:
            best_rps = found[0]
            copy_counts(cluster, count, best)
    copy_counts(cluster, best, count)
    return best_rps


def write(cluster, new_plan, count):
    replicas = 0.0
    for s in range(len(cluster.shapes)):
        replicas += count[s, 0] + count[s, 1]
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


def longest_start_s(cluster, old, count):
    longest = 0.0
    for s, shape in enumerate(cluster.shapes):
        if count[s, 0] + count[s, 1] > old[s, 0] + old[s, 1]:
            longest = max(longest, shape.start_s)
    return longest


def should_reschedule(window, cluster, plan, memory):
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        return True
    if window.since_plan_s < SETTLE_S:
        return False
    traffic(window, memory, 2)
    shifted = abs(memory[2] - memory[0]) > SHIFT * memory[0]
    return shifted or abs(memory[3] - memory[1]) > SHIFT * memory[1]


def schedule(window, cluster, plan, new_plan, memory):
    rates, light, full = zeros(64, 2), zeros(64, 2), zeros(64, 2)
    traffic(window, memory, 0)
    set_rates(cluster, memory[0], rates)
    survivors(cluster, plan, light)
    light_rps = search(cluster, light, rates, True, SEARCH_TURNS)
    grown = cluster.gpus_free > 0 and light_rps < demand_rps(window)
    if light_rps <= 0.0 or grown or memory[4] == 0.0:
        if len(window.classes) > 0 and window.classes[0].requests > 0:
            memory[4] = 1.0
        fill(cluster, full)
        full_rps = search(cluster, full, rates, False, SEARCH_TURNS)
        cost_s = longest_start_s(cluster, light, full)
        if (full_rps - light_rps) * (STABILITY_S - cost_s) > light_rps * cost_s:
            write(cluster, new_plan, full)
            return
        fill(cluster, light)
        search(cluster, light, rates, True, SEARCH_TURNS)
    write(cluster, new_plan, light)


def route(request, instances, memory):
    best, soonest = instances[0].id, INF
    for inst in instances:
        ahead = max(inst.queued_prompt_tokens, 0) + max(inst.prefill_backlog_tokens, 0)
        finish = prefill_time_s(inst, ahead + request.prompt_tokens)
        if inst.role == PREFILL and not is_missing(inst.handoff_s):
            finish += inst.handoff_s
        if finish < soonest:
            best, soonest = inst.id, finish
    return best


def route_decode(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        waiting = request.prompt_tokens * (1.0 + max(inst.queued_requests, 0))
        load = ratio(inst.kv_used_tokens + waiting, inst.kv_capacity_tokens, 0.0)
        busy_s = step_time_s(inst, inst.decoding_requests + 1, inst.context_tokens)
        if load > 0.95:
            busy_s += load
        if not is_missing(inst.transfer_s):
            busy_s += 0.01 * inst.transfer_s
        if busy_s < least:
            best, least = inst.id, busy_s
    return best
