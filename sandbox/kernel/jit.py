"""How kernel functions are marked, named by what they reach, kept, and linked into a process.

`kernel` and `entry` only mark functions; `compiler` gives them to numba, in processes of its own.
Whoever runs the simulator links the entries' object files and never imports a compiler.
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sandbox import contract
from sandbox.errors import CodeRefused, CompileFailed
from sandbox.frame import FRAME
from sandbox.kernel import state
from sandbox.kernel.reach import reach_digest
from sandbox.kernel.state import Sim
from sandbox.native.cache import CodeCache, code_directory
from sandbox.native.linking import LinkedCode, link
from sandbox.native.machine_code import MachineCode
from sandbox.native.process import command
from sandbox.native.toolchain import toolchain
from sandbox.records import dtype_of

_F = TypeVar("_F", bound=Callable[..., Any])
COLUMNS = 3

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
    "control_tick", "prewarm_tick",
)  # fmt: skip

DTYPES: dict[str, tuple[Any, int]] = {
    "settings": (state.SETTINGS, 1), "totals": (state.TOTALS, 1), "requests": (state.REQUEST, 1),
    "instances": (state.INSTANCE, 1), "pools": (state.POOL, 1), "gpus": (state.GPU, 1),
    "shapes": (state.SHAPE, 1), "step_tokens": (np.int64, 2), "step_batch": (np.int64, 2),
    "step_context": (np.int64, 2), "step_mixed": (np.int64, 2),
    "spec_batch": (np.int64, 2), "spec_context": (np.int64, 2), "spec_line": (np.float64, 2),
    "capacity": (state.CAPACITY_EVENT, 1), "events": (state.EVENT, 1),
    "instance_heap": (np.int64, 1), "segments": (np.int64, 2), "paths": (np.int32, 1),
    "cached": (state.CACHED, 1), "popular": (np.int32, 2), "matched": (np.int64, 1),
    "entry_row": (dtype_of(contract.Entry), 1), "evicted": (state.EVICTED, 2),
    "entries": (dtype_of(contract.Entry), 1), "offered": (np.int64, 1), "above": (np.int32, 1),
    "readers": (state.READER, 2), "leads": (state.LEAD, 2), "tenant_load": (np.int32, 2),
    "class_stats": (state.CLASS_STATS, 1), "sums": (np.int64, 2), "closed": (np.int64, 2),
    "latest_arrival": (np.float64, 1), "outlook": (np.float64, 2),
    "router_rows": (dtype_of(contract.Instance), 2),
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
    "hidden": (np.int64, 2), "request_words": (np.int64, 1), "router_words": (np.int64, 2),
    "window_words": (np.int64, 1),
}  # fmt: skip
_linked: dict[str, LinkedCode] = {}
_entries: dict[str, Entry] = {}


class KernelFunction:
    """A function of the simulator, to be compiled into every entry that uses it."""

    def __init__(self, function: FunctionType) -> None:
        self.py_func = function
        self.__name__ = function.__name__


class Entry:
    """A function `(sim, int, ...) -> int` that is compiled by itself and called by address."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.position = ENTRIES.index(function.__name__)
        self.__name__ = function.__name__


def kernel(function: _F) -> _F:
    """Mark for compilation, into every `entry` that uses it."""
    return cast(_F, KernelFunction(cast(FunctionType, function)))


def entry(function: _F) -> _F:
    """Mark a function `(sim, int, ...) -> int` to be compiled by itself, called by address.

    Inlining everything into one event loop would compile the same code many times over; entries
    cut the kernel into pieces that are compiled once, and in parallel.
    """
    made = _entries[function.__name__] = Entry(cast(FunctionType, function))
    return cast(_F, made)


def table_of(sim: Sim) -> NDArray[np.int64]:
    """Addresses and shapes of a Sim's arrays, for the entries; keep it as long as the run lasts.

    Raises:
        TypeError: an array has another dtype or layout than compiled code assumes.
    """
    table = np.zeros((len(Sim._fields), COLUMNS), np.int64)
    for row, (name, array) in zip(table, sim._asdict().items(), strict=True):
        dtype, dimensions = DTYPES[name]
        if array.dtype != dtype or array.ndim != dimensions or not array.flags.c_contiguous:
            raise TypeError(f"{name} does not have the layout that compiled code assumes")
        row[0] = array.ctypes.data
        row[1 : 1 + dimensions] = array.shape
    return table


@functools.cache
def _base() -> str:
    """What every entry's code depends on: toolchain, rows, positions, and how we compile."""
    own = hashlib.sha256(Path(__file__).with_name("compiler.py").read_bytes()).hexdigest()
    rows = {name: (np.dtype(dtype).descr, n) for name, (dtype, n) in DTYPES.items()}
    return f"{toolchain()} {own} {rows!r} {Sim._fields!r} {ENTRIES!r}"


@functools.cache
def entry_digest(name: str) -> str:
    """Digest of all that an entry's machine code is made from."""
    return reach_digest(_entries[name].function, _base())


def entry_of(name: str) -> Entry:
    """A marked entry."""
    return _entries[name]


def kernel_cache() -> CodeCache:
    """Where the entries' machine code is kept, each under its digest.

    Raises:
        CacheRefused: no directory can be had.
    """
    return CodeCache(code_directory("kernel"))


def entries_to_compile() -> list[str]:
    """Entries whose machine code the disk does not have.

    Raises:
        CacheRefused: no directory can be had.
    """
    cache = kernel_cache()
    return [name for name in ENTRIES if not cache.has(entry_digest(name))]


def compile_entries(names: Sequence[str], parts: int = 1) -> Iterator[str]:
    """Compile entries in `parts` processes at once and keep them; yields those that are done.

    Raises:
        CompileFailed: a process ended with an error, which it printed.
    """
    started = command("sandbox.kernel.compiler")
    shares = [names[k::parts] for k in range(parts)]
    children = [
        subprocess.Popen([*started, *share], stdout=subprocess.PIPE, text=True)  # noqa: S603
        for share in shares
        if share
    ]
    try:
        for child in children:
            yield from (line.strip() for line in child.stdout or ())
            if child.wait() != 0:
                raise CompileFailed("The simulator does not compile here: see the message above.")
    finally:
        for child in children:
            child.kill()
            child.communicate()


def entry_addresses() -> NDArray[np.int64]:
    """Native address of every entry, in ENTRIES order; compiles what the disk does not have.

    Raises:
        CacheRefused: there is no directory to keep machine code in.
        CompileFailed: the simulator does not compile here.
    """
    if not _linked.keys() >= set(ENTRIES):  # a locked-down process has no disk to ask
        _link_entries()
    return np.array([_linked[name].addresses[name] for name in ENTRIES], np.int64)


def _link_entries() -> None:
    cache = kernel_cache()
    missing = [name for name in ENTRIES if not _is_linked(cache, name)]
    for _ in compile_entries(missing):
        pass
    if not all(_is_linked(cache, name) for name in missing):
        raise CompileFailed(
            "The simulator's machine code could not be kept or is not for this machine: free some "
            f"space in {cache.directory}, then run the command again."
        )


def _is_linked(cache: CodeCache, name: str) -> bool:
    """Link an entry's machine code from disk, if it is there and good."""
    if name in _linked:
        return True
    data = cache.get(entry_digest(name))
    if data is None:
        return False
    try:
        code = MachineCode.from_bytes(data)
    except CodeRefused:
        return False
    if code.source_digest != entry_digest(name) or code.hooks != {name}:
        return False
    _linked[name] = link(code)
    return True
