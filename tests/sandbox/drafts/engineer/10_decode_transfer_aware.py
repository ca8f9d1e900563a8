"""Pick the decode instance by transfer time plus predicted decode time, holding if all are full.

Step time of the batch after joining is what the request will live with for its whole answer, so
transfer is paid once and the step time is paid per output token.
"""

KV_LIMIT = 0.95  # tune: 0.7 .. 1.0
UNKNOWN_OUTPUT = 256
TPOT_WEIGHT = 30.0  # tune: 0 .. 200


def join(request, inst):
    """(fits, cost) of this request joining inst."""
    context = request.prompt_tokens + request.done_tokens
    kv_after = inst.kv_used_tokens + context
    fits = kv_after <= KV_LIMIT * inst.kv_capacity_tokens and inst.running_requests < inst.max_num_seqs
    step = step_time_s(inst, inst.running_requests + 1, inst.context_tokens + context)
    out = request.predicted_output_tokens
    if is_missing(out):
        out = UNKNOWN_OUTPUT
    left = max(1.0, out - request.done_tokens)
    move = 0.0 if is_missing(inst.transfer_s) else inst.transfer_s
    cost = move + left * step
    slo = request.tpot_slo_s
    if not is_missing(slo) and step > slo:
        cost += TPOT_WEIGHT * (step / slo - 1.0)
    return fits, cost


def route_decode(request, instances, memory):
    best = None
    fallback = None
    for inst in instances:
        if inst.role == PREFILL or inst.draining or inst.starting:
            continue
        fits, cost = join(request, inst)
        if fits and (best is None or cost < best[0]):
            best = (cost, inst.id)
        if fallback is None or inst.kv_used_tokens < fallback[0]:
            fallback = (inst.kv_used_tokens, inst.id)
    if best is not None:
        return best[1]
    if request.held_count > 20 and fallback is not None:
        return fallback[1]
    return HOLD


def route(request, instances, memory):
    # prefill side: shortest backlog after counting the cached part
    rows = [i for i in instances if i.role != DECODE and not i.draining and not i.starting]
    if len(rows) == 0:
        return HOLD

    def backlog(i):
        return i.queued_prompt_tokens + i.prefill_backlog_tokens - max(0, i.cached_prefix_tokens)

    return min(rows, key=lambda i: backlog(i) / max(1.0, i.prefill_tokens_per_s)).id
