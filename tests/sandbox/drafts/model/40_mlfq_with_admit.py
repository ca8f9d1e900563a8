"""Multi-level feedback queue on generated tokens, demotion with doubling quanta, periodic boost."""

QUANTUM_TOKENS = 64  # tune: 16 .. 512
LEVELS = 5
BOOST_S = 20.0  # tune: 2 .. 200
SKIP_LONG = 4096  # tune: 512 .. 32768


def queue_level(request: Request) -> int:
    work = request.done_tokens + request.prompt_tokens // 16
    quantum = QUANTUM_TOKENS
    for lvl in range(LEVELS - 1):
        if work < quantum:
            return lvl
        quantum = quantum * 2
    return LEVELS - 1


def priority(request: Request, instance: Instance, memory: Memory) -> float:
    lvl = queue_level(request)
    if request.keyed_count == 0 and request.prompt_tokens > SKIP_LONG:
        lvl = max(lvl, 2)
    boosts = int(request.age_s / BOOST_S)
    lvl = max(0, lvl - boosts)
    # within a level first come first served: older has the lower number
    return lvl + 1.0 / (1.0 + max(request.age_s, 0.0))


def admit(request: Request, instance: Instance, memory: Memory) -> bool:
    if instance.running_requests >= instance.max_num_seqs:
        return False
    free = instance.kv_capacity_tokens - instance.kv_used_tokens
    quantum_left = QUANTUM_TOKENS * 2 ** 2
    needed = request.prompt_tokens + request.done_tokens + quantum_left
    return needed <= free or instance.running_requests == 0
