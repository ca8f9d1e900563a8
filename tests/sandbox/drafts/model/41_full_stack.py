"""One policy for the whole stack: cache-aware routing, slack queue, KV admission, LRU eviction, budget."""

# --- routing
CACHE_GAIN = 1.0  # tune: 0.0 .. 3.0
KV_SOFT = 0.85  # tune: 0.5 .. 0.98
KV_COST_S = 3.0  # tune: 0.1 .. 30.0
# --- queue
OFFLINE_S = 600.0  # tune: 10 .. 5000
# --- cache
HIT_S = 30.0  # tune: 1 .. 300
# --- engine
MIN_BUDGET = 512
MAX_BUDGET = 8192


def _alive(inst: Instance, wrong_role: int) -> bool:
    return inst.role != wrong_role and not inst.draining and not inst.starting


def _kv_penalty(inst: Instance, extra: float) -> float:
    cap = max(inst.kv_capacity_tokens, 1)
    used = (inst.kv_used_tokens + extra) / cap
    return KV_COST_S * max(0.0, used - KV_SOFT) / (1.0 - KV_SOFT)


def _out_tokens(request: Request) -> float:
    p = request.predicted_output_tokens
    return 256.0 if is_missing(p) else max(1.0, p)


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    best: Instance | None = None
    best_cost = 0.0
    for inst in instances:
        if not _alive(inst, DECODE):
            continue
        hit_s = prefill_time_s(inst, min(inst.cached_prefix_tokens, request.prompt_tokens))
        cost = completion_s(request, inst)
        cost += _kv_penalty(inst, request.prompt_tokens + _out_tokens(request))
        cost -= (CACHE_GAIN - 1.0) * hit_s
        if request.session >= 0 and inst.id == request.last_instance:
            cost *= 0.95
        if best is None or cost < best_cost:
            best, best_cost = inst, cost
    if best is None:
        return HOLD
    return best.id


def route_decode(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    options = []
    for inst in instances:
        if _alive(inst, PREFILL):
            move = 0.0 if is_missing(inst.transfer_s) else inst.transfer_s
            ctx = inst.context_tokens + request.prompt_tokens
            step = step_time_s(inst, inst.running_requests + 1, ctx)
            total = move + step * _out_tokens(request) + _kv_penalty(inst, request.prompt_tokens)
            options.append((total, inst.id))
    if not options:
        return HOLD
    _, chosen = min(options)
    return chosen


def priority(request: Request, instance: Instance, memory: Memory) -> float:
    due = request.e2e_slo_s if is_missing(request.ttft_slo_s) or request.done_tokens else request.ttft_slo_s
    if is_missing(due):
        due = 60.0
    slack = due - request.age_s
    return slack + (0.0 if request.online else OFFLINE_S)


def admit(request: Request, instance: Instance, memory: Memory) -> bool:
    if instance.running_requests == 0:
        return True
    soon = request.prompt_tokens + 0.5 * _out_tokens(request)
    return instance.kv_used_tokens + soon < 0.97 * instance.kv_capacity_tokens


def evict(entry: Entry, instance: Instance, memory: Memory) -> float:
    return -entry.age_s + HIT_S * log(1 + entry.hits) + 1000.0 * entry.users


def tune(instance: Instance, memory: Memory) -> None:
    slo = instance.tpot_slo_s
    if is_missing(slo) or instance.prefill_tokens_per_s <= 0:
        set_token_budget(instance, MAX_BUDGET)
        return
    decode = step_time_s(instance, instance.decoding_requests, instance.context_tokens)
    spare = max(0.0, 0.95 * slo - decode)
    budget = instance.decoding_requests + spare * instance.prefill_tokens_per_s
    set_token_budget(instance, int(clip(budget, MIN_BUDGET, MAX_BUDGET)))
