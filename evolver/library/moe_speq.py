"""MoE-SpeQ: draft as far as bringing experts in from host memory hides behind computing.

Paper: MoE-SpeQ (arXiv 2511.14102).
Taken from the abstract and a note: a draft model predicts which experts the coming tokens need,
they are prefetched over PCIe, and a governor with an amortisation roofline picks how many tokens
to draft: a round takes the longer of computing and of bringing in, plus what was not foreseen,
shared by the tokens that it yields.
Inferred: the time to bring in one token's missing experts, how much of it each further token
adds, and the share foreseen, all constants to be tuned to the hardware; without drafts nothing is
foreseen, and both times add up. With a fetch time of 0 it is a governor of compute alone.
Left out: quantised drafts, which experts these are, and the cache of experts on the device.
"""

FETCH_S = 0.01  # tune: 0 .. 1
NEW_SHARE = 0.3  # tune: 0 .. 1
HIT = 0.9  # tune: 0 .. 1
DRAFT_SHARE = 0.1  # tune: 0.005 .. 1
FORGET = 0.2  # tune: 0.01 .. 1
LOOK_EVERY = 60  # tune: 5 .. 3600

# memory: 0 .. 2 plain decode step (base, per sequence, per context token); 3 acceptance, 4 whether
# it was seen; 5 control ticks since the last look at a plain step.


def learn(instance, memory):
    if instance.speculation_depth <= 0:
        memory[0] = instance.step_base_s
        memory[1] = instance.step_per_seq_s
        memory[2] = instance.step_per_context_s
        memory[5] = 0.0
    elif not is_missing(instance.acceptance):
        if memory[4] == 0.0:
            memory[3] = instance.acceptance
        memory[3] = memory[3] + FORGET * (instance.acceptance - memory[3])
        memory[4] = 1.0


def per_token_s(instance, memory, plain_s, batch, depth):
    # A round at this depth over the tokens that it yields to a sequence; a plain step fetches too.
    alone_s = max(plain_s - FETCH_S, 0.1 * plain_s)
    emitted, reached = 1.0, 1.0
    for k in range(16):
        if k < depth:
            reached = reached * memory[3]
            emitted += reached
    compute_s = max(alone_s, prefill_time_s(instance, batch * (depth + 1.0)))
    compute_s += depth * DRAFT_SHARE * alone_s
    fetch_s = FETCH_S * (1.0 + NEW_SHARE * depth)
    if depth == 0:
        return compute_s + fetch_s
    # What was foreseen comes while drafts are computed; the rest when it is missed.
    return (max(compute_s, HIT * fetch_s) + (1.0 - HIT) * fetch_s) / emitted


def tune(instance, memory):
    if is_missing(instance.step_base_s) or instance.decoding_requests < 0:
        return
    learn(instance, memory)
    memory[5] = memory[5] + 1.0
    if memory[0] <= 0.0 or memory[5] > LOOK_EVERY:
        set_speculation(instance, 0)
        return
    if memory[4] == 0.0:
        set_speculation(instance, 1)
        return
    batch = max(instance.decoding_requests, 1)
    plain_s = memory[0] + memory[1] * batch + memory[2] * max(instance.context_tokens, 0)
    best, least = 0, INF
    for depth in range(17):
        took_s = per_token_s(instance, memory, plain_s, batch, depth)
        if took_s < least:
            best, least = depth, took_s
    set_speculation(instance, best)
