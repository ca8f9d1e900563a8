"""Asking the policy: one call per hook, with its fuel, its faults and the default's answer instead.

A hook that raises, runs out of fuel or answers outside its range is a fault: it is counted, and the
default policy answers this decision. Fuel spent is time: its price in picoseconds comes back too.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.abi import FAILED, call_hook
from sandbox.contract import MEMORY_SLOTS
from sandbox.kernel.jit import kernel
from sandbox.kernel.runs import cut_run
from sandbox.kernel.state import Sim

# positions in `Sim.hooks`; the second half of that array holds the default policy's addresses
HOOKS = (
    "should_reschedule", "schedule", "route", "route_decode", "priority", "migrate", "admit",
    "evict", "prewarm", "branches", "tune",
)  # fmt: skip
CALLED = HOOKS  # what this simulator asks for
DEFAULT_HOOKS = len(HOOKS)
TRIGGER, PLANNER, ROUTE, ROUTE_DECODE, PRIORITY, MIGRATE, ADMIT, EVICT = range(8)
PREWARM, BRANCHES, TUNE = 8, 9, 10
INVALID_DECISION = 100  # fault kind beside the frame's own status codes
_FLOATS_BYTES = 8


@kernel
def note_fault(s: Sim, hook: int, kind: int) -> None:
    """Count a faulty decision; the first one is kept for the report."""
    totals = s.totals[0]
    totals.faults += 1
    if totals.first_fault == 0:
        totals.first_fault = kind
        totals.fault_hook = hook


@kernel
def _call(s: Sim, row: int, fuel: int, memory: int) -> int:
    frame = s.frame[0]
    frame.fuel = fuel
    frame.status = 0
    frame.memory = memory
    frame.parameters = s.hook_parameters[row]
    frame.scratch_used = 0
    address = s.frame.ctypes.data
    return call_hook(s.hooks[row], address)


@kernel
def ask(s: Sim, hook: int, fuel: int, memory: int) -> int:
    """Call one hook of the policy on the frame; FAILED after a fault, which is counted."""
    answer = _call(s, hook, fuel, memory)
    frame = s.frame[0]
    spent = fuel - max(frame.fuel, 0)
    s.totals[0].fuel += spent
    s.totals[0].decisions += 1
    if answer == FAILED:
        note_fault(s, hook, max(frame.status, 1))
    return answer


@kernel
def ask_default(s: Sim, hook: int, fuel: int, memory: int) -> int:
    """The default policy's answer to the same question; it costs no simulated time."""
    return _call(s, DEFAULT_HOOKS + hook, fuel, memory)


@kernel
def spent_ps(s: Sim, fuel: int) -> int:
    """Scheduling time of the latest call, which was given `fuel`."""
    return (fuel - max(s.frame[0].fuel, 0)) * s.settings[0].fuel_ps


@kernel
def ask_engine(s: Sim, hook: int, i: int) -> int:
    """Call a hook of an engine's scope; its fuel lengthens the engine's next step."""
    fuel = s.settings[0].route_fuel
    answer = ask(s, hook, fuel, s.engine_memory.ctypes.data + i * MEMORY_SLOTS * _FLOATS_BYTES)
    s.instances[i].hooks += spent_ps(s, fuel)
    cut_run(s, i, s.totals[0].now)
    return answer
