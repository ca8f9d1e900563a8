"""Choose the decode instance by transfer time plus the step time it will have with us aboard."""

OUTPUT_GUESS = 200.0  # tune: 32 .. 1000
KV_LIMIT = 0.95  # tune: 0.7 .. 1.0
SLO_MISS_PENALTY_S = 5.0  # tune: 0.5 .. 50.0


def decode_cost(request: Request, inst: Instance, output: float) -> float:
    context = inst.context_tokens + request.prompt_tokens + request.done_tokens
    step = step_time_s(inst, inst.decoding_requests + 1, context)
    cost = output * step
    if not is_missing(inst.transfer_s):
        cost += inst.transfer_s
    if not is_missing(request.tpot_slo_s) and step > request.tpot_slo_s:
        cost += SLO_MISS_PENALTY_S
    if not is_missing(inst.tpot_slo_s) and step > inst.tpot_slo_s:
        cost += SLO_MISS_PENALTY_S * 0.5
    return cost


def fits(request: Request, inst: Instance) -> bool:
    if inst.draining or inst.starting or inst.role == PREFILL:
        return False
    if inst.running_requests + inst.queued_requests >= inst.max_num_seqs:
        return False
    need = inst.kv_used_tokens + request.prompt_tokens + request.done_tokens
    return need <= KV_LIMIT * inst.kv_capacity_tokens


def route_decode(request: Request, instances: Rows[Instance], memory: Memory) -> int:
    output = request.predicted_output_tokens
    if is_missing(output):
        output = OUTPUT_GUESS
    output = max(output - request.done_tokens, 1.0)
    costs = [(decode_cost(request, i, output), i.id) for i in instances if fits(request, i)]
    if not costs:
        return HOLD
    return min(costs)[1]


def migrate(running: Rows[Running], instances: Rows[Instance], moves: Moves, memory: Memory) -> None:
    # memory[0]: ticks to rest after a move
    if memory[0] > 0:
        memory[0] -= 1
        return
    decoders = [i for i in instances if i.role != PREFILL and not i.starting and not i.draining]
    if len(decoders) < 2:
        return
    steps = [step_time_s(i, i.decoding_requests, i.context_tokens) for i in decoders]
    slow = decoders[steps.index(max(steps))]
    quick = decoders[steps.index(min(steps))]
    if max(steps) < 1.5 * min(steps):
        return
    victim: Running | None = None
    for r in running:
        if r.instance != slow.id or not r.decoding or r.moved_count > 0:
            continue
        if victim is None or r.context_tokens > victim.context_tokens:
            victim = r
    if victim is not None and victim.context_tokens + quick.kv_used_tokens < KV_LIMIT * quick.kv_capacity_tokens:
        add_move(moves, victim, quick.id)
        memory[0] = 5
