"""Yggdrasil: speculate as deep as pays in time, not as deep as is accepted.

Paper: Yggdrasil (arXiv 2512.23858; notes on it were read, not the paper).
Taken: the objective. Of all depths the one with the best ratio of tokens per verification, times
the time of a plain step, to the time of the drafts and of the verification at its width; so depth
shrinks where verification becomes bound by compute.
Inferred: tokens per verification from the acceptance seen lately, for the paper's network that
predicts depth; verification as the longer of reading the weights (a plain step) and computing its
tokens at the speed of prefill; a look without speculation now and then teaches what a plain step
takes. The paper measured one request at a time; here the batch enters through the width.
Left out: trees of drafts (equal growth, pruning), and compiled stages with their scheduling,
which by its own account are 2.8 times of its gain.
"""

DRAFT_SHARE = 0.05  # tune: 0.005 .. 0.5
LEAST_GAIN = 1.05  # tune: 1 .. 2
FORGET = 0.2  # tune: 0.01 .. 1
LOOK_EVERY = 60  # tune: 5 .. 3600

# memory: 0 .. 2 plain decode step (base, per sequence, per context token); 3 acceptance, 4 whether
# it was seen; 5 control ticks since the last look at a plain step.


def verify_s(instance, plain_s, tokens):
    return max(plain_s, prefill_time_s(instance, tokens))


def gain_of(instance, memory, plain_s, batch, depth):
    emitted, reached = 1.0, 1.0
    for k in range(16):
        if k < depth:
            reached = reached * memory[3]
            emitted += reached
    took_s = verify_s(instance, plain_s, batch * (depth + 1.0)) + depth * DRAFT_SHARE * plain_s
    return ratio(emitted * plain_s, took_s, 0.0)


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
    best, most = 0, LEAST_GAIN
    for depth in range(1, 17):
        gain = gain_of(instance, memory, plain_s, batch, depth)
        if gain > most:
            best, most = depth, gain
    set_speculation(instance, best)
