"""Threshold trigger: replan when demand has left a band for a while, and only if it pays.

The idea is a careful operator's rule. Hysteresis: the demand in tokens per second must stay outside
a band around its value at the last look. Amortisation, the rule of HexGen-3's planner: switch only
if (new rate - old rate) x (stability window - switch time) > old rate x switch time, rates being
what the plans sustain. The plan takes, pool by pool, the shape that sustains most.
"""

BAND = 0.3  # tune: 0.05 .. 2
PATIENCE = 2  # tune: 1 .. 12
STABILITY_S = 300.0  # tune: 30 .. 3600


def copies_left(cluster, shape, used):
    # Every block that a larger replica took is gone for this size as well.
    blocks = shape.fits_now - (used + shape.gpus - 1) // shape.gpus
    pool = cluster.pools[shape.pool]
    return min(blocks, (pool.present - pool.leaving - used) // shape.gpus)


def add_best(cluster, new_plan, pool):
    used = plan_gpus(new_plan, pool)
    best, most = -1, 0.0
    for i in range(len(cluster.shapes)):
        shape = cluster.shapes[i]
        if shape.pool == pool:
            rate = shape.rate_rps * copies_left(cluster, shape, used)
            if rate > most:
                best, most = i, rate
    if best < 0:
        return 0
    shape = cluster.shapes[best]
    copies = copies_left(cluster, shape, used)
    for copy in range(copies):
        add_replica(new_plan, pool, shape.tp, shape.pp, MIXED)
    return copies


def demand_tokens_per_s(window):
    if len(window.classes) == 0:
        return 0.0
    every = window.classes[0]
    tokens = every.rate_rps * (every.prompt_mean_tokens + every.output_mean_tokens)
    if is_missing(tokens):
        return 0.0
    return tokens


def should_reschedule(window, cluster, plan, memory):
    # memory[0]: demand at the last look; memory[1]: monitoring points outside the band since.
    if len(plan.replicas) == 0 or window.capacity_changed or not window.plan_feasible:
        memory[0] = demand_tokens_per_s(window)
        memory[1] = 0.0
        return True
    demand = demand_tokens_per_s(window)
    if abs(demand - memory[0]) <= BAND * memory[0]:
        memory[1] = 0.0
        return False
    memory[1] = memory[1] + 1.0
    if memory[1] < PATIENCE:
        return False
    memory[0] = demand
    memory[1] = 0.0
    return True


def pays(cluster, plan, new_plan):
    old_rps = serving_rate_rps(cluster, plan)
    gain_rps = serving_rate_rps(cluster, new_plan) - old_rps
    switch_s = switch_cost_s(cluster, plan, new_plan)
    return gain_rps * (STABILITY_S - switch_s) > old_rps * switch_s


def schedule(window, cluster, plan, new_plan, memory):
    for pool in range(len(cluster.pools)):
        for size in range(8):
            if add_best(cluster, new_plan, pool) == 0:
                break
    if window.plan_feasible and len(plan.replicas) > 0 and not pays(cluster, plan, new_plan):
        keep_plan(new_plan, plan)
