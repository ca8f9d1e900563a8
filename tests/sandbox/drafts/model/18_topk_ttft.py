"""Keep the three best predicted TTFTs, then take the one with the most KV headroom of those."""

K = 3
REJECT_FACTOR = 6.0  # tune: 2.0 .. 30.0


def ttft(request, inst):
    own = max(request.prompt_tokens - inst.cached_prefix_tokens, 1)
    ahead = inst.queued_prompt_tokens + inst.prefill_backlog_tokens
    t = prefill_time_s(inst, ahead + own)
    if inst.running_requests >= inst.max_num_seqs:
        t += 0.5 * (1 + inst.queued_requests)
    if inst.role == PREFILL and not is_missing(inst.handoff_s):
        t += inst.handoff_s
    return t


def headroom(inst):
    used = inst.kv_used_tokens if is_missing(inst.kv_predicted_tokens) else inst.kv_predicted_tokens
    return 1.0 - used / max(1, inst.kv_capacity_tokens)


def route(request, instances, memory):
    scored = []
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        scored.append((ttft(request, inst), inst))
    if not scored:
        return HOLD
    scored.sort(key=lambda pair: pair[0])
    best_t = scored[0][0]
    # far too late anyway: refusing is kinder than queueing
    if request.online and request.ttft_slo_s > 0 and best_t > REJECT_FACTOR * request.ttft_slo_s:
        return REJECT
    top = scored[:K]
    _, chosen = max(top, key=lambda pair: headroom(pair[1]))
    return chosen.id
