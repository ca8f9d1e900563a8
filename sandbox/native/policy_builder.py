"""Compiles policies: lowered code through numba to object files, hook by hook.

Each hook is one native function of the frame's address (see `abi`). Bounds are checked and
division follows Python; the lowered code checks both itself before, so that the frame says what
went wrong. Helper functions of the sandbox are compiled once and cached on disk.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import types
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from numba import config, njit
from numba import types as nb
from numba.core import cgutils
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic
from numba.np.numpy_support import carray

from sandbox import arithmetic, contract, lists, toolkit
from sandbox.arithmetic import SCRATCH_LIMIT, require, reserve
from sandbox.frame import FRAME, INDEX, OTHER, SCRATCH, row_dtype
from sandbox.hook_text import count_constants, digest_of, functions_of, hook_text
from sandbox.language.kinds import Kind, fields, hooks
from sandbox.native.cache import code_directory, private_directory
from sandbox.native.common_policy import COMMON
from sandbox.native.machine_code import MachineCode
from sandbox.native.policy_code import PolicyCode
from sandbox.native.toolchain import policy_toolchain
from sandbox.policies import default_source
from sandbox.records import records
from sandbox.source import PolicySource
from sandbox.verifier import verify

_OPTIONS: dict[str, Any] = {
    "boundscheck": True,
    "error_model": "numpy",  # no lowered code divides before it has tested the divisor
    # Nothing here is called as a Python object, and wrappers take a third of the compile time.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

Native = Any  # what only the compiler sees: frames, rows, arrays, its own objects
_unliteral: Callable[[Native], Native] = nb.unliteral


def _jit(function: Callable[..., Any], forceinline: bool = True, cache: bool = False) -> Native:
    """A function to be compiled, once for arguments of the same types.

    Inlined, since a call between these is dearer than most of them; a third of the time went there.
    numba would compile it anew for every literal number that it is called with, which is half of
    the time that a policy takes.
    """
    dispatcher: Native = njit(**_OPTIONS, forceinline=forceinline, cache=cache)(function)
    typed = dispatcher.get_call_template

    def typed_alike(given: Native, named: Native) -> Native:
        plain = {name: _unliteral(one) for name, one in named.items()}
        return typed(tuple(map(_unliteral, given)), plain)

    dispatcher.get_call_template = typed_alike
    return dispatcher


INLINED_CHARACTERS = 1_500  # of a lowered helper; inlining larger ones costs minutes to compile
_KEPT_TOOLKITS = 4  # of other toolchains and versions
_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
_MIX_1 = np.uint64(0xBF58_476D_1CE4_E5B9)
_MIX_2 = np.uint64(0x94D0_49BB_1331_11EB)


def _pointer(_context: Native, _address: Native) -> Native:
    def generate(_context: Native, builder: Native, _types: Native, values: Native) -> Native:
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return nb.voidptr(nb.int64), generate


pointer: Native = intrinsic(_pointer)
"""An int64 address as a pointer."""


def frame_at(address: int) -> Native:
    """The frame at an address."""
    return carray(pointer(address), 1, FRAME)[0]


def floats_at(address: int, count: int) -> Native:
    """Floats at an address."""
    return carray(pointer(address), count, np.float64)


def row_at(address: int, dtype: Native) -> Native:
    """The row at an address."""
    return carray(pointer(address), 1, dtype)[0]


def rows_at(address: int, count: int, dtype: Native) -> Native:
    """Rows at an address."""
    return carray(pointer(address), count, dtype)


def vector(frame: Native, n: int) -> Native:
    """zeros(n) in the frame's scratch."""
    start = reserve(frame, n)
    array = carray(pointer(frame.scratch + 8 * start), n, np.float64)
    for i in range(n):
        array[i] = 0.0
    return array


def table(frame: Native, n: int, m: int) -> Native:
    """zeros(n, m) in the frame's scratch."""
    require(frame, 0 <= n <= SCRATCH_LIMIT and 1 <= m <= SCRATCH_LIMIT, SCRATCH)
    start = reserve(frame, n * m)
    array = carray(pointer(frame.scratch + 8 * start), (n, m), np.float64)
    for i in range(n):
        for j in range(m):
            array[i, j] = 0.0
    return array


def random01(seed: int, k: int) -> float:
    """The toolkit's random01 in 64-bit arithmetic."""
    z = _mix64(_mix64(np.uint64(seed)) + np.uint64(k + 1) * _GOLDEN)
    return float(z >> np.uint64(11)) * 2.0**-53


def _mix64(z: Native) -> Native:
    """The toolkit's _mix64 in 64-bit arithmetic."""
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def _address(_context: Native, row: Native) -> Native:
    def generate(_context: Native, builder: Native, _types: Native, values: Native) -> Native:
        return builder.ptrtoint(values[0], cgutils.intp_t)

    return nb.int64(row), generate


address_of_row: Native = intrinsic(_address)
"""Where a row is."""


def ref(row: Native) -> int:
    """A row as a word."""
    return int(address_of_row(row))


def inside(word: int, start: int, bytes_held: int, bytes_wanted: int) -> bool:
    """Does a row at an address lie within an argument?"""
    return start > 0 and start <= word <= start + bytes_held - bytes_wanted


def _row_reader(record: str) -> str:
    """Source of a function that makes a word a row again, which has to be an argument's.

    Words are kept apart from numbers by their kinds; this holds even where that should fail. No
    row at all, which nothing reads, is a piece of the scratch.
    """
    size = row_dtype(record).itemsize
    places = [
        f"inside(word, frame.{name}, {count} * {row_dtype(owner).itemsize}, {size})"
        for name, (owner, count) in sorted(_arguments().items())
        if record in _parts(owner)
    ]
    return (
        f"def row_of_{record}(frame, word):\n"
        f"    if word == 0:\n        return row_at(frame.scratch, D_{record})\n"
        f"    require(frame, {' or '.join(places)}, OUTSIDE)\n"
        f"    return row_at(word, D_{record})\n"
    )


def _arguments() -> dict[str, tuple[str, str]]:
    """Arguments of hooks: the record they hold, and text of how many of it."""
    return {
        name: (kind.record.removeprefix("New"), f"frame.n_{name}" if kind.name == "rows" else "1")
        for hook in hooks().values()
        for name, kind in hook.parameters
        if kind.record
    }


def _parts(record: str) -> set[str]:
    """A record and the records of its rows."""
    inner = [kind.record for kind in fields()[record].values() if kind.name == "rows"]
    return {record}.union(*(_parts(part) for part in inner))


def load_int(frame: Native, place: int) -> int:
    """The word at a place of the scratch."""
    return int(carray(pointer(frame.scratch), SCRATCH_LIMIT, np.int64)[place])


def store_int(frame: Native, place: int, x: int) -> None:
    """Set the word at a place of the scratch."""
    carray(pointer(frame.scratch), SCRATCH_LIMIT, np.int64)[place] = x


def load_float(frame: Native, place: int) -> float:
    """The word at a place of the scratch, which is a float."""
    return float(carray(pointer(frame.scratch), SCRATCH_LIMIT, np.float64)[place])


def store_float(frame: Native, place: int, x: float) -> None:
    """Set the word at a place of the scratch to a float."""
    carray(pointer(frame.scratch), SCRATCH_LIMIT, np.float64)[place] = x


_OWN = (
    frame_at, floats_at, row_at, rows_at, vector, table, random01, _mix64,
    ref, inside, load_int, store_int, load_float, store_float,
)  # fmt: skip


@functools.cache
def namespace() -> dict[str, Any]:
    """Everything lowered code may name, as compiled functions that see each other."""
    scope: dict[str, Any] = {**vars(arithmetic), **vars(toolkit), **vars(lists), **globals()}
    scope |= {"EMPTY": INDEX, "NO_VALUE": OTHER, "OUTSIDE": OTHER}
    scope |= {f"D_{name}": row_dtype(name) for name in records()}
    functions: dict[str, Callable[..., Any]] = {}
    for module in (arithmetic, toolkit, lists):
        functions |= {
            name: value
            for name, value in vars(module).items()
            if isinstance(value, types.FunctionType) and value.__module__ == module.__name__
        }
    functions |= {function.__name__: function for function in _OWN}
    for record in records():
        exec(_row_reader(record), scope)  # noqa: S102  # our own text
        scope[f"row_of_{record}"] = _jit(scope[f"row_of_{record}"])
    with _toolkit_kept():
        for name, function in functions.items():
            copy = types.FunctionType(function.__code__, scope, name)
            scope[name] = _jit(copy, cache=True)
    return scope


@contextlib.contextmanager
def _toolkit_kept() -> Iterator[None]:
    """While the toolkit is defined: numba keeps it in a private directory of this toolchain.

    numba's own files are pickle, and made only for the processes that compile. They spare each of
    them the seconds in which the toolkit compiles.
    """
    root = code_directory("toolkit")
    place = root / policy_toolchain()[:16]
    with private_directory(place):
        pass
    for old in sorted(root.iterdir(), key=os.path.getmtime, reverse=True)[_KEPT_TOOLKITS:]:
        if old != place:
            shutil.rmtree(old, ignore_errors=True)
    before = config.CACHE_DIR  # type: ignore[attr-defined]  # numba makes it as it loads
    config.CACHE_DIR = str(place)  # type: ignore[attr-defined]  # likewise
    try:
        yield
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]  # likewise


def load_toolkit() -> None:
    """Load the toolkit, and write no more of it: before children fork that open no file of ours.

    The first time on a machine, that means to compile it, with policies that use most of it. What
    they leave out is compiled again in every child that needs it, at 30 ms or so a function.
    """
    functions: list[Native] = [v for v in namespace().values() if isinstance(v, Dispatcher)]
    dispatchers = [one for one in functions if not isinstance(one._cache, NullCache)]
    kept = [(one, key[0]) for one in dispatchers for key in one._cache._cache_file._load_index()]
    if not kept:
        build(default_source())
        build(verify(COMMON))
    for dispatcher, signature in kept:
        dispatcher.compile(signature)
    for dispatcher in dispatchers:
        dispatcher._cache = NullCache()


def build(source: PolicySource, only: Collection[str] | None = None) -> PolicyCode:
    """Machine code of a verified source's hooks, or of `only` some: about 0.2 s a hook."""
    wanted = [hook for hook in source.hooks if only is None or hook in only]
    return PolicyCode({hook: build_hook(hook_text(source, hook).lowered) for hook in wanted})


def build_hook(lowered: str) -> MachineCode:
    """An object file of one hook, of its own text (see `HookText`) and nothing else."""
    functions = functions_of(lowered)
    hook = list(functions)[-1].removeprefix("h_")
    scope = dict(namespace())
    code_object = compile(_with_entry(hook, lowered), f"<hook {hook}>", "exec")
    exec(code_object, scope)  # noqa: S102  # verified, and only ever compiled
    for name, text in functions.items():
        if name.startswith("f_"):
            scope[name] = _jit(scope[name], forceinline=len(text) < INLINED_CHARACTERS)
    entry = _jit(scope[f"h_{hook}"])
    entry.compile((nb.int64,))
    compiled = entry.overloads[(nb.int64,)]
    symbols = {hook: compiled.fndesc.llvm_func_name}
    objects = (compiled.library._get_compiled_object(),)
    return MachineCode(digest_of(lowered), policy_toolchain(), symbols, objects)


def _with_entry(hook: str, lowered: str) -> str:
    """Lowered text whose hook takes a frame's address and reads its arguments from it."""
    lines = [
        f"def h_{hook}(address):",
        "frame = frame_at(address)",
        "begin(frame)",
        f"P = floats_at(frame.parameters, {count_constants(lowered)})",
    ]
    lines += [f"v_{name} = {_argument(name, kind)}" for name, kind in hooks()[hook].parameters]
    entry = "\n    ".join(lines)
    return re.sub(r"^def h_\w+\(.*\):$", lambda _: entry, lowered, flags=re.MULTILINE)


def _argument(name: str, kind: Kind) -> str:
    if kind.name == "vector":
        return f"floats_at(frame.{name}, {contract.MEMORY_SLOTS})"
    record = kind.record.removeprefix("New")
    if kind.name == "rows":
        return f"rows_at(frame.{name}, frame.n_{name}, D_{record})"
    return f"row_at(frame.{name}, D_{record})"
