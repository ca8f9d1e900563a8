"""Plain round robin over usable instances, one counter in router memory."""


def route(request, instances, memory):
    n = len(instances)
    start = int(memory[0])
    for k in range(n):
        inst = instances[(start + k) % n]
        if inst.role != DECODE and not inst.draining and not inst.starting:
            memory[0] = (start + k + 1) % n
            return inst.id
    return HOLD
