"""Harli: fine-tuning borrows from decode instances whatever the TPOT target leaves over.

Paper: Harli (arXiv 2511.11729).
Taken from the abstract and a summary: on decode instances the share of compute for co-located
parameter-efficient fine-tuning is set so that decode keeps its TPOT while fine-tuning gets the
most; latency is predicted in two stages, alone and then together; memory that the KV cache does not
need is lent and reclaimed.
Inferred: the decode step alone from the modelled step, a slow-down linear in the share whose slope
is learned from observed steps, the share given back in proportion as KV room runs out, and a limit
on how fast the share may grow.
"""

TPOT_TARGET_S = 0.05  # tune: 0.01 .. 0.5
SAFETY = 0.9  # tune: 0.5 .. 1
FIRST_SLOWDOWN = 1.5  # tune: 0.2 .. 5
LEARN = 0.2  # tune: 0.01 .. 1
MOST_SHARE = 0.6  # tune: 0.1 .. 0.9
KV_RESERVE = 0.15  # tune: 0.02 .. 0.5
RISE = 0.1  # tune: 0.01 .. 0.9


def learn_slowdown(instance, alone_s, memory):
    # memory[0]: slow-down per unit of share; memory[1]: 1 once something was observed.
    if memory[1] == 0.0:
        memory[0] = FIRST_SLOWDOWN
    if instance.finetune_share > 0.02 and instance.step_time_s > 0.0 and alone_s > 0.0:
        seen = (instance.step_time_s / alone_s - 1.0) / instance.finetune_share
        memory[0] = memory[0] + LEARN * (clip(seen, 0.1, 10.0) - memory[0])
        memory[1] = 1.0


def lendable(instance):
    # 1 while KV demand is far from capacity, falling to 0 where the reserve begins.
    used = instance.kv_predicted_tokens
    if is_missing(used):
        used = 1.0 * instance.kv_used_tokens
    free = 1.0 - ratio(used, instance.kv_capacity_tokens, 1.0)
    return clip((free - KV_RESERVE) / KV_RESERVE, 0.0, 1.0)


def tune(instance, memory):
    alone_s = step_time_s(instance, instance.decoding_requests, instance.context_tokens)
    if instance.role == PREFILL or is_missing(instance.finetune_share) or is_missing(alone_s):
        return
    target_s = instance.tpot_slo_s
    if is_missing(target_s):
        target_s = TPOT_TARGET_S
    learn_slowdown(instance, alone_s, memory)
    share = MOST_SHARE
    if instance.decoding_requests > 0:
        room = SAFETY * target_s / max(alone_s, 0.0001) - 1.0
        share = clip(room / memory[0], 0.0, MOST_SHARE)
    share = min(share * lendable(instance), instance.finetune_share + RISE)
    set_finetune_share(instance, share)
