"""Disaggregated pair: prefill by queue tokens and handoff, decode by batch growth and slack."""

HANDOFF_WEIGHT = 1.0  # tune: 0.0 .. 4.0
MIXED_PENALTY_S = 0.2  # tune: 0.0 .. 2.0
DECODE_FILL = 0.9  # tune: 0.5 .. 1.0
EPS = 1e-6


def is_up(x: Instance) -> bool:
    return not x.starting and not x.draining


def nan_to(x: float, default: float) -> float:
    return default if is_missing(x) else x


def prefill_score(request: Request, x: Instance) -> float:
    todo = x.queued_prompt_tokens + x.prefill_backlog_tokens
    todo += max(0, request.prompt_tokens - x.cached_prefix_tokens)
    score = todo / max(x.prefill_tokens_per_s, EPS)
    if x.role == PREFILL:
        score += HANDOFF_WEIGHT * nan_to(x.handoff_s, 1.0)
    else:
        score += MIXED_PENALTY_S * ratio(x.decoding_requests, x.max_num_seqs, 1.0)
    return score


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    ranked = sorted(
        [x for x in instances if is_up(x) and x.role != DECODE],
        key=lambda x: prefill_score(request, x),
    )
    return ranked[0].id if ranked else HOLD


def decode_score(request: Request, x: Instance) -> tuple[bool, float]:
    ctx = x.context_tokens + request.prompt_tokens
    after = step_time_s(x, x.decoding_requests + 1, ctx)
    target = min(nan_to(request.tpot_slo_s, 1e9), nan_to(x.tpot_slo_s, 1e9))
    return after > target, after + 0.01 * nan_to(x.transfer_s, 0.0)


def route_decode(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    best = None
    best_key = (True, 0.0)
    for x in instances:
        if not is_up(x) or x.role == PREFILL:
            continue
        used = (x.kv_used_tokens + request.prompt_tokens) / max(x.kv_capacity_tokens, 1)
        if used > DECODE_FILL:
            continue
        key = decode_score(request, x)
        if best is None or key < best_key:
            best, best_key = x, key
    if best is None:
        return HOLD
    return best.id
