"""Policies that two simulators can both run: ours as source text, the peer's as router settings.

Dynamo's KV router sends a request to the worker with the least
`scale * (prompt tokens it has yet to compute) / 16 + active blocks + weight * active requests`,
where a cached prefix is taken off the prompt, times a credit. Its queue at the router may be first
or last come first, or shortest first. Most of the pairs below are points of that family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RANDOM_TEMPERATURE = 1e6  # so hot that costs no longer matter
ONE_MATTERS = 1000.0  # outweighs the other terms of the cost
QUEUE_AT = 1.0  # budgets of prompt tokens that wait at a worker before the router holds

_ROUND_ROBIN = '''"""Instances take turns."""


def route(request, instances, memory):
    turn, first = -1, instances[0].id
    for inst in instances:
        first = min(first, inst.id)
        if inst.id >= memory[0] and (turn < 0 or inst.id < turn):
            turn = inst.id
    if turn < 0:
        turn = first
    memory[0] = turn + 1
    return turn
'''

_RANDOM = '''"""Any instance."""


def route(request, instances, memory):
    count = len(instances)
    return instances[min(floor(random01(request.seed, 0) * count), count - 1)].id
'''

_COST = '''"""The least cost of prompt tokens to compute, blocks in use and requests."""

SCALE = {scale}
CREDIT = {credit}
BLOCKS = {blocks}
REQUESTS = {requests}
BLOCK_TOKENS = 16.0


def cost(request, inst):
    waiting = inst.queued_prompt_tokens + inst.prefill_backlog_tokens
    cached = min(CREDIT * max(inst.cached_prefix_tokens, 0), 1.0 * request.prompt_tokens)
    prefill = waiting + request.prompt_tokens - cached
    held = inst.kv_used_tokens + waiting + request.prompt_tokens
    active = inst.queued_requests + inst.running_requests
    return (SCALE * prefill + BLOCKS * held) / BLOCK_TOKENS + REQUESTS * active


def route(request, instances, memory):
    best, least = instances[0].id, INF
    for inst in instances:
        now = cost(request, inst)
        if now < least:
            best, least = inst.id, now
    return best
'''

_SHORTEST = """

def priority(request, instance, memory):
    return 1.0 * request.prompt_tokens - max(instance.cached_prefix_tokens, 0)
"""

_NEWEST = """

def priority(request, instance, memory):
    return request.age_s - request.now_s
"""


@dataclass(frozen=True)
class Pair:
    """One behaviour in both languages.

    Attributes:
        source: the policy in our contract.
        router: settings of the peer's KV router, None for its round robin.
    """

    name: str
    source: str
    router: dict[str, Any] | None


def _cost(scale: float, credit: float, blocks: float = 1.0, requests: float = 0.0) -> str:
    return _COST.format(scale=scale, credit=credit, blocks=blocks, requests=requests)


def _router(scale: float, credit: float, **more: object) -> dict[str, Any]:
    # blocks of outputs count too, as they do in our `kv_used_tokens`
    return {
        "prefill_load_scale": scale,
        "overlap_score_credit": credit,
        "router_track_output_blocks": True,
        **more,
    }


PAIRS = (
    Pair("round_robin", _ROUND_ROBIN, None),
    Pair("random", _RANDOM, _router(1.0, 1.0, router_temperature=RANDOM_TEMPERATURE)),
    Pair(
        "least_requests",
        _cost(0.0, 0.0, requests=ONE_MATTERS),
        _router(0.0, 0.0, decode_active_request_weight=ONE_MATTERS),
    ),
    Pair("least_blocks", _cost(0.0, 0.0), _router(0.0, 0.0)),
    Pair("least_prefill", _cost(ONE_MATTERS, 0.0), _router(ONE_MATTERS, 0.0)),
    Pair("balanced", _cost(1.0, 0.0), _router(1.0, 0.0)),
    Pair("prefix_aware", _cost(1.0, 1.0), _router(1.0, 1.0)),
    Pair("prefix_first", _cost(ONE_MATTERS, 1.0), _router(ONE_MATTERS, 1.0)),
    Pair(
        "shortest_first",
        _cost(1.0, 1.0) + _SHORTEST,
        _router(1.0, 1.0, router_queue_threshold=QUEUE_AT, router_queue_policy="wspt"),
    ),
    Pair(
        "newest_first",
        _cost(1.0, 1.0) + _NEWEST,
        _router(1.0, 1.0, router_queue_threshold=QUEUE_AT, router_queue_policy="lcfs"),
    ),
)
