"""Glia's head-room admission: a request leaves the router only for KV that will last to its end.

Paper: Glia (arXiv 2510.27176), whose agents found this router; published variants were read.
Taken: each request is taken to need its prompt and a fixed ratio of it for decoding; an engine is
open to it when, with the needs of everything there, a share of its KV still stays free; of the
open ones the one with the fewest requests; with none open the request waits at the router. Ratio
and share are those of one variant for ShareGPT-like traffic; another has 1.3 and 0.1.
Inferred: what running requests will still need, from their KV as if each were halfway through its
decoding; an engine without work is open to anything, so that no request waits for ever.
Left out: the order of those who wait (shortest prompt first in one variant), which is the host's
here, and the batching and autoscaling that the same paper found.
"""

DECODE_RATIO = 0.6  # tune: 0 .. 8
SAFETY_SHARE = 0.03  # tune: 0 .. 0.5


def needed_tokens(inst):
    # At the ends of what runs and waits there: halfway, a request holds 1 + ratio / 2 prompts.
    running = max(inst.kv_used_tokens, 0) * (1.0 + DECODE_RATIO) / (1.0 + 0.5 * DECODE_RATIO)
    return running + max(inst.queued_prompt_tokens, 0) * (1.0 + DECODE_RATIO)


def is_open(request, inst):
    if inst.running_requests + inst.queued_requests <= 0:
        return True
    need = needed_tokens(inst) + request.prompt_tokens * (1.0 + DECODE_RATIO)
    return need <= (1.0 - SAFETY_SHARE) * inst.kv_capacity_tokens


def route(request, instances, memory):
    best, fewest = HOLD, INF
    for inst in instances:
        requests = 1.0 * inst.running_requests + inst.queued_requests
        if requests < fewest and is_open(request, inst):
            best, fewest = inst.id, requests
    return best
