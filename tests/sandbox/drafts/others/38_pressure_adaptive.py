"""Switch between spreading and packing by a Schmitt trigger on cluster pressure."""

HIGH = 0.8  # tune: 0.5 .. 0.98
LOW = 0.55  # tune: 0.2 .. 0.8
GAIN = 0.1  # tune: 0.01 .. 0.5
STATE, LEVEL, COUNT = range(3)


def pressure(instances):
    cap = used = 0
    for i in instances:
        if not i.starting:
            cap += i.kv_capacity_tokens
            used += i.kv_used_tokens + i.queued_prompt_tokens
    return used / cap if cap > 0 else 1.0


def mode(instances, memory):
    p = pressure(instances)
    memory[COUNT] += 1
    a = max(GAIN, 1 / memory[COUNT])
    memory[LEVEL] = (1 - a) * memory[LEVEL] + a * p
    if memory[STATE] == 1 and memory[LEVEL] < LOW:
        memory[STATE] = 0
    elif memory[STATE] == 0 and memory[LEVEL] > HIGH:
        memory[STATE] = 1
    return memory[STATE] == 1


def route(request, instances, memory):
    pressed = mode(instances, memory)
    out = request.predicted_output_tokens if not is_missing(request.predicted_output_tokens) else 256
    need = request.prompt_tokens + out

    best_id, best = -1, None
    for i in instances:
        if i.draining or i.starting or i.role == DECODE:
            continue
        left = i.kv_capacity_tokens - i.kv_used_tokens - i.queued_prompt_tokens - need
        if pressed:
            # memory is scarce: best fit, then shortest queue
            key = (0, left, i.queued_requests) if left >= 0 else (1, i.queued_requests, -left)
        else:
            key = (0, completion_s(request, i), 0)
        if best is None or key < best:
            best, best_id = key, i.id
    return best_id if best_id >= 0 else HOLD
