"""Fuel: what each piece of a policy costs, and how often a loop can turn at most.

One unit is one expression or statement of the canonical source. A straight stretch of code is
charged where it begins, with the dearer branch of each `if` in it and the helpers it calls; a loop
is charged for all its turns before the first, or turn by turn where it may end early; toolkit
functions charge what their work grows with, and a fixed part here.
"""

from __future__ import annotations

from sandbox import contract
from sandbox.language.kinds import COUNTED_ENGINES

UNKNOWN_TURNS = 256
"""Most turns of a loop whose length is not known; per-request hooks stop beyond it."""

REQUEST_HOOK_LIMIT = 60_000
"""Most static cost of a hook that is called per request or per step."""

FIXED = {
    "step_time_s": 6, "prefill_time_s": 4, "completion_s": 24, "random01": 12, "exp": 6, "log": 6,
    "sqrt": 3, "order": 4, "find_shape": 2, "serving_rate_rps": 4, "switch_cost_s": 4,
    "plan_gpus": 2, "add_replica": 16, "keep_plan": 4, "drop_replica": 4,
}  # fmt: skip
"""Units of a toolkit call beyond one, charged where the call stands."""

_REPLICAS, _SHAPES = COUNTED_ENGINES, contract.MAX_SHAPES

AT_RUN_TIME = {
    "find_shape": 1 + _SHAPES,
    "serving_rate_rps": _REPLICAS * (1 + _SHAPES),
    "switch_cost_s": 4 * _REPLICAS * _REPLICAS + _REPLICAS * (1 + _SHAPES),
    "plan_gpus": _REPLICAS,
    "add_replica": contract.MAX_CLASSES,
    "keep_plan": 16 * _REPLICAS,
    "drop_replica": 16 * _REPLICAS,
}
"""Most that a toolkit function charges at run time, for plans of COUNTED_ENGINES replicas."""

def order_cost(n: int) -> int:
    """Most that `order` of n values charges at run time."""
    return n * (max(n - 1, 0).bit_length() + 1) + 2 * scratch_cost(n)


def scratch_cost(floats: int) -> int:
    """What scratch of that many floats charges at run time."""
    return 1 + floats // 8
