"""Cache-aware routing whose cache weight adapts to the load imbalance seen by the router."""

W_MIN = 0.1  # tune: 0 .. 0.5
W_MAX = 2.0  # tune: 0.5 .. 5
IMBALANCE_KNEE = 0.5  # tune: 0.1 .. 2.0
SMOOTH = 0.1  # tune: 0.01 .. 0.5


def mean_and_dev(xs):
    m = sum(xs) / len(xs)
    var = sum((x - m) * (x - m) for x in xs) / len(xs)
    return m, sqrt(var)


def route(request, instances, memory):
    rows = []
    loads = []
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        rows.append(inst)
        loads.append(prefill_time_s(inst, inst.queued_prompt_tokens + inst.prefill_backlog_tokens)
                     + inst.running_requests * inst.step_per_seq_s * 100.0)
    if not rows:
        return HOLD

    mean, dev = mean_and_dev(loads)
    imbalance = ratio(dev, mean, 0.0)
    memory[0] += SMOOTH * (imbalance - memory[0])
    w = W_MIN + (W_MAX - W_MIN) * exp(-memory[0] / IMBALANCE_KNEE)

    best_i, best_cost = 0, None
    for i, (inst, load) in enumerate(zip(rows, loads)):
        hit = min(inst.cached_prefix_tokens, request.prompt_tokens)
        saved = prefill_time_s(inst, request.prompt_tokens) - prefill_time_s(inst, request.prompt_tokens - hit)
        cost = load - w * saved
        if best_cost is None or cost < best_cost:
            best_i, best_cost = i, cost
    return rows[best_i].id
