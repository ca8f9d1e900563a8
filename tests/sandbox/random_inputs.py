"""Random arguments for hooks, tame and wild, in memory with a guard on either side."""

import random
from dataclasses import dataclass, field

import numpy as np

from sandbox import contract
from sandbox.frame import FRAME
from sandbox.language.kinds import BOOL, COUNTED_ENGINES, FLOAT, INT, PLANNER_HOOKS, fields, hooks
from sandbox.records import dtype_of, records

FLOATS = [0.0, -0.0, 1.0, -1.5, 0.3, 1e-9, 5e-324, 2.2e-308, 1e16, 1e19, 1e308, -1e308, 7.5, 120.25]
FLOATS += [2.0**53 - 1, 2.0**53, 2.0**53 + 2, -(2.0**53), float("nan"), float("inf"), -float("inf")]
INTS = [0, 1, -1, 2, 3, 7, 40, 1000, 2**31, 2**52, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1]
INTS += [2**62, 2**63 - 1, -(2**63)]
GUARD, GUARD_BYTE = 256, 0xA5
REQUEST_FUEL, PLANNER_FUEL = 60_000, 150_000


class Guarded:
    """An array between two stretches of known bytes."""

    def __init__(self, count, dtype):
        size = count * np.dtype(dtype).itemsize
        self._bytes = np.full(size + 2 * GUARD, GUARD_BYTE, np.uint8)
        self.array = self._bytes[GUARD : GUARD + size].view(dtype)
        self.array[:] = np.zeros((), dtype)

    def intact(self):
        """Nobody wrote outside the array."""
        ends = self._bytes[:GUARD], self._bytes[len(self._bytes) - GUARD :]
        return all(bool((end == GUARD_BYTE).all()) for end in ends)


@dataclass
class Inputs:
    """What one call of a hook is given."""

    hook: str
    rows: dict
    memory: np.ndarray
    rotation: int
    fuel: int
    guards: list = field(default_factory=list)

    @property
    def counted(self):
        """No more rows than the static cost counts."""
        plans = [self.rows[name] for name in ("plan", "new_plan") if name in self.rows]
        replicas = [plan["n_replicas"][0] for plan in plans]
        return max([len(self.rows.get("instances", [])), *replicas]) <= COUNTED_ENGINES

    def copied(self):
        """The same again, in memory of its own that is guarded."""
        guards = []

        def guarded(array):
            guards.append(Guarded(len(array), array.dtype))
            guards[-1].array.view(np.uint8)[:] = array.view(np.uint8)  # padding too
            return guards[-1].array

        rows = {name: guarded(array) for name, array in self.rows.items()}
        memory = guarded(self.memory)
        return Inputs(self.hook, rows, memory, self.rotation, self.fuel, guards)


def inputs_for(hook, rng, wild=None):
    """Random arguments, a share of them `wild`; one in hundreds has as many rows as can be."""
    wild = rng.choice([0.0, 0.0, 0.05, 0.3]) if wild is None else wild
    most = rng.choice([0, 1, 3, 6]) if rng.random() < 0.997 else contract.MAX_REPLICAS
    rows = {}
    for name, kind in hooks()[hook].parameters:
        if kind.record:
            record = records()[kind.record.removeprefix("New")]
            count = _count(kind.record, most) if kind.name == "rows" else 1
            rows[name] = random_rows(record, count, rng, wild, most)
            if name == "instances":
                rows[name]["id"] = np.arange(len(rows[name])) + 10
    slots = [rng.choice([0.0, 0.0, 1.0, 2.5, *FLOATS]) for _ in range(8)]
    memory = np.array(slots * (contract.MEMORY_SLOTS // 8))
    turning = len(rows.get("instances", ())) if hook in ("route", "route_decode") else 0
    rotation = rng.randrange(turning) if turning else 0
    usual = PLANNER_FUEL if hook in PLANNER_HOOKS else REQUEST_FUEL
    fuel = usual if rng.random() < 0.8 else rng.randint(0, 900)
    return Inputs(hook, rows, memory, rotation, fuel)


def _count(record, most):
    if record == "Branch":
        return min(most, contract.MAX_BRANCHES)
    return min(most, contract.MAX_RUNNING) if record != "Instance" else most


def random_rows(record, count, rng, wild, most=4):
    """Rows whose fields hold small numbers, and with a chance of `wild` anything at all."""
    rows = np.zeros(count, dtype_of(record))
    if not count:
        return rows
    for name, kind in fields()[record.__name__].items():
        if kind.name == "rows":
            for row in rows:
                held = min(most, len(row[name]))
                row[f"n_{name}"] = held
                row[name][:held] = random_rows(records()[kind.record], held, rng, wild)
        elif kind in (BOOL, INT, FLOAT):
            rows[name] = [_number(kind, rng, wild) for _ in range(count)]
        else:
            rows[name] = [[_number(FLOAT, rng, wild) for _ in rows[name][0]] for _ in range(count)]
    return rows


def _number(kind, rng, wild):
    if kind == BOOL:
        return rng.random() < 0.5
    if rng.random() < wild:
        return rng.choice(INTS if kind == INT else FLOATS)
    if kind == INT:
        return int(rng.random() * 10)
    return rng.random() * 10 if rng.random() < 0.5 else float(int(rng.random() * 6))


def guard(caller):
    """Put a caller's own arrays between guards; the guards."""
    loaded = caller.loaded
    most = max((len(loaded.parameters_of(hook)) for hook in loaded.hooks), default=0)
    guards = [
        Guarded(1, FRAME),
        Guarded(contract.SCRATCH_FLOATS, np.float64),
        Guarded(most, np.float64),
    ]
    caller.frame, caller._scratch, caller._parameters = (one.array for one in guards)
    return guards


def seeded(*parts):
    """A generator of its own for these parts."""
    return random.Random(".".join(str(part) for part in parts))
