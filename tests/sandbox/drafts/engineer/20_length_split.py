"""Length-split cluster: high-TP replicas take long prompts, low-TP ones take short prompts.

The planner sets the cut from the prompt distribution; the router honours the ranges unless every
in-range instance is overloaded, in which case it spills upwards only.
"""

CUT_FACTOR = 1.5  # tune: 0.5 .. 4
LONG_SHARE = 0.3  # tune: 0.05 .. 0.8
SPILL_WAIT_S = 3.0  # tune: 0.2 .. 30
HUGE = 10_000_000


def wait_s(inst):
    return prefill_time_s(inst, inst.queued_prompt_tokens + inst.prefill_backlog_tokens)


def should_reschedule(window, cluster, plan, memory):
    if not window.plan_feasible or window.capacity_changed:
        return True
    mean = window.classes[0].prompt_mean_tokens
    old = memory[0]
    changed = old > 0 and not (0.66 < ratio(mean, old, 1.0) < 1.5)
    return changed and window.since_plan_s > 180


def pick(cluster, pool, long_side):
    candidates = [s for s in cluster.shapes if s.pool == pool and s.fits_now > 0]
    if not candidates:
        return None
    if long_side:
        return max(candidates, key=lambda s: (s.kv_capacity_tokens / s.gpus, s.tp))
    return max(candidates, key=lambda s: s.rate_rps / s.gpus)


def schedule(window, cluster, plan, new_plan, memory):
    row = window.classes[0]
    cut = int(max(512.0, CUT_FACTOR * row.prompt_mean_tokens))
    memory[0] = row.prompt_mean_tokens
    for p, pool in enumerate(cluster.pools):
        gpus = pool.present - pool.leaving
        long_shape, short_shape = pick(cluster, p, True), pick(cluster, p, False)
        if long_shape is None:
            continue
        n_long = int(LONG_SHARE * gpus) // long_shape.gpus
        if n_long == 0 and gpus >= long_shape.gpus + short_shape.gpus:
            n_long = 1
        rest = gpus - n_long * long_shape.gpus
        for _ in range(n_long):
            i = add_replica(new_plan, p, long_shape.tp, long_shape.pp, MIXED)
            set_lengths(new_plan, i, cut, HUGE)
        for _ in range(rest // short_shape.gpus):
            i = add_replica(new_plan, p, short_shape.tp, short_shape.pp, MIXED)
            if n_long > 0:
                set_lengths(new_plan, i, 0, cut)


def route(request, instances, memory):
    length = request.prompt_tokens
    best, best_wait = None, None
    spill, spill_wait = None, None
    for inst in instances:
        if inst.role == DECODE or inst.draining or inst.starting:
            continue
        w = wait_s(inst)
        if inst.length_low_tokens <= length <= inst.length_high_tokens:
            if best is None or w < best_wait:
                best, best_wait = inst, w
        elif inst.length_low_tokens > length:
            if spill is None or w < spill_wait:
                spill, spill_wait = inst, w
    if best is None and spill is None:
        # nothing in range; anything alive will do
        alive = [i for i in instances if not i.draining and i.role != DECODE]
        return min(alive, key=wait_s).id if alive else HOLD
    if best is None:
        return spill.id
    if spill is not None and best_wait > SPILL_WAIT_S and spill_wait < 0.5 * best_wait:
        return spill.id
    return best.id
