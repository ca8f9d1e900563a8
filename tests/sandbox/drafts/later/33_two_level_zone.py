"""Two-level routing: first the zone with least load per speed, then the best instance in it."""

ZONES = 8  # tune: 2 .. 16
REMOTE_PENALTY_S = 0.05  # tune: 0 .. 1


def zone_index(inst):
    return inst.zone % ZONES if inst.zone >= 0 else 0


def route(request, instances, memory):
    work = zeros(ZONES)
    speed = zeros(ZONES)
    home_zone = -1
    for inst in instances:
        if inst.id == request.last_instance:
            home_zone = zone_index(inst)
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        z = zone_index(inst)
        work[z] += inst.queued_prompt_tokens + inst.prefill_backlog_tokens
        speed[z] += inst.prefill_tokens_per_s

    best_zone = -1
    best_time = 0.0
    for z in range(ZONES):
        if speed[z] <= 0.0:
            continue
        t = (work[z] + request.prompt_tokens) / speed[z]
        if home_zone >= 0 and z != home_zone:
            t += REMOTE_PENALTY_S
        if best_zone < 0 or t < best_time:
            best_zone, best_time = z, t
    if best_zone < 0:
        return HOLD

    inside = [i for i in instances if zone_index(i) == best_zone
              and not i.draining and not i.starting and i.role != DECODE]
    return min(inside, key=lambda i: completion_s(request, i)).id
