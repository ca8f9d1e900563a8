"""The compiled kernel as Python sees it: two calls on one simulation, and warming it up."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

# importing the modules registers their entries
from sandbox.kernel import (
    elastic,
    engine,
    evict,
    handover,
    hardware,
    invariants,
    loading,
    loop,
    migration,
    observe,
    plans,
    prewarm,
    rebalance,
    routing,
    supply,
    views,
)
from sandbox.kernel.jit import (
    ENTRIES,
    compile_entries,
    entries_to_compile,
    entry_addresses,
    table_of,
)
from sandbox.kernel.state import NEVER, Sim

MODULES = (
    elastic, engine, evict, handover, hardware, invariants, loading, loop, migration, observe,
    plans, prewarm, rebalance, routing, supply, views,
)  # fmt: skip
_START = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
_RUN = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p,
    ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
)  # fmt: skip


class Program:
    """The event loop bound to one simulation's arrays, which it keeps alive."""

    def __init__(self, sim: Sim) -> None:
        addresses = entry_addresses()
        self.sim = sim._replace(links=addresses)
        self._table = table_of(self.sim)
        self._start = _START(int(addresses[ENTRIES.index("start")]))
        self._run = _RUN(int(addresses[ENTRIES.index("run")]))
        self._result, self._error = ctypes.c_int64(), ctypes.c_void_p()

    def start(self) -> bool:
        """Carry out the starting plan; False when no plan fits."""
        return bool(self._call(self._start))

    def run(self, most_events: int, until: int = NEVER) -> bool:
        """Handle up to that many events; True while there is more.

        Args:
            until: picoseconds; stops before the first monitoring point at or after it, for
                another policy to be asked there.
        """
        return bool(self._call(self._run, most_events, until))

    def _call(self, native: Callable[..., int], *values: int) -> int:
        table = self._table.ctypes.data
        status = native(ctypes.byref(self._result), ctypes.byref(self._error), table, *values)
        if status != 0:
            raise RuntimeError("the simulator's kernel failed; this is a defect, please report it")
        return self._result.value


def warm(parts: int = 1) -> Iterator[str]:
    """Compile what the disk does not have, `parts` processes at once; yields finished entries.

    Raises:
        CacheRefused: there is no directory to keep machine code in.
        CompileFailed: a process ended with an error, which it printed.
    """
    wanted = entries_to_compile()
    yield from (name for name in ENTRIES if name not in wanted)
    yield from compile_entries(wanted, parts)
