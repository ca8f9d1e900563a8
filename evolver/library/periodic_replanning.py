"""Periodic replanning: make the plan anew at fixed intervals, whatever it costs to switch.

The idea is the cron job of capacity planning, after OServe's and Autopoiesis' baselines that
redeploy on a clock: it follows drift, and pays for every change of shape. The plan itself takes,
pool by pool, the shape that sustains most requests like the window's.
"""

PERIOD_S = 300.0  # tune: 30 .. 7200


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


def should_reschedule(window, cluster, plan, memory):
    return len(plan.replicas) == 0 or window.since_plan_s >= PERIOD_S


def schedule(window, cluster, plan, new_plan, memory):
    for pool in range(len(cluster.pools)):
        for size in range(8):
            if add_best(cluster, new_plan, pool) == 0:
                break
