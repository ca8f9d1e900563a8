"""SART: sample more branches than are needed, stop at the first few, prune the hopeless.

Paper: SART (arXiv 2505.13326).
Taken from the abstract: redundant sampling with early stopping (the M-th of N branches ends sooner
the more there are), and dynamic pruning of branches of low quality, which frees their KV.
Recalled, not verified: the two phases of pruning. Exploring, a branch below a low score is pruned,
a bounded number of them; once a branch has finished, its score is the bar for all others.
Inferred: the number needed as a share of the samples asked for, the lowest score among finished
branches standing for the first one's, and a score being required before a branch is judged.
"""

NEEDED_SHARE = 0.5  # tune: 0.1 .. 1
LOW_SCORE = 0.2  # tune: 0 .. 0.9
PRUNED_SHARE = 0.25  # tune: 0 .. 0.9
TRIAL_TOKENS = 400  # tune: 0 .. 8192


def branches(request, branches, memory):
    asked = max(request.branch_count, 1)
    needed = max(ceil(NEEDED_SHARE * asked), 1)
    if len(branches) == 0:
        return asked
    finished, pruned, bar = 0, 0, INF
    for branch in branches:
        if branch.finished:
            finished += 1
            if branch.score < bar:
                bar = branch.score
        elif branch.pruned:
            pruned += 1
    live = len(branches) - finished - pruned
    most = floor(PRUNED_SHARE * asked)
    for branch in branches:
        if not branch.finished and not branch.pruned:
            if finished >= needed:
                prune(branch)
                live -= 1
            elif live > needed - finished and branch.done_tokens >= TRIAL_TOKENS:
                exploiting = finished > 0 and bar < INF and branch.score < bar
                exploring = finished == 0 and pruned < most and branch.score < LOW_SCORE
                if exploiting or exploring:
                    prune(branch)
                    pruned += 1
                    live -= 1
    return live
