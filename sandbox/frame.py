"""The call frame: the one row of numbers through which a hook is called, and what it leaves there.

A host fills pointers to the rows a hook sees, the fuel and the rotation, calls the hook's native
function with the frame's address, and reads `status`, `fuel` and `value`. Integer hooks return
their answer; bool and float hooks leave it in `value`; the others write their records.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sandbox import contract
from sandbox.errors import PolicyFault
from sandbox.records import dtype_of, records

if TYPE_CHECKING:
    from sandbox.engine import LoadedPolicy

OK, FUEL, ZERO_DIVISION, INDEX, OVERFLOW, NOT_A_NUMBER, SCRATCH, OTHER = range(8)

FAULTS = {
    FUEL: "it ran out of fuel",
    ZERO_DIVISION: "it divided by zero",
    INDEX: "it used an index that is out of range",
    OVERFLOW: "an integer left the range of 2**53",
    NOT_A_NUMBER: "it needed a number and had NaN",
    SCRATCH: "it asked for more scratch than there is",
    OTHER: "it failed in a way that is not classified",
}

_POINTERS = (
    "request", "instance", "instances", "n_instances", "rotation", "window", "cluster", "plan",
    "new_plan", "running", "n_running", "moves", "entry", "entries", "n_entries", "branches",
    "n_branches", "memory", "parameters", "scratch", "scratch_used", "fuel", "status",
)  # fmt: skip
FRAME: np.dtype[np.void] = np.dtype([(name, "i8") for name in _POINTERS] + [("value", "f8")])

NATIVE = ctypes.CFUNCTYPE(
    ctypes.c_int32,
    ctypes.POINTER(ctypes.c_int64),
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_int64,
)

Rows = npt.NDArray[np.void]


class Caller:
    """Calls the hooks of one loaded policy from Python; keeps its own frame, scratch and memory.

    Rows are arrays of the contract's dtypes (`records.new_rows`). Every method raises
    `PolicyFault` when the policy stops.
    """

    def __init__(self, loaded: LoadedPolicy) -> None:
        self.loaded = loaded
        self.frame = np.zeros(1, FRAME)
        self.memory = np.zeros(contract.MEMORY_SLOTS)
        self.fuel_used = 0
        self._scratch = np.zeros(contract.SCRATCH_FLOATS)
        counts = [len(loaded.parameters_of(hook)) for hook in loaded.hooks]
        self._parameters = np.zeros(max([1, *counts]))
        self._entries = {hook: NATIVE(loaded.address(hook)) for hook in loaded.hooks}

    def route(
        self,
        request: Rows,
        instances: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        rotation: int = 0,
        fuel: int = 60_000,
    ) -> int:
        """Instance id, HOLD or REJECT."""
        return self._call(
            "route", fuel, memory, rotation=rotation, request=request, instances=instances
        )

    def route_decode(
        self,
        request: Rows,
        instances: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        rotation: int = 0,
        fuel: int = 60_000,
    ) -> int:
        """Decode instance id, or HOLD."""
        return self._call(
            "route_decode", fuel, memory, rotation=rotation, request=request, instances=instances
        )

    def priority(
        self,
        request: Rows,
        instance: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        fuel: int = 60_000,
    ) -> float:
        """Place in the queue, lower first."""
        self._call("priority", fuel, memory, request=request, instance=instance)
        return float(self.frame["value"][0])

    def admit(
        self,
        request: Rows,
        instance: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        fuel: int = 60_000,
    ) -> bool:
        """True: run it now."""
        self._call("admit", fuel, memory, request=request, instance=instance)
        return bool(self.frame["value"][0])

    def evict(
        self,
        entry: Rows,
        instance: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        fuel: int = 60_000,
    ) -> float:
        """Keep-value, lowest goes first."""
        self._call("evict", fuel, memory, entry=entry, instance=instance)
        return float(self.frame["value"][0])

    def prewarm(
        self,
        instance: Rows,
        entries: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        fuel: int = 60_000,
    ) -> None:
        """Sets `wanted` of entries."""
        self._call("prewarm", fuel, memory, instance=instance, entries=entries)

    def branches(
        self,
        request: Rows,
        branches: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        fuel: int = 60_000,
    ) -> int:
        """How many parallel samples to run."""
        return self._call("branches", fuel, memory, request=request, branches=branches)

    def tune(
        self,
        instance: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        fuel: int = 60_000,
    ) -> None:
        """Sets the instance's `knob_*`."""
        self._call("tune", fuel, memory, instance=instance)

    def should_reschedule(
        self,
        window: Rows,
        cluster: Rows,
        plan: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        fuel: int = 100_000_000,
    ) -> bool:
        """True: plan now."""
        self._call(
            "should_reschedule", fuel, memory, window=window, cluster=cluster, plan=plan
        )
        return bool(self.frame["value"][0])

    def schedule(
        self,
        window: Rows,
        cluster: Rows,
        plan: Rows,
        new_plan: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        fuel: int = 100_000_000,
    ) -> None:
        """Fills `new_plan`."""
        self._call(
            "schedule", fuel, memory,
            window=window, cluster=cluster, plan=plan, new_plan=new_plan,
        )  # fmt: skip

    def migrate(
        self,
        running: Rows,
        instances: Rows,
        moves: Rows,
        memory: npt.NDArray[np.float64] | None = None,
        fuel: int = 100_000_000,
    ) -> None:
        """Fills `moves`."""
        self._call("migrate", fuel, memory, running=running, instances=instances, moves=moves)

    def _call(
        self,
        hook: str,
        fuel: int,
        memory: npt.NDArray[np.float64] | None,
        rotation: int = 0,
        **rows: Rows,
    ) -> int:
        frame = self.frame
        frame["fuel"], frame["rotation"] = fuel, rotation
        frame["memory"] = address_of(self.memory if memory is None else memory)
        frame["scratch"] = address_of(self._scratch)
        parameters = self.loaded.parameters_of(hook)
        self._parameters[: len(parameters)] = parameters
        frame["parameters"] = address_of(self._parameters)
        for name, array in rows.items():
            frame[name] = address_of(array)
            if f"n_{name}" in _POINTERS:
                frame[f"n_{name}"] = len(array)
        answer, exception = ctypes.c_int64(0), ctypes.c_void_p()
        code = self._entries[hook](
            ctypes.byref(answer), ctypes.byref(exception), address_of(frame)
        )
        self.fuel_used = fuel - int(frame["fuel"][0])
        if code != 0:
            kind = int(frame["status"][0]) or OTHER
            raise PolicyFault(hook, kind, FAULTS[kind])
        return int(answer.value)


def address_of(array: npt.NDArray[np.generic]) -> int:
    """Address of an array's first element; the caller keeps the array alive."""
    if not array.flags.c_contiguous:
        raise ValueError("Rows have to be contiguous: pass a copy.")
    return int(array.ctypes.data)


def row_dtype(record: str) -> np.dtype[np.void]:
    """Layout of a record's rows, by the record's name."""
    return dtype_of(records()[record])
