"""Autopoiesis' seed: one account of time for when to plan, how long to search, and what to change.

Paper: Autopoiesis (arXiv 2604.07144; known from the abstract and from notes of people who read it).
Taken: what evolves is a pair, a trigger and a planner, judged together by total time: planning,
reconfiguring and serving; in volatile periods less is spent on the first two, in stable ones more
is invested in a better plan; at a timeout the old plan serves on.
Inferred, for no code of it is public: the two share one estimate of how long things will stay as
they are, learnt from how much demand moves between monitoring points; a plan is due when a short
search finds one whose time until then, planning and reload included, is less; the search, a climb
over shapes that one pool can take, makes more turns the calmer it is. A point to start from, not
the result of their evolution.
Left out: demand by class, lengths and phases.
"""

CALM_S = 1200.0  # tune: 60 .. 14400
RESTLESS_S = 90.0  # tune: 10 .. 1200
LEARN = 0.25  # tune: 0.02 .. 1
MOVED = 0.25  # tune: 0.05 .. 2
MOST_TURNS = 24  # tune: 1 .. 64
HEADROOM = 1.25  # tune: 1 .. 4
MARGIN = 1.1  # tune: 1 .. 4

# Planner memory: 0 volatility (mean relative change of demand between points), 1 demand at the
# last point, 2 what planning took so far when the last plan was asked for, 3 what that one took,
# 4 the most demand lately.


def demand_rps(window):
    if len(window.classes) == 0:
        return 0.0
    every = window.classes[0]
    if every.forecast_rps > every.rate_rps:
        return HEADROOM * every.forecast_rps
    return HEADROOM * max(every.rate_rps, 0.0)


def tokens_per_s(window):
    if len(window.classes) == 0:
        return 0.0
    every = window.classes[0]
    tokens = every.rate_rps * (every.prompt_mean_tokens + every.output_mean_tokens)
    if is_missing(tokens):
        return 0.0
    return tokens


def notice(window, memory):
    tokens = tokens_per_s(window)
    moved = clip(abs(ratio(tokens, memory[1], 1.0) - 1.0), 0.0, 2.0)
    if memory[1] > 0.0:
        memory[0] = memory[0] + LEARN * (moved - memory[0])
    else:
        # Nothing is known to be calm before it was seen to be.
        memory[0] = MOVED
    memory[1] = tokens
    # What came lately may come again.
    lately = memory[4] * exp(-4.0 * max(window.span_s, 0.0) / CALM_S)
    memory[4] = max(demand_rps(window), lately)


def horizon_s(window, memory):
    # How long a plan made now is good for; GPUs that came or went lately make it shorter, too.
    calm = exp(-memory[0] / MOVED)
    span = RESTLESS_S + calm * max(CALM_S - RESTLESS_S, 0.0)
    if window.since_capacity_change_s > 0.0 and window.since_capacity_change_s < span:
        return max(window.since_capacity_change_s, RESTLESS_S)
    return span


def room(cluster, count, s):
    shape = cluster.shapes[s]
    pool = cluster.pools[shape.pool]
    used = 0
    for o in range(len(cluster.shapes)):
        if cluster.shapes[o].pool == shape.pool:
            used += int(count[o]) * cluster.shapes[o].gpus
    blocks = shape.fits_now - (used + shape.gpus - 1) // shape.gpus
    return max(min(blocks, (pool.present - pool.leaving - used) // shape.gpus), 0)


def still_fits(cluster, count, s):
    # A replica that runs has its place in a node; it needs GPUs that stay, no whole block anew.
    pool, used = cluster.pools[cluster.shapes[s].pool], 0
    for o in range(len(cluster.shapes)):
        if cluster.shapes[o].pool == cluster.shapes[s].pool:
            used += int(count[o]) * cluster.shapes[o].gpus
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
        count[best] = count[best] + room(cluster, count, best)


def late_s(cluster, count, others, demand):
    # Seconds of one mean request on the replicas that both have: alone, and stretched by use.
    rps, latency = 0.0, 0.0
    for s, shape in enumerate(cluster.shapes):
        part = min(count[s], others[s]) * shape.rate_rps
        rps += part
        latency += part * shape.latency_s
    if rps <= 0.0:
        return INF
    use = demand / rps
    if use < 0.95:
        return latency / rps / (1.0 - use)
    return latency / rps * 20.0 * (1.0 + 20.0 * (use - 0.95))


def total_s(cluster, old, count, demand, span_s):
    # Time over the horizon, per request at a time: while replicas load, only what stays serves.
    start_s = 0.0
    for s, shape in enumerate(cluster.shapes):
        if count[s] > old[s]:
            start_s = max(start_s, shape.start_s)
    loading_s = min(start_s, span_s)
    after = late_s(cluster, count, count, demand)
    during = late_s(cluster, old, count, demand)
    if during == INF:
        during = after + start_s
    return during * loading_s + after * (span_s - loading_s)


def climb(cluster, old, count, trial, demand, span_s):
    # One move, the best: replicas of one shape become another of their pool.
    best = (total_s(cluster, old, count, demand, span_s), -1, -1)
    for a, one in enumerate(cluster.shapes):
        for b, other in enumerate(cluster.shapes):
            gone = (other.gpus + one.gpus - 1) // one.gpus
            if a != b and one.pool == other.pool and gone <= int(count[a]):
                for s in range(64):
                    trial[s] = count[s]
                trial[a] = trial[a] - gone
                come = min(max(one.gpus // other.gpus, 1), room(cluster, trial, b))
                trial[b] = trial[b] + come
                cost = total_s(cluster, old, trial, demand, span_s)
                if come > 0 and cost < best[0] * 0.999:
                    best = (cost, a, b)
    if best[1] < 0:
        return False
    a, b = best[1], best[2]
    one_gpus, other_gpus = cluster.shapes[a].gpus, cluster.shapes[b].gpus
    count[a] = count[a] - (other_gpus + one_gpus - 1) // one_gpus
    count[b] = count[b] + min(max(one_gpus // other_gpus, 1), room(cluster, count, b))
    return True


def present(cluster, plan, count):
    for replica in plan.replicas:
        s = find_shape(cluster, replica.pool, replica.tp, replica.pp)
        if s >= 0 and replica.instance >= 0 and still_fits(cluster, count, s):
            count[s] = count[s] + 1.0


def should_reschedule(window, cluster, plan, memory):
    notice(window, memory)
    if window.scheduling_s > memory[2]:
        memory[3] = window.scheduling_s - memory[2]
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        memory[2] = window.scheduling_s
        return True
    old, count, fast, trial = zeros(64), zeros(64), zeros(64), zeros(64)
    present(cluster, plan, old)
    for s in range(64):
        count[s] = old[s]
    fill(cluster, count)
    fill(cluster, fast)
    span_s, demand = horizon_s(window, memory), max(memory[4], demand_rps(window))
    # The same account as the planner's, after a short search: does any change pay?
    for turn in range(3):
        if demand <= 0.0 or not climb(cluster, old, count, trial, demand, span_s):
            break
    best = total_s(cluster, old, count, demand, span_s)
    best = min(best, total_s(cluster, old, fast, demand, span_s))
    keeping = late_s(cluster, old, old, demand)
    due = MARGIN * best + keeping * memory[3] < keeping * span_s
    # What is overloaded is not left so for the sake of calm.
    copes = demand < 0.95 * serving_rate_rps(cluster, plan)
    if due and copes and window.since_plan_s < min(span_s, RESTLESS_S):
        return False
    if due:
        memory[2] = window.scheduling_s
    return due


def schedule(window, cluster, plan, new_plan, memory):
    span_s, demand = horizon_s(window, memory), max(memory[4], demand_rps(window))
    old, count, fast, trial = zeros(64), zeros(64), zeros(64), zeros(64)
    present(cluster, plan, old)
    for s in range(64):
        count[s] = old[s]
    fill(cluster, count)
    fill(cluster, fast)
    kept = total_s(cluster, old, count, demand, span_s)
    if total_s(cluster, old, fast, demand, span_s) < kept:
        for s in range(64):
            count[s] = fast[s]
    turns = ceil(MOST_TURNS * exp(-memory[0] / MOVED))
    if demand <= 0.0:
        # Before anything was seen, what sustains most is the safe guess.
        turns = 0
    for turn in range(64):
        if turn >= turns or not climb(cluster, old, count, trial, demand, span_s):
            break
    # The larger ones first, as they need whole blocks of a node.
    for size in range(7):
        gpus = 64 >> size
        for s, shape in enumerate(cluster.shapes):
            if shape.gpus <= gpus and 2 * shape.gpus > gpus:
                for copy in range(int(count[s])):
                    add_replica(new_plan, shape.pool, shape.tp, shape.pp, MIXED)
