# ruff: noqa: F821, ARG001 - a policy is written in the language of the contract, not in ours
"""Soonest seat: the engine where a free place in the batch will come first.

An engine with free seats starts a request at once, so among those the fastest wins. When all are
full, what counts is how long until somebody leaves: the tokens still to come, at the speed of the
engine. Engines that are almost out of KV memory are left alone, because a preemption would
compute everything again.
"""

KV_LIMIT = 0.92  # tune: 0.6 .. 0.99
FULL_PENALTY = 30.0  # tune: 1 .. 200
TYPICAL_TOKENS = 256.0  # tune: 32 .. 2048


def tokens_to_come(inst):
    rest = inst.predicted_remaining_tokens
    if is_missing(rest):
        rest = TYPICAL_TOKENS * max(inst.running_requests, 0)
    return rest


def seconds_to_a_seat(inst):
    waiting = max(inst.queued_requests, 0)
    free = inst.max_num_seqs - max(inst.running_requests, 0) - waiting
    if free > 0:
        return 0.0
    speed = max(inst.decode_tokens_per_s, 1.0)
    return (1.0 - free) * tokens_to_come(inst) / max(inst.running_requests, 1) / speed


def route(request, instances, memory):
    best, soonest = instances[0].id, INF
    for inst in instances:
        seconds = seconds_to_a_seat(inst) + completion_s(request, inst)
        if inst.kv_used_tokens > KV_LIMIT * inst.kv_capacity_tokens:
            seconds = seconds + FULL_PENALTY
        if seconds < soonest:
            best, soonest = inst.id, seconds
    return best
