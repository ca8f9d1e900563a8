"""Join the shortest expected delay, service rates learnt as an EWMA per replica in router memory."""

ALPHA = 0.1  # tune: 0.01 .. 0.5
SLOTS = 60
PRIOR_S = 0.05  # tune: 0.005 .. 0.5


def slot(inst: Instance) -> int:
    return inst.id % SLOTS


def learn(inst: Instance, memory: Memory) -> float:
    # EWMA of step time; zero means never seen
    k = slot(inst)
    x = inst.step_time_s
    if is_missing(x) or x <= 0.0:
        return memory[k] if memory[k] > 0 else PRIOR_S
    memory[k] = x if memory[k] == 0.0 else (1 - ALPHA) * memory[k] + ALPHA * x
    return memory[k]


def delay(request: Request, inst: Instance, step: float) -> float:
    tokens = inst.queued_prompt_tokens + inst.prefill_backlog_tokens
    tokens += request.prompt_tokens - min(inst.cached_prefix_tokens, request.prompt_tokens)
    chunks = ceil(tokens / max(inst.token_budget, 1))
    seats_over = inst.running_requests + inst.queued_requests + 1 - inst.max_num_seqs
    return chunks * step + max(0, seats_over) * 10 * step


def route(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    winner: int = HOLD
    lowest: float = 1e30
    for inst in instances:
        step = learn(inst, memory)
        if inst.starting or inst.draining or inst.role == DECODE:
            continue
        d = delay(request, inst, step)
        if d < lowest:
            lowest = d
            winner = inst.id
    return winner
