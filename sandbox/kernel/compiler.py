"""Compiles the simulator: kernel functions through numba to one object file per entry.

A `Sim` is, to compiled code, one address of a table with (pointer, rows, columns) per array. Its
attributes become array views where they are used, so no signature spells out forty record types:
compiling stays quick, and nothing is counted or copied at a call. Run as a program, it compiles
the entries named on the command line and prints each when it is kept.
"""

# mypy: disable-error-code="no-untyped-call"
# half of numba is typed, and it calls these by position, with arguments only it has types for
# ruff: noqa: ANN401, ARG001, ARG002, S102
from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
)
from numba.np.arrayobj import get_itemsize, populate_array

from sandbox import abi
from sandbox.kernel.jit import (
    COLUMNS,
    DTYPES,
    Entry,
    KernelFunction,
    entry_digest,
    entry_of,
    kernel_cache,
)
from sandbox.kernel.reach import is_shared
from sandbox.kernel.state import Sim
from sandbox.native.machine_code import MachineCode
from sandbox.native.toolchain import toolchain

_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "nogil": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
_ARRAYS = {
    name: types.Array(numba.from_dtype(np.dtype(dtype)), dimensions, "C")
    for name, (dtype, dimensions) in DTYPES.items()
}
_POSITIONS = {name: position for position, name in enumerate(Sim._fields)}
_scopes: dict[str, dict[str, Any]] = {}


class SimType(types.Type):
    """The compiled view of a `Sim`."""

    def __init__(self) -> None:
        super().__init__(name="Sim")


SIM = SimType()


@register_model(SimType)
class _SimModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.IntType(64))


@infer_getattr
class _SimAttributes(AttributeTemplate):
    key = SimType

    def generic_resolve(  # type: ignore[override]  # the base class has none
        self, value: Any, attr: str
    ) -> Any:
        """Type of an attribute."""
        return _ARRAYS.get(attr)


def _cell(builder: Any, sim: Any, name: str, column: int) -> Any:
    """Pointer to one number of the table."""
    int64 = ir.IntType(64)
    table = builder.inttoptr(sim, int64.as_pointer())
    return builder.gep(table, [ir.Constant(int64, COLUMNS * _POSITIONS[name] + column)])


@lower_getattr_generic(SimType)  # type: ignore[untyped-decorator]  # half of numba is typed
def _view(context: Any, builder: Any, kind: Any, value: Any, name: str) -> Any:
    def number(column: int) -> Any:
        loaded = builder.load(_cell(builder, value, name, column))
        # the table never changes while a run goes on, so a view need not be read twice
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
        return loaded

    array_type = _ARRAYS[name]
    array = context.make_array(array_type)(context, builder)
    width = context.get_constant(types.intp, get_itemsize(context, array_type))
    shape = [number(1 + axis) for axis in range(array_type.ndim)]
    strides = [width] if array_type.ndim == 1 else [builder.mul(width, shape[1]), width]
    data = builder.inttoptr(number(0), context.get_data_type(array_type.dtype).as_pointer())
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=width, meminfo=None)
    return array._getvalue()


def compile_entry(name: str) -> MachineCode:
    """One entry's object file, with all kernel functions that it reaches."""
    function = entry_of(name).function
    dispatcher = numba.njit(_signature(function), **_OPTIONS)(_compilable(function))
    (compiled,) = dispatcher.overloads.values()
    return MachineCode(
        entry_digest(name),
        hashlib.sha256(toolchain().encode()).hexdigest(),
        {name: compiled.fndesc.llvm_func_name},
        (compiled.library._get_compiled_object(),),
    )


def _signature(function: FunctionType) -> Any:
    return types.int64(SIM, *[types.int64] * (function.__code__.co_argcount - 1))


def _compilable(function: FunctionType) -> FunctionType:
    """The same function, in whose scope marked functions are numba's."""
    scope = _scope_of(function)
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def _scope_of(function: FunctionType) -> dict[str, Any]:
    """One copy per module; functions that call each other find it while it is being made."""
    scope = _scopes.get(function.__module__)
    if scope is None:
        scope = _scopes[function.__module__] = dict(function.__globals__)
        for name, value in function.__globals__.items():
            if value is abi.call_hook:
                scope[name] = _call_hook
            elif isinstance(value, KernelFunction | Entry) or is_shared(value):
                scope[name] = _for_numba(value)
    return scope


@functools.cache
def _for_numba(marked: KernelFunction | Entry | FunctionType) -> Any:
    if isinstance(marked, Entry):
        return _linked_call(marked)
    plain = marked.py_func if isinstance(marked, KernelFunction) else marked
    return numba.njit(**_OPTIONS)(_compilable(plain))


def _linked_call(entry: Entry) -> Any:
    """An intrinsic that calls an entry by the address in the table of links."""
    arguments = entry.function.__code__.co_argcount
    signature = _signature(entry.function)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        links = builder.load(_cell(builder, values[0], "links", 0))
        int64 = ir.IntType(64)
        slots = builder.inttoptr(links, int64.as_pointer())
        address = builder.load(builder.gep(slots, [ir.Constant(int64, entry.position)]))
        return _native_call(builder, address, values)[0]

    def typed(typingctx: Any, *given: Any) -> Any:
        return signature, generate

    names = ", ".join(entry.function.__code__.co_varnames[:arguments])
    scope: dict[str, Any] = {"typed": typed}
    exec(f"def call(typingctx, {names}): return typed(typingctx, {names})", scope)
    made: Callable[..., Any] = intrinsic(scope["call"])
    return made


@intrinsic
def _call_hook(typingctx: Any, address: Any, frame_address: Any) -> Any:
    """`abi.call_hook` in machine code."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        answer, status = _native_call(builder, values[0], values[1:])
        fine = builder.icmp_signed("==", status, ir.Constant(status.type, 0))
        return builder.select(fine, answer, ir.Constant(answer.type, abi.FAILED))

    return types.int64(types.int64, types.int64), generate


def _native_call(builder: Any, address: Any, values: Sequence[Any]) -> tuple[Any, Any]:
    """Call `int32 f(int64 *result, void **error, int64, ...)` at an address: result, status."""
    int64, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
    plain = [int64] * len(values)
    kind = ir.FunctionType(ir.IntType(32), [int64.as_pointer(), pointer.as_pointer(), *plain])
    result = cgutils.alloca_once(builder, int64)
    error = cgutils.alloca_once(builder, pointer)
    status = builder.call(builder.inttoptr(address, kind.as_pointer()), [result, error, *values])
    return builder.load(result), status


def main(names: Sequence[str]) -> None:
    """Compile entries and keep them; prints the name of each."""
    from sandbox.kernel import program  # noqa: F401 - it knows which modules have entries

    cache = kernel_cache()
    for name in names:
        cache.put(entry_digest(name), compile_entry(name).to_bytes())
        print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
