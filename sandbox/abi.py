"""Calling a policy hook by its native address from compiled code; `frame.Caller` does from Python.

A hook is one function `int64 hook(int64 frame_address)` in numba's own calling convention:
`int32 status f(int64 *result, void **error, int64 frame_address)`. Calling by address keeps the
kernel's types free of the policy, so it compiles once, and lets a ctypes callback stand in for
machine code: that is how the interpreted engine runs inside the simulator.
"""

# mypy: disable-error-code="no-untyped-call"
# half of numba is typed
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FAILED = -(2**62)
"""Result of a hook that raised; the frame's `status` says why. No decision has this value."""


@intrinsic
def call_hook(typingctx: Any, address: Any, frame_address: Any) -> Any:
    """Call the hook at `address` on a frame; its int64 result, or FAILED when it raised."""
    signature = types.int64(types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        int64, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        hook = ir.FunctionType(ir.IntType(32), [int64.as_pointer(), pointer.as_pointer(), int64])
        failed = ir.Constant(int64, FAILED)
        result = cgutils.alloca_once_value(builder, failed)
        error = cgutils.alloca_once(builder, pointer)
        callee = builder.inttoptr(arguments[0], hook.as_pointer())
        status = builder.call(callee, [result, error, arguments[1]])
        fine = builder.icmp_signed("==", status, ir.Constant(status.type, 0))
        return builder.select(fine, builder.load(result), failed)

    return signature, generate
