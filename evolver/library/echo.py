"""Echo: offline work fills what online requests leave free, and gives way before it hurts them.

Paper: Echo (arXiv 2504.03651).
Taken: online before offline; offline work admitted by estimated step time and memory, with a
threshold of KV kept for bursts of online work; offline requests grouped by the prefix they share;
eviction by the kind of work and by how many queued requests will use the entry again.
Inferred: the step-time test at the head of the queue in place of the paper's search over edits of
the last batch, a threshold that follows the peak of online KV use, the token budget as the means to
bound how long a step may be stretched by prefill, the prefixes let in last as those that are here
where an engine does not say, and how long the rest may be passed by them.
"""

SLO_MARGIN = 0.85  # tune: 0.3 .. 1
BURST_SHARE = 0.1  # tune: 0 .. 0.5
CALM_S = 300.0  # tune: 10 .. 3600
SMALLEST_CHUNK = 64.0  # tune: 16 .. 1024
UNKNOWN_TOKENS = 256.0  # tune: 16 .. 4096
TOGETHER_S = 120.0  # tune: 1 .. 3600


def output_tokens(request):
    if is_missing(request.predicted_output_tokens):
        return UNKNOWN_TOKENS
    return request.predicted_output_tokens


def spare_tokens(instance, more_requests, more_context):
    # Prompt tokens a step can still take beside its decodes without breaking the tightest TPOT.
    batch = instance.decoding_requests + more_requests
    decode_s = step_time_s(instance, batch, instance.context_tokens + more_context)
    room_s = SLO_MARGIN * instance.tpot_slo_s - decode_s
    if is_missing(room_s):
        return 1.0 * instance.token_budget
    return room_s * instance.prefill_tokens_per_s


def kv_kept(instance, memory):
    return max(BURST_SHARE, memory[0]) * instance.kv_capacity_tokens


def is_here(request, instance, memory):
    # Prefixes of offline work that was let in last are still cached, as many as fit.
    fitting = (1.0 - BURST_SHARE) * ratio(instance.kv_capacity_tokens, request.prompt_tokens, 0.0)
    for k in range(16):
        if k < fitting and memory[2 + k] == request.prefix_key + 1.0:
            return True
    return False


def remember(request, memory):
    # memory[2] .. : keys of prefixes, plus 1, the latest first.
    if request.prefix_key < 0:
        return
    pushed = request.prefix_key + 1.0
    for k in range(16):
        before = memory[2 + k]
        memory[2 + k] = pushed
        if before == request.prefix_key + 1.0:
            return
        pushed = before


def priority(request, instance, memory):
    if request.online:
        return -request.age_s
    # Offline requests whose prefix is here come together, so that it is computed once.
    key = 1e9 - request.age_s
    if request.prefix_key >= 0 and (
        instance.cached_prefix_tokens > 0 or is_here(request, instance, memory)
    ):
        key -= TOGETHER_S
    return key


def admit(request, instance, memory):
    if request.online:
        return True
    if instance.running_requests <= 0:
        remember(request, memory)
        return True
    used = instance.kv_predicted_tokens
    if is_missing(used):
        used = 1.0 * instance.kv_used_tokens
    cached = max(instance.cached_prefix_tokens, 0)
    need = request.prompt_tokens - cached + output_tokens(request)
    if used + need > instance.kv_capacity_tokens - kv_kept(instance, memory):
        return False
    if not spare_tokens(instance, 1, request.prompt_tokens) >= SMALLEST_CHUNK:
        return False
    remember(request, memory)
    return True


def evict(entry, instance, memory):
    # In order of value: offline that nobody waits for, online by age, what queued work will use.
    recent = ratio(1.0, 1.0 + max(entry.age_s, 0.0), 0.0)
    if entry.users > 0:
        return 2.0 + entry.users
    if entry.online:
        return 1.0 + recent
    return recent


def tune(instance, memory):
    # memory[0]: recent peak of the KV share that online work took within one tick (of a second);
    # memory[1]: the share a tick ago.
    share = ratio(instance.kv_used_tokens, instance.kv_capacity_tokens, 0.0)
    jump = 0.0
    if instance.offline_requests == 0:
        jump = max(share - memory[1], 0.0)
    memory[0] = min(max(jump, memory[0] * exp(-1.0 / CALM_S)), 0.5)
    memory[1] = share
    if instance.offline_requests > 0 and not is_missing(instance.tpot_slo_s):
        chunk = min(spare_tokens(instance, 0, 0), 65536.0)
        if not chunk >= SMALLEST_CHUNK:
            chunk = SMALLEST_CHUNK
        set_token_budget(instance, instance.decoding_requests + floor(chunk))
