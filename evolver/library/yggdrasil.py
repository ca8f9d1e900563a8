"""Yggdrasil: speculate as deep as pays in time, not as deep as is accepted.

Paper: Yggdrasil (arXiv 2512.23858; notes on it were read, not the paper).
Taken: the objective. Of all depths the one with the best ratio of tokens per verification, times
the time of a plain step, to the time of the drafts and of the verification at its width; so depth
shrinks where verification becomes bound by compute.
Inferred: tokens per verification from the acceptance seen lately, for the paper's network that
predicts depth; verification as a plain step and so much for each token more, learned from steps
that speculate (until then, no less than computing them at the speed of prefill); a look without
speculation now and then shows a plain step. The paper measured one request at a time.
Left out: trees of drafts (equal growth, pruning), and compiled stages with their scheduling,
which by its own account are 2.8 times of its gain.
"""

DRAFT_SHARE = 0.05  # tune: 0.005 .. 0.5
LEAST_GAIN = 1.05  # tune: 1 .. 2
FORGET = 0.2  # tune: 0.01 .. 1
LOOK_EVERY = 60  # tune: 5 .. 3600

# memory: 0 .. 2 plain decode step (base, per sequence, per context token); 3 acceptance, 4 whether
# it was seen; 5 control ticks since the last look at a plain step; 6 what one more token takes to
# verify, 7 whether that was seen.


def yield_of(depth, acceptance):
    # Tokens that a sequence gains by a verification.
    emitted, reached = 1.0, 1.0
    for k in range(16):
        if k < depth:
            reached = reached * acceptance
            emitted += reached
    return emitted


def gain_of(instance, memory, plain_s, batch, depth):
    more = batch * depth
    verify_s = plain_s + memory[6] * more
    if memory[7] == 0.0:
        verify_s = max(plain_s, prefill_time_s(instance, batch + more))
    took_s = verify_s + depth * DRAFT_SHARE * plain_s
    return ratio(yield_of(depth, memory[3]) * plain_s, took_s, 0.0)


def learn_verification(instance, memory):
    # The step while speculating is one verification and its drafts over what they yield.
    depth, batch = instance.speculation_depth, max(instance.decoding_requests, 1)
    token_s = instance.step_base_s + instance.step_per_seq_s * batch
    plain_s = memory[0] + memory[1] * batch
    round_s = token_s * yield_of(depth, memory[3])
    more_s = max(round_s - plain_s * (1.0 + depth * DRAFT_SHARE), 0.0) / (batch * depth)
    if memory[7] == 0.0:
        memory[6] = more_s
    memory[6] = memory[6] + FORGET * (more_s - memory[6])
    memory[7] = 1.0


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
        if memory[0] > 0.0:
            learn_verification(instance, memory)


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
