"""Lexicographic decode choice: fits, same zone as cheap transfer, then the lowest batch step time."""

BUCKET_S = 0.02  # tune: 0.002 .. 0.5
GROWTH = 1.1  # tune: 1.0 .. 2.0


def tier(request, inst):
    need = (request.prompt_tokens + request.done_tokens) * GROWTH
    free = inst.kv_capacity_tokens - inst.kv_used_tokens
    if free < need or inst.running_requests >= inst.max_num_seqs:
        return 2
    predicted = inst.kv_predicted_tokens
    if not is_missing(predicted) and predicted + need > inst.kv_capacity_tokens:
        return 1
    return 0


def route_decode(request, instances, memory):
    ranked = sorted(
        (
            (tier(request, inst), floor(ratio(inst.transfer_s, BUCKET_S, 50.0)), inst.step_time_s, inst.id)
            for inst in instances
            if inst.role in (DECODE, MIXED) and not inst.draining and not inst.starting
        )
    )
    if not ranked:
        return HOLD
    level, _, _, chosen = ranked[0]
    return chosen if level < 2 else HOLD
