"""Checked operations that lowered policy code calls instead of Python's own operators.

The two engines run the very same functions: the interpreted one calls them as they are, the
compiled one compiles them. So a result, a fault and its fuel cannot differ. Each function that
can stop a policy takes the call's frame first, leaves the kind of fault in it, and raises.
Integers keep within 2**53 either side of zero, where every integer is also a float.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from sandbox.frame import FUEL, INDEX, NOT_A_NUMBER, OTHER, OVERFLOW, SCRATCH, ZERO_DIVISION

INT_LIMIT = 9_007_199_254_740_992  # 2**53
FLOAT_LIMIT = 9_007_199_254_740_992.0
SCRATCH_LIMIT = 16_384
MOST_SHIFT = 62
MOST_TURNS = 2**40  # of one loop; no fuel lasts that long


class CallFrame(Protocol):
    """The part of a frame that code of a policy's call touches."""

    fuel: int
    status: int
    scratch_used: int
    rotation: int
    value: float


Frame = CallFrame
Array = Any  # numpy array in the compiled engine, list in the interpreted one


def begin(frame: Frame) -> None:
    """Clear what the previous call left in the frame."""
    frame.status = 0
    frame.scratch_used = 0


def charge(frame: Frame, units: int) -> None:
    """Spend fuel; stops the policy when it runs out."""
    frame.fuel -= units
    if frame.fuel < 0:
        frame.status = FUEL
        raise RuntimeError


def charge_turns(frame: Frame, units: int, turns: int) -> None:
    """Spend the fuel of all turns of a loop; the product stays far inside 64 bits."""
    if turns > MOST_TURNS:
        frame.fuel = -1
    charge(frame, units * min(max(turns, 0), MOST_TURNS))


def require(frame: Frame, holds: bool, kind: int) -> None:
    """Stop the policy with a fault of this kind unless the condition holds."""
    if not holds:
        frame.status = kind
        raise RuntimeError


def add(frame: Frame, a: int, b: int) -> int:
    """a + b. Where 64 bits wrap, the sum's sign is neither operand's; Python's own never wraps."""
    result = a + b
    kept = (a ^ result) & (b ^ result) >= 0
    require(frame, kept and -INT_LIMIT <= result <= INT_LIMIT, OVERFLOW)
    return result


def sub(frame: Frame, a: int, b: int) -> int:
    """a - b."""
    result = a - b
    kept = (a ^ b) & (a ^ result) >= 0
    require(frame, kept and -INT_LIMIT <= result <= INT_LIMIT, OVERFLOW)
    return result


def mul(frame: Frame, a: int, b: int) -> int:
    """a * b."""
    rough = float(a) * float(b)
    require(frame, -FLOAT_LIMIT <= rough <= FLOAT_LIMIT, OVERFLOW)
    result = a * b
    require(frame, -INT_LIMIT <= result <= INT_LIMIT, OVERFLOW)
    return result


def div(frame: Frame, a: float, b: float) -> float:
    """a / b."""
    require(frame, b != 0.0, ZERO_DIVISION)
    return a / b


def floordiv_int(frame: Frame, a: int, b: int) -> int:
    """a // b on integers, towards minus infinity."""
    require(frame, b != 0, ZERO_DIVISION)
    require(frame, -INT_LIMIT <= a <= INT_LIMIT, OVERFLOW)
    return a // b


def mod_int(frame: Frame, a: int, b: int) -> int:
    """a % b on integers, with the sign of b."""
    require(frame, b != 0, ZERO_DIVISION)
    require(frame, -INT_LIMIT <= a <= INT_LIMIT, OVERFLOW)
    return a % b


def mod_float(frame: Frame, a: float, b: float) -> float:
    """a % b on floats, with the sign of b; NaN when a is infinite."""
    require(frame, b != 0.0, ZERO_DIVISION)
    return a % b


def floordiv_float(frame: Frame, a: float, b: float) -> float:
    """a // b on floats: the whole number of times b goes into a; NaN when a is infinite."""
    require(frame, b != 0.0, ZERO_DIVISION)
    return a // b


def shift_left(frame: Frame, a: int, n: int) -> int:
    """a << n, for n from 0 to 62."""
    require(frame, 0 <= n <= MOST_SHIFT, OVERFLOW)
    most = INT_LIMIT >> n
    require(frame, -most <= a <= most, OVERFLOW)
    return a << n


def shift_right(frame: Frame, a: int, n: int) -> int:
    """a >> n, for n from 0 to 62: a // 2**n."""
    require(frame, 0 <= n <= MOST_SHIFT, OVERFLOW)
    return give_int(frame, a >> n)


def bit_and(frame: Frame, a: int, b: int) -> int:
    """a & b, of two's complements without end."""
    return give_int(frame, a & b)


def bit_or(frame: Frame, a: int, b: int) -> int:
    """a | b."""
    return give_int(frame, a | b)


def bit_xor(frame: Frame, a: int, b: int) -> int:
    """a ^ b."""
    return give_int(frame, a ^ b)


def absolute_int(frame: Frame, a: int) -> int:
    """abs(a) on an integer."""
    return a if a >= 0 else sub(frame, 0, a)


def to_int(frame: Frame, x: float) -> int:
    """int(x): towards zero; NaN and values beyond 2**53 stop the policy."""
    if not -FLOAT_LIMIT <= x <= FLOAT_LIMIT:
        require(frame, False, NOT_A_NUMBER if x != x else OVERFLOW)
    return int(x)


def round_int(frame: Frame, x: float) -> int:
    """round(x): to the nearest integer, halves to the even one."""
    require(frame, x == x, NOT_A_NUMBER)
    require(frame, -FLOAT_LIMIT <= x <= FLOAT_LIMIT, OVERFLOW)
    low = math.floor(x)
    rest = x - low
    if rest > 0.5 or (rest == 0.5 and low % 2 == 1):
        low += 1
    return low


def round_to(frame: Frame, x: float, scale: float) -> float:
    """round(x * scale) / scale; x itself where x * scale is missing or beyond 2**53."""
    scaled = x * scale
    if not -FLOAT_LIMIT <= scaled <= FLOAT_LIMIT:
        return x
    return float(round_int(frame, scaled)) / scale


def min2(a: float, b: float) -> float:
    """min(a, b) as Python has it: a unless b is smaller."""
    return b if b < a else a


def max2(a: float, b: float) -> float:
    """max(a, b) as Python has it: a unless b is larger."""
    return b if b > a else a


def pick(frame: Frame, array: Array, i: int) -> Any:  # noqa: ANN401  # a float or a record
    """array[i], from 0 to its length."""
    require(frame, 0 <= i < len(array), INDEX)
    return array[i]


def pick_turned(frame: Frame, array: Array, i: int) -> Any:  # noqa: ANN401  # a record
    """array[i] of rows that are seen rotated by `frame.rotation`."""
    require(frame, 0 <= i < len(array), INDEX)
    return array[turned(frame, i, len(array))]


def turned(frame: Frame, i: int, count: int) -> int:
    """Where the i-th row of a rotated view lies."""
    place = i + frame.rotation
    return place - count if place >= count else place


def put(frame: Frame, array: Array, i: int, x: float) -> None:
    """array[i] = x."""
    require(frame, 0 <= i < len(array), INDEX)
    array[i] = x


def cell(frame: Frame, table: Array, i: int, j: int) -> float:
    """table[i, j]."""
    require(frame, 0 <= i < len(table), INDEX)
    require(frame, 0 <= j < len(table[i]), INDEX)
    return float(table[i][j])


def put_cell(frame: Frame, table: Array, i: int, j: int, x: float) -> None:
    """table[i, j] = x."""
    require(frame, 0 <= i < len(table), INDEX)
    require(frame, 0 <= j < len(table[i]), INDEX)
    table[i][j] = x


def filled(rows: Array, count: int) -> Array:
    """The rows of a sub-array that are in use."""
    return rows[:count]


def bounded(frame: Frame, n: int, most: int) -> int:
    """n, which has to be at most `most`: keeps the static cost of a per-request hook true."""
    require(frame, n <= most, FUEL)
    return n


def trips(frame: Frame, start: int, stop: int, step: int) -> int:
    """How many turns `for x in range(start, stop, step)` takes."""
    if step > 0:
        span = sub(frame, stop, start)
        return 0 if span <= 0 else (span + step - 1) // step
    span = sub(frame, start, stop)
    return 0 if span <= 0 else (span - step - 1) // -step


def reserve(frame: Frame, floats: int) -> int:
    """Take that many floats of the call's scratch; where they start."""
    require(frame, floats >= 0, SCRATCH)
    require(frame, floats <= SCRATCH_LIMIT - frame.scratch_used, SCRATCH)
    charge(frame, 1 + floats // 8)
    start = frame.scratch_used
    frame.scratch_used += floats
    return start


def vector(frame: Frame, n: int) -> Array:
    """zeros(n)."""
    reserve(frame, n)
    return [0.0] * n


def table(frame: Frame, n: int, m: int) -> Array:
    """zeros(n, m)."""
    require(frame, 0 <= n <= SCRATCH_LIMIT and 1 <= m <= SCRATCH_LIMIT, SCRATCH)
    reserve(frame, n * m)
    return [[0.0] * m for _ in range(n)]


def give(frame: Frame, x: float) -> int:
    """Leave a float result in the frame; NaN is no result."""
    require(frame, x == x, NOT_A_NUMBER)
    frame.value = x
    return 0


def give_flag(frame: Frame, x: bool) -> int:
    """Leave a bool result in the frame."""
    frame.value = 1.0 if x else 0.0
    return 0


def give_int(frame: Frame, x: int) -> int:
    """An integer result."""
    require(frame, -INT_LIMIT <= x <= INT_LIMIT, OVERFLOW)
    return x


def unreachable(frame: Frame) -> int:
    """End of a function whose every path has already returned."""
    require(frame, frame.status > OTHER, OTHER)
    return 0
