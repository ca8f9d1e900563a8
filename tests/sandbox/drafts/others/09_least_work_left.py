"""Least work left, in seconds: prefill backlog plus decode tail at modelled speed."""

DEFAULT_OUT = 256.0  # tune: 64 .. 1024


def decode_left_s(inst):
    left = inst.predicted_remaining_tokens
    if is_missing(left):
        left = DEFAULT_OUT * (inst.queued_requests + 0.5 * inst.running_requests)
    speed = inst.decode_tokens_per_s
    if is_missing(speed) or speed <= 0:
        batch = max(1, inst.decoding_requests)
        speed = batch / max(1e-6, step_time_s(inst, batch, inst.context_tokens))
    return left / speed


def route(request, instances, memory):
    def work(inst):
        own = request.prompt_tokens - max(0, inst.cached_prefix_tokens)
        return prefill_time_s(inst, inst.queued_prompt_tokens + inst.prefill_backlog_tokens + own) + decode_left_s(inst)

    options = [(work(i), i.id) for i in instances if not i.draining and not i.starting and i.role != DECODE]
    if len(options) == 0:
        return HOLD
    _, best = min(options)
    return best
