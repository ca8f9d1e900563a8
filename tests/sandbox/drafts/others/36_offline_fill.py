"""Offline work fills gaps: held at the router and admitted only when online traffic leaves room."""

ONLINE_RESERVE = 0.3  # tune: 0.05 .. 0.7
QUIET_QUEUE = 1  # tune: 0 .. 8
FORCE_S = 1800.0  # tune: 60 .. 20000
EWMA = 0.02  # tune: 0.001 .. 0.2
BUSY = 0


def free_share(inst):
    used = max(inst.kv_used_tokens, 0)
    if not is_missing(inst.kv_predicted_tokens):
        used = max(used, inst.kv_predicted_tokens)
    return 1 - ratio(used, inst.kv_capacity_tokens, 1)


def route(request, instances, memory):
    live = [i for i in instances if not i.draining and not i.starting and i.role != DECODE]
    if not live: return HOLD
    busy = sum([1 - free_share(i) for i in live]) / len(live)
    memory[BUSY] = busy if memory[BUSY] == 0 else memory[BUSY] + EWMA * (busy - memory[BUSY])

    if request.online:
        # offline requests there can be preempted: count them half
        best = sorted(live, key=lambda i: completion_s(request, i) * (1 - 0.5 * ratio(i.offline_requests, i.running_requests + i.queued_requests, 0)))
        return best[0].id

    urgent = request.age_s > FORCE_S or (not is_missing(request.deadline_s) and request.deadline_s < 120)
    if urgent:
        return min(live, key=lambda i: i.queued_prompt_tokens).id
    if memory[BUSY] > 1 - ONLINE_RESERVE / 2:
        return HOLD
    for i in sorted(live, key=free_share, reverse=True):
        if free_share(i) > ONLINE_RESERVE and i.queued_requests <= QUIET_QUEUE:
            return i.id
    return HOLD


def admit(request, instance, memory):
    if request.online:
        return True
    online_here = instance.running_requests - max(0, instance.offline_requests)
    if online_here <= 0:
        return True
    return free_share(instance) > ONLINE_RESERVE


def priority(request, instance, memory):
    return -request.age_s if request.online else 1_000_000 - request.age_s


def tune(instance, memory):
    want = clip(free_share(instance) - ONLINE_RESERVE, 0, 1)
    old = instance.knob_offline_share
    if is_missing(old) or old < 0:
        old = want
    set_offline_share(instance, 0.7 * old + 0.3 * want)
