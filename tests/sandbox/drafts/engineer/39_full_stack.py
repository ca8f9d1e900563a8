"""Full stack: SLO-slack queue, KV-safe admission, cost-aware routing, value eviction, load valve.

Each hook is small; they share the helpers for predicted length and KV forecast.
"""

FALLBACK_OUTPUT = 220.0  # tune: 32 .. 2000
KV_TARGET = 0.9  # tune: 0.5 .. 1.0
AFFINITY_S = 0.4  # tune: 0 .. 10
SPREAD = 0.05  # tune: 0 .. 0.5
TTFT_DEFAULT_S = 4.0  # tune: 0.5 .. 60
EVICT_TAU_S = 90.0  # tune: 5 .. 1000
BUDGET_LOW = 512
BUDGET_HIGH = 4096


# ---------------------------------------------------------------- helpers

def output_tokens(request):
    p = request.predicted_output_tokens
    return p if not is_missing(p) else FALLBACK_OUTPUT


def kv_forecast(instance):
    k = instance.kv_predicted_tokens
    return k if not is_missing(k) else 1.2 * instance.kv_used_tokens


def or_else(x, default):
    return default if is_missing(x) else x


# ---------------------------------------------------------------- router

def route(request, instances, memory):
    best_id, best_cost = HOLD, 1e30
    for n, inst in enumerate(instances):
        if inst.role == DECODE or inst.draining:
            continue
        cost = completion_s(request, inst)
        kv = (kv_forecast(inst) + request.prompt_tokens) / max(1, inst.kv_capacity_tokens)
        if kv > KV_TARGET:
            cost *= 1 + 2 * (kv - KV_TARGET)
        if inst.id == request.last_instance:
            cost -= AFFINITY_S
        if inst.starting:
            cost += 30
        # break ties differently per request
        cost *= 1 + SPREAD * random01(request.seed, n)
        if cost < best_cost:
            best_id, best_cost = inst.id, cost
    return best_id


# ---------------------------------------------------------------- engine

def priority(request, instance, memory):
    target = or_else(request.ttft_slo_s, TTFT_DEFAULT_S)
    slack = target - request.age_s
    if request.done_tokens > 0:
        slack = or_else(request.deadline_s, 0.0)
    return slack + (0 if request.online else 3600)


def admit(request, instance, memory):
    if instance.running_requests == 0:
        return True
    need = request.prompt_tokens + output_tokens(request)
    return kv_forecast(instance) + need <= KV_TARGET * instance.kv_capacity_tokens


def evict(entry, instance, memory):
    p = or_else(entry.probability, exp(-entry.age_s / EVICT_TAU_S))
    saved = prefill_time_s(instance, entry.tokens)
    return (p + entry.users) * saved * (1 + log(1 + entry.hits)) / max(1, entry.tokens)


def tune(instance, memory):
    slo = or_else(instance.tpot_slo_s, 1.0)
    room_s = slo - step_time_s(instance, instance.decoding_requests, instance.context_tokens)
    tokens = room_s * instance.prefill_tokens_per_s
    set_token_budget(instance, int(clip(tokens, BUDGET_LOW, BUDGET_HIGH)))
