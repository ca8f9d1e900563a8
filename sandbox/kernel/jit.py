"""How kernel functions are compiled, and how they see the simulator's arrays.

A `Sim` is, to compiled code, one address of a table with (pointer, rows, columns) per array. Its
attributes become array views where they are used, so no signature spells out forty record types:
compiling stays quick, and nothing is counted or copied at a call.
"""

# mypy: disable-error-code="no-untyped-call"
# half of numba is typed
from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import UserProvidedCacheLocator
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
)
from numba.np.arrayobj import get_itemsize, populate_array
from numpy.typing import NDArray

from sandbox import contract
from sandbox.frame import FRAME
from sandbox.kernel import state
from sandbox.kernel.cache import cache_directory, toolchain, use_cache
from sandbox.kernel.reach import reach_digest
from sandbox.kernel.state import Sim
from sandbox.records import dtype_of

use_cache(f"{__name__}.EntryLocator")

_F = TypeVar("_F", bound=Callable[..., Any])
_COLUMNS = 3
_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "nogil": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

# Pieces that are compiled by themselves and call each other by address; every second one of them
# takes about as long as the others together, so that two processes are done at the same time.
ENTRIES = (
    "fill_instance", "interrupt", "fill_chunks", "begin", "preempt", "end_step", "start_samples",
    "sample_stop", "decide",
    "retry_held", "deliver", "expire", "fill_window", "fill_cluster", "fill_plan", "start_engine",
    "lose_engine", "drain_engine", "carry_out", "make_plan", "consider", "capacity_event",
    "after_capacity", "monitor", "plan_ready", "start", "value_entry", "run", "value_all", "check",
    "load_weights", "stop_loading", "storage_event", "adjust_supply", "supply_event",
    "landed", "lose_kv", "copied", "migrate",
    "control_tick",
)  # fmt: skip
_compilers: dict[str, Callable[[], Any]] = {}
_functions: dict[str, Callable[..., Any]] = {}
_kept: list[Any] = []

_DTYPES: dict[str, tuple[Any, int]] = {
    "settings": (state.SETTINGS, 1), "totals": (state.TOTALS, 1), "requests": (state.REQUEST, 1),
    "instances": (state.INSTANCE, 1), "pools": (state.POOL, 1), "gpus": (state.GPU, 1),
    "shapes": (state.SHAPE, 1), "step_tokens": (np.int64, 2), "step_batch": (np.int64, 2),
    "step_context": (np.int64, 2), "step_mixed": (np.int64, 2),
    "spec_batch": (np.int64, 2), "spec_context": (np.int64, 2), "spec_line": (np.float64, 2),
    "capacity": (state.CAPACITY_EVENT, 1), "events": (state.EVENT, 1),
    "instance_heap": (np.int64, 1), "segments": (np.int64, 2), "paths": (np.int32, 1),
    "cached": (state.CACHED, 1), "popular": (np.int32, 2), "matched": (np.int64, 1),
    "entry_row": (dtype_of(contract.Entry), 1),
    "tenant_load": (np.int32, 2),
    "class_stats": (state.CLASS_STATS, 1), "router_rows": (dtype_of(contract.Instance), 2),
    "router_slots": (np.int64, 2), "router_seen": (np.int64, 2), "router_counts": (np.int64, 1),
    "router_free": (np.int64, 1), "sent": (state.SENT, 2), "router_memory": (np.float64, 2),
    "engine_memory": (np.float64, 2), "planner_memory": (np.float64, 2),
    "request_row": (dtype_of(contract.Request), 1), "window": (dtype_of(contract.Window), 1),
    "cluster": (dtype_of(contract.Cluster), 1), "plan": (dtype_of(contract.Plan), 1),
    "new_plan": (dtype_of(contract.Plan), 1), "running": (dtype_of(contract.Running), 1),
    "moves": (dtype_of(contract.Moves), 1), "frame": (FRAME, 1), "hooks": (np.int64, 1),
    "hook_parameters": (np.int64, 1), "scratch": (np.float64, 1), "links": (np.int64, 1),
    "edge_offsets": (np.int64, 1), "edge_rows": (np.int32, 1), "horizons": (np.float64, 2),
    "samples": (state.SAMPLE, 1), "branch_rows": (dtype_of(contract.Branch), 1),
}  # fmt: skip
_ARRAYS = {
    name: types.Array(numba.from_dtype(np.dtype(dtype)), dimensions, "C")
    for name, (dtype, dimensions) in _DTYPES.items()
}
_POSITIONS = {name: position for position, name in enumerate(Sim._fields)}


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
    return builder.gep(table, [ir.Constant(int64, _COLUMNS * _POSITIONS[name] + column)])


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


def table_of(sim: Sim) -> NDArray[np.int64]:
    """Addresses and shapes of a Sim's arrays, for the entries; keep it as long as the run lasts.

    Raises:
        TypeError: an array has another dtype or layout than compiled code assumes.
    """
    table = np.zeros((len(Sim._fields), _COLUMNS), np.int64)
    for row, (name, array) in zip(table, sim._asdict().items(), strict=True):
        dtype, dimensions = _DTYPES[name]
        if array.dtype != dtype or array.ndim != dimensions or not array.flags.c_contiguous:
            raise TypeError(f"{name} does not have the layout that compiled code assumes")
        row[0] = array.ctypes.data
        row[1 : 1 + dimensions] = array.shape
    return table


def kernel(function: _F) -> _F:
    """Compile for the simulator, into every `entry` that uses it."""
    compiled: _F = numba.njit(**_OPTIONS)(function)
    return compiled


def entry(function: _F) -> _F:
    """Compile a function `(sim, int, ...) -> int` by itself, kept on disk, called by address.

    Inlining everything into one event loop would compile the same code many times over; entries
    cut the kernel into pieces that are compiled once, and in parallel.
    """
    position = ENTRIES.index(function.__name__)
    arguments = function.__code__.co_argcount
    signature = types.int64(SIM, *[types.int64] * (arguments - 1))
    _functions[function.__name__] = function
    _compilers[function.__name__] = lambda: numba.njit(signature, cache=True, **_OPTIONS)(function)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        int64, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        plain = [int64] * arguments
        kind = ir.FunctionType(ir.IntType(32), [int64.as_pointer(), pointer.as_pointer(), *plain])
        links = builder.load(_cell(builder, values[0], "links", 0))
        slot = builder.gep(
            builder.inttoptr(links, int64.as_pointer()), [ir.Constant(int64, position)]
        )
        result = cgutils.alloca_once(builder, int64)
        error = cgutils.alloca_once(builder, pointer)
        callee = builder.inttoptr(builder.load(slot), kind.as_pointer())
        builder.call(callee, [result, error, *values])
        return builder.load(result)

    def typed(typingctx: Any, *given: Any) -> Any:
        return types.int64(SIM, *[types.int64] * (arguments - 1)), generate

    names = ", ".join(function.__code__.co_varnames[:arguments])
    scope: dict[str, Any] = {"typed": typed}
    exec(f"def call(typingctx, {names}): return typed(typingctx, {names})", scope)
    return cast(_F, intrinsic(scope["call"]))


class EntryLocator(UserProvidedCacheLocator):
    """Keeps an entry's machine code under a digest of what it reaches, wherever that stands."""

    def get_source_stamp(self) -> Any:
        """Constant: the name of the file says it all."""
        return ""

    _py_func: Callable[..., Any]

    def get_disambiguator(self) -> Any:
        """The digest, as part of the file's name."""
        return _entry_digest(self._py_func.__name__)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """A locator for an entry; None for any other function."""
        if _functions.get(py_func.__name__) is not py_func:
            return None
        locator: Any = super().from_function(py_func, py_file)
        locator._py_func = py_func
        return locator


@functools.cache
def _layouts() -> str:
    """Toolchain, layout of the rows and how this module compiles."""
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    rows = {name: (np.dtype(dtype).descr, n) for name, (dtype, n) in _DTYPES.items()}
    return f"{toolchain()} {own} {rows!r} {Sim._fields!r}"


@functools.cache
def _entry_digest(name: str) -> str:
    return reach_digest(_functions[name], _layouts())


def entries_to_compile() -> list[str]:
    """Entries whose machine code the disk does not have."""
    kept = {path.name.split("-")[1].split(".")[0] for path in cache_directory().rglob("*-*.nbi")}
    return [name for name in ENTRIES if _entry_digest(name) not in kept]


def compile_entry(name: str) -> Any:
    """Compile one entry, or load it from disk."""
    return _compilers[name]()


def entry_addresses() -> NDArray[np.int64]:
    """Native address of every entry, in ENTRIES order; compiles what the disk does not have."""
    return np.array([_address(name) for name in ENTRIES], np.int64)


@functools.cache
def _address(name: str) -> int:
    dispatcher = compile_entry(name)
    (compiled,) = dispatcher.overloads.values()
    _kept.append(dispatcher)
    address: int = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    return address
