"""Disaggregated routing: prefill by time to first token, decode by batch slow-down and transfer.

Short prompts skip disaggregation and go to a mixed instance when that is predicted to be faster.
"""

SHORT_PROMPT = 512  # tune: 64 .. 4096
HANDOFF_GAIN = 1.0  # tune: 0.2 .. 4.0
BALANCE = 0.25  # tune: 0 .. 2
FULL = 0.97  # tune: 0.8 .. 1.0
NEVER = 1e18


def alive(inst):
    return not (inst.draining or inst.starting)


def ttft(request, inst):
    hit = max(inst.cached_prefix_tokens, 0)
    tokens = inst.queued_prompt_tokens + inst.prefill_backlog_tokens + max(request.prompt_tokens - hit, 1)
    t = prefill_time_s(inst, tokens)
    if inst.role == PREFILL:
        h = inst.handoff_s
        t += HANDOFF_GAIN * (0.05 if is_missing(h) else h)
    return t


def argmin(costs: list[float]) -> int:
    best = 0
    for k in range(1, len(costs)):
        if costs[k] < costs[best]:
            best = k
    return best


def route(request, instances, memory):
    costs = []
    for inst in instances:
        if not alive(inst) or inst.role == DECODE:
            costs.append(NEVER)
        elif inst.role == MIXED and request.prompt_tokens > SHORT_PROMPT:
            costs.append(1.5 * ttft(request, inst))
        else:
            costs.append(ttft(request, inst))
    if len(costs) == 0:
        return HOLD
    k = argmin(costs)
    return HOLD if costs[k] >= NEVER else instances[k].id


def route_decode(request, instances, memory):
    mean_ctx = 0.0
    count = 0
    for inst in instances:
        if alive(inst) and inst.role != PREFILL:
            mean_ctx += inst.context_tokens
            count += 1
    if count == 0:
        return HOLD
    mean_ctx /= count

    costs = []
    for inst in instances:
        full = inst.kv_used_tokens + request.prompt_tokens > FULL * inst.kv_capacity_tokens
        if not alive(inst) or inst.role == PREFILL or full:
            costs.append(NEVER)
            continue
        step = step_time_s(inst, inst.decoding_requests + 1, inst.context_tokens + request.prompt_tokens)
        slo = request.tpot_slo_s
        over = 0.0 if is_missing(slo) else max(0.0, step / slo - 1.0)
        skew = ratio(inst.context_tokens, mean_ctx, 1.0)
        move = 0.0 if is_missing(inst.transfer_s) else inst.transfer_s
        costs.append(move + 100 * step * (1 + BALANCE * skew) + 10 * over)
    k = argmin(costs)
    return instances[k].id if costs[k] < NEVER else HOLD
