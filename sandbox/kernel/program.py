"""The compiled kernel as Python sees it: two calls on one simulation, and warming it up."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import sys
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
    rebalance,
    routing,
    supply,
    views,
)
from sandbox.kernel.jit import (
    ENTRIES,
    compile_entry,
    entries_to_compile,
    entry_addresses,
    table_of,
)
from sandbox.kernel.state import Sim

MODULES = (
    elastic, engine, evict, handover, hardware, invariants, loading, loop, migration, observe,
    plans, rebalance, routing, supply, views,
)  # fmt: skip
_START = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
_RUN = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)


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

    def run(self, most_events: int) -> bool:
        """Handle up to that many events; True while there is more."""
        return bool(self._call(self._run, most_events))

    def _call(self, native: Callable[..., int], *values: int) -> int:
        table = self._table.ctypes.data
        status = native(ctypes.byref(self._result), ctypes.byref(self._error), table, *values)
        if status != 0:
            raise RuntimeError("the simulator's kernel failed; this is a defect, please report it")
        return self._result.value


def warm(parts: int = 1) -> Iterator[str]:
    """Compile what the disk does not have, `parts` processes at once; yields finished entries."""
    wanted = entries_to_compile()
    yield from (name for name in ENTRIES if name not in wanted)
    if parts <= 1 or len(wanted) < parts:
        for name in wanted:
            compile_entry(name)
            yield name
        return
    code = "import sys; from sandbox.kernel.program import compile_entry\n"
    code += "for name in sys.argv[1:]:\n    compile_entry(name)\n    print(name, flush=True)"
    command = [sys.executable, "-P", "-c", code]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen([*command, *share], stdout=subprocess.PIPE, text=True)  # noqa: S603
            )
            for share in (wanted[k::parts] for k in range(parts))
        ]
        for child in children:
            yield from (line.strip() for line in child.stdout or ())
            if child.wait() != 0:
                raise RuntimeError("A child process could not compile the kernel; see its message.")
