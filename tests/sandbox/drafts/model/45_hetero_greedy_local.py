"""Heterogeneous planner: greedy marginal gain per dollar, then pairwise swaps, then roles by link speed."""

BUDGET_USD = 200.0  # tune: 10 .. 2000
PEAK = 1.3  # tune: 1.0 .. 3.0
SWAPS = 40
FAST_LINK = 1.0e11  # tune: 1e10 .. 1e12
PREFILL_SHARE = 0.3  # tune: 0.1 .. 0.7
PATIENCE = 3
BAD = 0  # consecutive bad windows


def target_rate(window: Window) -> float:
    row = window.classes[0]
    rate = row.rate_rps
    if not is_missing(row.forecast_rps):
        err = 0.0 if is_missing(row.forecast_error) else row.forecast_error
        rate = max(rate, row.forecast_rps * (1.0 + err))
    return PEAK * rate


def price(cluster: Cluster, s: Shape) -> float:
    return max(0.001, s.gpus * cluster.pools[s.pool].price_usd_per_hour)


def totals(cluster: Cluster, counts) -> tuple[float, float]:
    rate = sum(c * s.rate_rps for c, s in zip(counts, cluster.shapes))
    usd = sum(c * price(cluster, s) for c, s in zip(counts, cluster.shapes))
    return rate, usd


def left_in_pool(cluster: Cluster, counts, p: int) -> int:
    pool = cluster.pools[p]
    used = 0
    for c, s in zip(counts, cluster.shapes):
        if s.pool == p:
            used += c * s.gpus
    return pool.present - pool.leaving - used


def greedy(cluster: Cluster, need: float):
    counts = [0 for _ in cluster.shapes]
    for _ in range(MAX_REPLICAS):
        rate, usd = totals(cluster, counts)
        if rate >= need:
            break
        best, best_gain = None, 0.0
        for k, s in enumerate(cluster.shapes):
            if s.gpus > left_in_pool(cluster, counts, s.pool):
                continue
            if usd + price(cluster, s) > BUDGET_USD:
                continue
            gain = min(s.rate_rps, need - rate) / price(cluster, s)
            if gain > best_gain:
                best, best_gain = k, gain
        if best is None:
            break
        counts[best] += 1
    return counts


def improve(cluster: Cluster, counts, need: float, seed: int):
    n = len(counts)
    rate, usd = totals(cluster, counts)
    for t in range(SWAPS):
        i = floor(random01(seed, 2 * t) * n)
        j = floor(random01(seed, 2 * t + 1) * n)
        if i == j or counts[i] == 0:
            continue
        counts[i] -= 1
        ok = left_in_pool(cluster, counts, cluster.shapes[j].pool) >= cluster.shapes[j].gpus
        if ok:
            counts[j] += 1
            new_rate, new_usd = totals(cluster, counts)
            better = (min(new_rate, need), -new_usd) > (min(rate, need), -usd)
            if better and new_usd <= BUDGET_USD:
                rate, usd = new_rate, new_usd
                continue
            counts[j] -= 1
        counts[i] += 1
    return counts


def should_reschedule(window: Window, cluster: Cluster, plan: Plan, memory: Memory) -> bool:
    if not window.plan_feasible:
        return True
    row = window.classes[0]
    bad = (not is_missing(row.slo_attainment)) and row.slo_attainment < 0.9
    bad = bad or window.kv_pressure > 0.95
    idle = (not is_missing(window.busy)) and window.busy < 0.25
    memory[BAD] = memory[BAD] + 1 if (bad or idle) else 0
    if memory[BAD] >= PATIENCE:
        memory[BAD] = 0
        return True
    return window.capacity_changed and window.since_plan_s > 60.0


def schedule(window: Window, cluster: Cluster, plan: Plan, new_plan: Plan, memory: Memory) -> None:
    need = target_rate(window)
    counts = improve(cluster, greedy(cluster, need), need, plan.reconfigurations + 1)
    if not any(counts):
        keep_plan(new_plan, plan)
        return
    for count, s in zip(counts, cluster.shapes):
        fast = cluster.pools[s.pool].link_bytes_per_s >= FAST_LINK
        n_prefill = int(PREFILL_SHARE * count) if fast and count >= 3 else 0
        for k in range(count):
            role = MIXED
            if n_prefill > 0:
                role = PREFILL if k < n_prefill else DECODE
            add_replica(new_plan, s.pool, s.tp, s.pp, role)
    wanted_more = totals(cluster, counts)[0] < need
    for p, pool in enumerate(cluster.pools):
        if pool.elastic and wanted_more:
            want_gpus(cluster, p, pool.present + pool.node_size)
