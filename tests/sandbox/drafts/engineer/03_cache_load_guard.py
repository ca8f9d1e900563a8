"""Cache-aware routing with a load guard: follow the prefix unless that instance is overloaded.

A hit saves prefill time; we follow the longest cached prefix only if the instance is not much
more loaded than the median one. Otherwise we fall back to least prefill wait.
"""

MIN_HIT_SHARE = 0.25  # tune: 0.05 .. 0.9
LOAD_SLACK = 1.6  # tune: 1.05 .. 4
LOAD_ABS = 4.0  # tune: 1 .. 32


def prefill_wait_s(inst: Instance, extra_tokens: float) -> float:
    tokens = inst.queued_prompt_tokens + inst.prefill_backlog_tokens + extra_tokens
    return prefill_time_s(inst, tokens)


def load_of(inst: Instance) -> float:
    return inst.queued_requests + ratio(inst.running_requests, inst.max_num_seqs, 1.0)


def median(values):
    n = len(values)
    if n == 0:
        return 0.0
    s = sorted(values)
    mid = n // 2
    return s[mid] if n % 2 == 1 else 0.5 * (s[mid - 1] + s[mid])


def route(request: Request, instances: Sequence, memory: Memory) -> int:
    # Pass 1: who is usable at all
    usable = []
    for inst in instances:
        if inst.role == DECODE or inst.draining or inst.starting:
            continue
        usable.append(inst)
    if len(usable) == 0:
        return HOLD

    med = median([load_of(i) for i in usable])

    # Pass 2: the longest hit among those that are not overloaded
    best_hit, best_id = 0, None
    for inst in usable:
        hit = inst.cached_prefix_tokens
        if hit <= 0 or hit < MIN_HIT_SHARE * request.prompt_tokens:
            continue
        if load_of(inst) > LOAD_SLACK * med + LOAD_ABS:
            continue
        if hit > best_hit:
            best_hit, best_id = hit, inst.id
    if best_id is not None:
        return best_id

    # Pass 3: shortest prefill wait
    best_wait = None
    for inst in usable:
        extra = max(0, request.prompt_tokens - max(0, inst.cached_prefix_tokens))
        wait = prefill_wait_s(inst, extra)
        if best_wait is None or wait < best_wait:
            best_wait, best_id = wait, inst.id
    return best_id
