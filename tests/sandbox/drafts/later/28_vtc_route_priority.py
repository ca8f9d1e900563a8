"""Virtual token counter fairness in the queue, tenant spreading in the router."""

IN_WEIGHT = 1.0  # tune: 0.2 .. 4
OUT_WEIGHT = 2.0  # tune: 0.5 .. 8
TENANT_PENALTY = 0.05  # tune: 0 .. 1
NSLOT = 32  # tune: 8 .. 60


def vtc_charge(req):
    out = req.predicted_output_tokens if not is_missing(req.predicted_output_tokens) else 128.0
    return IN_WEIGHT * req.prompt_tokens + OUT_WEIGHT * out


def lowest_active(memory):
    low = None
    for k in range(NSLOT):
        v = memory[k]
        if v > 0 and (low is None or v < low):
            low = v
    return 0.0 if low is None else low


def route(request, instances, memory):
    best = None
    best_val = 0.0
    for inst in instances:
        if inst.draining or inst.starting or inst.role == DECODE:
            continue
        crowd = ratio(inst.tenant_requests, inst.queued_requests + inst.running_requests, 0.0)
        val = completion_s(request, inst) * (1 + TENANT_PENALTY * crowd)
        if best is None or val < best_val:
            best = inst.id
            best_val = val
    return HOLD if best is None else best


def priority(request, instance, memory):
    k = request.tenant % NSLOT
    if request.keyed_count == 0:
        # lift an idle tenant to the lowest active counter, then charge
        memory[k] = max(memory[k], lowest_active(memory))
        start = memory[k]
        memory[k] = start + vtc_charge(request) / max(request.weight, 1e-3)
        return start
    return memory[k]
