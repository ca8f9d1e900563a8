"""Calling a policy hook by its native address, as the simulator's kernel does.

A hook is one function `int64 hook(int64 frame_address)` in numba's own calling convention:
`int32 status f(int64 *result, void **error, int64 frame_address)`. Calling by address keeps the
kernel's types free of the policy, so it compiles once, and lets a ctypes callback stand in for
machine code: that is how the interpreted engine runs inside the simulator.
"""

from __future__ import annotations

import ctypes

from sandbox.frame import NATIVE

FAILED = -(2**62)
"""Result of a hook that raised; the frame's `status` says why. No decision has this value."""


def call_hook(address: int, frame_address: int) -> int:
    """Call the hook at `address` on a frame; its int64 result, or FAILED when it raised.

    The simulator's compiler puts machine code that does the same in its place.
    """
    answer, error = ctypes.c_int64(FAILED), ctypes.c_void_p()
    status = NATIVE(address)(ctypes.byref(answer), ctypes.byref(error), frame_address)
    return answer.value if status == 0 else FAILED
