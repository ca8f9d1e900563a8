"""Stop admitting above a KV high mark, resume below the low mark; TPOT guard on the decode batch."""

HIGH = 0.93  # tune: 0.7 .. 0.99
LOW = 0.80  # tune: 0.4 .. 0.95
TPOT_FACTOR = 1.0  # tune: 0.6 .. 1.5
STARVE_S = 10.0  # tune: 1 .. 120
CLOSED = 0


def kv_share(i):
    return i.kv_used_tokens / i.kv_capacity_tokens if i.kv_capacity_tokens > 0 else 1.0


def gate_open(i, memory):
    u = kv_share(i)
    if memory[CLOSED] and u < LOW:
        memory[CLOSED] = 0
    elif not memory[CLOSED] and u > HIGH:
        memory[CLOSED] = 1
    return not memory[CLOSED]


def hurts_decode(request, i):
    if is_missing(i.tpot_slo_s):
        return False
    t = step_time_s(i, i.decoding_requests + 1, i.context_tokens + request.prompt_tokens)
    return t > TPOT_FACTOR * i.tpot_slo_s


def admit(request, instance, memory):
    opened = gate_open(instance, memory)
    if instance.running_requests == 0: return True
    if instance.running_requests >= instance.max_num_seqs: return False
    if not opened: return False
    if hurts_decode(request, instance):
        return request.online and request.age_s > STARVE_S
    if not request.online:
        quota = 0.3 * instance.max_num_seqs
        return instance.offline_requests < quota or instance.queued_requests <= instance.offline_requests
    return True


def priority(request, instance, memory):
    return (0 if request.online else 1e5) - request.age_s * request.weight
