"""Round robin with a cursor in memory, skipping replicas whose queue is longer than the median."""

CURSOR = 0


def median(xs):
    s = sorted(xs)
    m = len(s) // 2
    if len(s) % 2:
        return s[m]
    return (s[m - 1] + s[m]) / 2


def route(request, instances, memory):
    up = [x for x in instances if not x.draining and not x.starting and x.role != DECODE]
    n = len(up)
    if not n:
        return HOLD
    mid = median([x.queued_prompt_tokens for x in up])
    start = int(memory[CURSOR]) % n
    for d in range(n):
        k = (start + d) % n
        if up[k].queued_prompt_tokens <= mid and up[k].queued_requests < 2 * up[k].max_num_seqs:
            memory[CURSOR] = (k + 1) % n
            return up[k].id
    memory[CURSOR] = (start + 1) % n
    return up[start].id
