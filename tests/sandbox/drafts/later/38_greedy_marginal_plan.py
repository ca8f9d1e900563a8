"""Greedy by marginal utility: each step adds the replica of best concave gain per dollar."""

ROUNDS = 96  # tune: 16 .. 128
PRICE_FLOOR = 0.1
KEEP_BONUS = 1.25  # tune: 1.0 .. 3.0
STOP_GAIN = 0.002  # tune: 0.0001 .. 0.05
TARGET_UTIL = 0.7  # tune: 0.4 .. 0.95


def utility(rate, demand):
    """Concave: 1 at demand / TARGET_UTIL and flat after."""
    x = rate * TARGET_UTIL / max(demand, 1e-6)
    return 1.0 - exp(-3.0 * x)


def count_existing(cluster, plan):
    counts = [0] * len(cluster.shapes)
    for rep in plan.replicas:
        k = find_shape(cluster, rep.pool, rep.tp, rep.pp)
        if k >= 0:
            counts[k] += 1
    return counts


def demand_of(window):
    row = window.classes[0]
    demand = row.rate_rps
    if not is_missing(row.forecast_rps):
        err = 0.0 if is_missing(row.forecast_error) else row.forecast_error
        demand = max(demand, row.forecast_rps * (1 + err))
    if row.burstiness > 1:
        demand *= min(1 + 0.2 * (row.burstiness - 1), 2)
    return demand


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible:
        return True
    last = memory[0]
    d = demand_of(window)
    up = d > 1.25 * last
    down = d < 0.6 * last and window.since_plan_s > 900
    quiet = window.since_capacity_change_s > 30
    return (up and window.since_plan_s > 90) or down or (window.capacity_changed and quiet)


def schedule(window, cluster, plan, new_plan, memory):
    demand = demand_of(window)
    memory[0] = demand
    existing = count_existing(cluster, plan)
    room = [p.present - p.leaving for p in cluster.pools]
    rate = 0.0
    for _ in range(ROUNDS):
        base = utility(rate, demand)
        best, best_score, best_gain = None, 0.0, 0.0
        for k, s in enumerate(cluster.shapes):
            if s.gpus > room[s.pool]:
                continue
            gain = utility(rate + s.rate_rps, demand) - base
            price = max(cluster.pools[s.pool].price_usd_per_hour, PRICE_FLOOR) * s.gpus
            score = gain / price * (KEEP_BONUS if existing[k] > 0 else 1.0)
            if score > best_score:
                best, best_score, best_gain = k, score, gain
        if best is None or best_gain < STOP_GAIN:
            break
        s = cluster.shapes[best]
        if add_replica(new_plan, s.pool, s.tp, s.pp, MIXED) < 0:
            break
        room[s.pool] -= s.gpus
        existing[best] -= 1
        rate += s.rate_rps
    else:
        memory[1] += 1   # ran out of rounds

    if rate == 0.0:
        keep_plan(new_plan, plan)
