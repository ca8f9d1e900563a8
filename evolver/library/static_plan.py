"""Static plan: chosen once, then only repaired.

The idea is the deployment file: the best shapes for the first window, kept whatever happens to the
traffic. When GPUs are lost the replicas that no longer fit are dropped, and when they come back the
gap is filled again; nothing else is ever changed.
"""


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
    if len(plan.replicas) == 0 or not window.plan_feasible:
        return True
    gpus = 0
    for pool in range(len(cluster.pools)):
        gpus += plan_gpus(plan, pool)
    return window.capacity_changed and gpus < memory[0]


def schedule(window, cluster, plan, new_plan, memory):
    for replica in plan.replicas:
        index = find_shape(cluster, replica.pool, replica.tp, replica.pp)
        if index >= 0:
            used = plan_gpus(new_plan, replica.pool)
            if copies_left(cluster, cluster.shapes[index], used) > 0:
                add_replica(new_plan, replica.pool, replica.tp, replica.pp, replica.role)
    gpus = 0
    for pool in range(len(cluster.pools)):
        for size in range(8):
            if add_best(cluster, new_plan, pool) == 0:
                break
        gpus += plan_gpus(new_plan, pool)
    memory[0] = max(memory[0], gpus)
