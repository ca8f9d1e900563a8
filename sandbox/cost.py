"""Fuel: what each piece of a policy costs, and how often a loop can turn at most.

One unit is one expression or statement of the canonical source. A straight stretch of code is
charged where it begins, with the dearer branch of each `if` in it and the helpers it calls; a loop
is charged for all its turns before the first, or turn by turn where it may end early; toolkit
functions charge what their work grows with, and a fixed part here.
"""

from __future__ import annotations

import ast
import math

from sandbox import contract
from sandbox.kinds import COUNTED_ENGINES, FLOATS, ROW_CAPACITY, Kind, constants
from sandbox.source import Tunable

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

Interval = tuple[int | None, int | None]


def order_cost(n: int) -> int:
    """Most that `order` of n values charges at run time."""
    return n * (max(n - 1, 0).bit_length() + 1) + 2 * scratch_cost(n)


def scratch_cost(floats: int) -> int:
    """What scratch of that many floats charges at run time."""
    return 1 + floats // 8


class Bounds:
    """Static intervals of integer expressions, from constants, capacities and tunables."""

    def __init__(self, tunables: dict[str, Tunable], kinds: dict[ast.expr, Kind]) -> None:
        self.tunables = tunables
        self.kinds = kinds

    def trips(self, arguments: list[ast.expr], step: int) -> int | None:
        """Most turns of a `range` with these arguments; None when nothing is known."""
        start: Interval = (0, 0) if len(arguments) == 1 else self.interval(arguments[0])
        stop = self.interval(arguments[0 if len(arguments) == 1 else 1])
        low, high = (start[0], stop[1]) if step > 0 else (stop[0], start[1])
        if low is None or high is None:
            return None
        return max(0, -(-(high - low) // abs(step)))

    def interval(self, node: ast.expr) -> Interval:
        """Least and greatest value of an integer expression, None where unknown."""
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value, node.value
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._call(node.func.id, node.args)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            return self._sum(node)
        return None, None

    def _name(self, name: str) -> Interval:
        if name in self.tunables and self.tunables[name].integer:
            return int(self.tunables[name].low), int(self.tunables[name].high)
        value = constants().get(name, math.inf)
        return (int(value), int(value)) if math.isfinite(value) else (None, None)

    def _call(self, name: str, arguments: list[ast.expr]) -> Interval:
        if name == "len" and len(arguments) == 1:
            return 0, self.length(arguments[0])
        if name not in ("min", "max") or len(arguments) < 2:
            return None, None
        lows, highs = zip(*(self.interval(argument) for argument in arguments), strict=True)
        some_low, some_high = _known(lows), _known(highs)
        if name == "min":
            low = min(some_low) if len(some_low) == len(lows) else None
            return low, min(some_high) if some_high else None
        high = max(some_high) if len(some_high) == len(highs) else None
        return max(some_low) if some_low else None, high

    def length(self, node: ast.expr) -> int | None:
        """Most elements of an iterable; None when nothing is known."""
        kind = self.kinds.get(node)
        if kind is not None and kind.name == "rows":
            return ROW_CAPACITY[kind.record]
        # Only a field surely has that length: a variable of this kind may be memory or zeros().
        field = kind == FLOATS and isinstance(node, ast.Attribute)
        return contract.MAX_CLASSES if field else None

    def _sum(self, node: ast.BinOp) -> Interval:
        left, right = self.interval(node.left), self.interval(node.right)
        if isinstance(node.op, ast.Sub):
            right = (_minus(right[1]), _minus(right[0]))
        return _plus(left[0], right[0]), _plus(left[1], right[1])


def _known(values: tuple[int | None, ...]) -> list[int]:
    return [value for value in values if value is not None]


def _minus(value: int | None) -> int | None:
    return None if value is None else -value


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b
