"""Send to the tightest replica that still meets TTFT and TPOT; best effort when none does."""

TTFT_MARGIN = 0.85  # tune: 0.5 .. 1.0
TPOT_MARGIN = 0.95  # tune: 0.5 .. 1.0
BIG = 1e12


def predict(request: Request, inst: Instance) -> tuple[float, float]:
    uncached = max(0, request.prompt_tokens - inst.cached_prefix_tokens)
    backlog = inst.queued_prompt_tokens + inst.prefill_backlog_tokens
    ttft = prefill_time_s(inst, backlog + uncached)
    batch = inst.running_requests + inst.queued_requests + 1
    ctx = inst.context_tokens + inst.queued_prompt_tokens + request.prompt_tokens
    tpot = step_time_s(inst, min(batch, inst.max_num_seqs), ctx)
    return ttft, tpot


def meets(request: Request, inst: Instance, ttft: float, tpot: float) -> bool:
    if not is_missing(request.ttft_slo_s) and request.age_s + ttft > TTFT_MARGIN * request.ttft_slo_s:
        return False
    limit = request.tpot_slo_s
    if not is_missing(inst.tpot_slo_s):
        limit = inst.tpot_slo_s if is_missing(limit) else min(limit, inst.tpot_slo_s)
    return is_missing(limit) or tpot <= TPOT_MARGIN * limit


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    good_id, good_score = HOLD, -BIG
    any_id, any_score = HOLD, BIG
    for inst in instances:
        if inst.role == DECODE or inst.draining or inst.starting:
            continue
        ttft, tpot = predict(request, inst)
        if meets(request, inst, ttft, tpot):
            # pack: most loaded feasible one, to keep others free for tight requests
            packed = tpot + 0.1 * ttft
            if packed > good_score:
                good_id, good_score = inst.id, packed
        miss = ratio(ttft, request.ttft_slo_s, ttft) + ratio(tpot, request.tpot_slo_s, tpot)
        if miss < any_score:
            any_id, any_score = inst.id, miss
    return good_id if good_id != HOLD else any_id
