"""HeteroSpec: draft far ahead where the text is predictable, and hardly where it is not.

Paper: HeteroSpec (arXiv 2505.13254).
Taken from the abstract: how hard the next tokens are is read off the entropy of the draft; contexts
are split into strata by it, and each stratum has its own depth of speculation and its own pruning
threshold.
Inferred: the share of drafted tokens that was accepted lately stands for the entropy, which no
record shows (the entropy of an accepted-or-not draw); three strata by it; within a stratum drafts
end where the chance that all before were accepted falls below the threshold. Depth is one knob per
engine here and the paper's is per request, so that strata come from the engine's mean.
Left out: the tree of drafts, the search for the strata's bounds in recorded data, and any thought
of batches: beyond a batch that is small, where the paper measured, speculation is off.
"""

EASY_ENTROPY = 0.55  # tune: 0.05 .. 0.69
HARD_ENTROPY = 0.67  # tune: 0.1 .. 0.7
EASY_DEPTH = 8  # tune: 1 .. 16
USUAL_DEPTH = 4  # tune: 1 .. 16
PRUNE_BELOW = 0.15  # tune: 0.01 .. 0.9
MOST_BATCH = 8  # tune: 1 .. 256
FORGET = 0.2  # tune: 0.01 .. 1

# memory[0]: acceptance, smoothed; memory[1]: 1 once it was seen.


def entropy(share):
    # Of one draw, in nats; acceptance below a half is as hard as a half.
    p = clip(share, 0.5, 0.9999)
    return -p * log(p) - (1.0 - p) * log(1.0 - p)


def depth_of(share):
    spread = entropy(share)
    most = EASY_DEPTH
    if spread > HARD_ENTROPY:
        most = 1
    elif spread > EASY_ENTROPY:
        most = min(USUAL_DEPTH, EASY_DEPTH)
    depth, reached = 0, 1.0
    for k in range(16):
        reached = reached * share
        if k < most and reached >= PRUNE_BELOW:
            depth = k + 1
    return depth


def tune(instance, memory):
    if not is_missing(instance.acceptance):
        if memory[1] == 0.0:
            memory[0] = instance.acceptance
        memory[0] = memory[0] + FORGET * (instance.acceptance - memory[0])
        memory[1] = 1.0
    if instance.decoding_requests > MOST_BATCH:
        set_speculation(instance, 0)
    elif memory[1] == 0.0:
        set_speculation(instance, 1)
    else:
        set_speculation(instance, depth_of(memory[0]))
