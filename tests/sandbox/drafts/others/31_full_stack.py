"""Full stack: slack routing, fair queueing, KV admission, value eviction and budget control.

One idea runs through the hooks: a second of an online request that can still meet its target is
worth URGENT seconds of anything else.
"""

# ---- tunables ----
URGENT = 6.0  # tune: 1 .. 30
HIT_BONUS = 0.8  # tune: 0 .. 2
KV_KNEE = 0.85  # tune: 0.5 .. 0.99
KV_SLOPE = 4.0  # tune: 0 .. 20
ADMIT_KV = 0.96  # tune: 0.7 .. 1.0
RECENCY_S = 120.0  # tune: 10 .. 1200
STEP_SHARE = 0.8  # tune: 0.4 .. 1.0

# ---- router memory ----
R_COUNT = 0
R_RATE = 1
R_LAST = 2


def or_else(x: float, default: float) -> float:
    return default if is_missing(x) else x


def slack_s(request: Request) -> float:
    candidates = []
    if not is_missing(request.deadline_s):
        candidates.append(request.deadline_s)
    if not is_missing(request.ttft_slo_s) and request.done_tokens == 0:
        candidates.append(request.ttft_slo_s - request.age_s)
    if not is_missing(request.e2e_slo_s):
        candidates.append(request.e2e_slo_s - request.age_s)
    return min(candidates) if candidates else 3600.0


def kv_penalty(inst: Instance) -> float:
    used = or_else(inst.kv_predicted_tokens, inst.kv_used_tokens)
    fill = ratio(used, inst.kv_capacity_tokens, 1.0)
    return 1.0 + KV_SLOPE * max(0.0, fill - KV_KNEE)


def note_arrival(request: Request, memory: Memory) -> None:
    if request.held_count > 0:
        return
    memory[R_COUNT] += 1
    gap = request.now_s - memory[R_LAST]
    memory[R_LAST] = request.now_s
    if memory[R_COUNT] > 1 and gap > 0:
        memory[R_RATE] = 0.95 * memory[R_RATE] + 0.05 / max(gap, 1e-3)


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    note_arrival(request, memory)
    slack = slack_s(request)
    ranked: list[tuple[float, int]] = []
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        done = completion_s(request, inst)
        hit_s = prefill_time_s(inst, max(0, inst.cached_prefix_tokens))
        late = max(0.0, done - slack)
        cost = (done + (URGENT * late if request.online else 0.0)) * kv_penalty(inst) - HIT_BONUS * hit_s
        ranked.append((cost, inst.id))
    if not ranked:
        return HOLD
    ranked.sort()
    return ranked[0][1]


def priority(request: Request, instance: Instance, memory: Memory) -> float:
    slack = slack_s(request)
    need = prefill_time_s(instance, request.prompt_tokens)
    fair = 1.0 + ratio(instance.tenant_requests, max(1, instance.running_requests), 0.0)
    if not request.online:
        return 1e5 - request.age_s
    if slack < need:
        return 5e4 + need
    return fair * (slack - need) / max(request.weight, 1e-3)


def admit(request: Request, instance: Instance, memory: Memory) -> bool:
    if instance.running_requests == 0:
        return True
    extra = request.prompt_tokens + 0.5 * or_else(request.predicted_output_tokens, 256.0)
    used = instance.kv_used_tokens
    return used + extra <= ADMIT_KV * instance.kv_capacity_tokens


def evict(entry: Entry, instance: Instance, memory: Memory) -> float:
    p = or_else(entry.probability, exp(-entry.age_s / RECENCY_S))
    bonus = URGENT if entry.online else 1.0
    return bonus * (p + entry.users) * (1 + log(1 + entry.hits))


def tune(instance: Instance, memory: Memory) -> None:
    slo = or_else(instance.tpot_slo_s, 0.2)
    base = step_time_s(instance, instance.decoding_requests, instance.context_tokens)
    spare = STEP_SHARE * slo - base
    per_token = prefill_time_s(instance, 1024) / 1024
    tokens = spare / per_token if per_token > 0 else 2048
    set_token_budget(instance, int(clip(tokens, 128, 8192)))
    idle = instance.queued_requests == 0 and instance.running_requests < 4
    set_finetune_share(instance, 0.3 if idle else 0.0)
