"""Spot-aware planning: a stable base on on-demand pools, the rest on spot weighted by outlook."""

BASE_SHARE = 0.5  # tune: 0.2 .. 1.0
HEADROOM = 1.35  # tune: 1.0 .. 2.0
RISK = 0.5  # tune: 0 .. 2
COOLDOWN_S = 120.0  # tune: 10 .. 600


def usable_gpus(pool):
    n = pool.present - pool.leaving
    if pool.spot and not is_missing(pool.outlook) and pool.outlook < 0:
        n -= ceil(RISK * -pool.outlook)
    return max(n, 0)


def fill(cluster, new_plan, pools, goal):
    got = 0.0
    for p in pools:
        left = usable_gpus(cluster.pools[p])
        options = [s for s in cluster.shapes if s.pool == p]
        options.sort(key=lambda s: (s.rate_rps / max(s.gpus, 1), -s.start_s), reverse=True)
        for s in options:
            if s.rate_rps <= 0:
                continue
            for _ in range(s.fits_now):
                if got >= goal or left < s.gpus:
                    break
                if add_replica(new_plan, p, s.tp, s.pp, MIXED) < 0:
                    return got
                got += s.rate_rps
                left -= s.gpus
    return got


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible:
        return True
    leaving = sum(p.leaving for p in cluster.pools)
    if leaving > 0 and memory[0] != leaving:
        memory[0] = leaving
        return True
    if window.since_plan_s < COOLDOWN_S:
        return False
    r = window.classes[0]
    return r.queue_mean_s > 2.0 or r.slo_attainment < 0.8


def schedule(window, cluster, plan, new_plan, memory):
    row = window.classes[0]
    want = HEADROOM * (row.rate_rps if is_missing(row.forecast_rps) else max(row.rate_rps, row.forecast_rps))
    if want <= 0:
        keep_plan(new_plan, plan)
        return
    firm = [i for i, p in enumerate(cluster.pools) if not p.spot]
    spot = [i for i, p in enumerate(cluster.pools) if p.spot]
    firm.sort(key=lambda i: cluster.pools[i].price_usd_per_hour)
    spot.sort(key=lambda i: cluster.pools[i].price_usd_per_hour)
    got = fill(cluster, new_plan, firm, BASE_SHARE * want)
    got += fill(cluster, new_plan, spot, want - got)
    if got < want:
        # spot was not enough, ask for more where we may
        for i in firm + spot:
            pool = cluster.pools[i]
            if pool.elastic:
                missing = ratio(want - got, want, 0.0)
                want_gpus(cluster, i, pool.present + ceil(missing * max(pool.present, pool.node_size)))
                break
