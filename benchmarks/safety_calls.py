"""Times a call of each policy: as it runs, without any check, and in plain Python of three kinds.

All of it is one decision of `route` among 16 instances. The unchecked machine code is the same
lowered text compiled by the same compiler, with the charging of fuel and every check left out and
integers that wrap: what the policy would cost in a language that trusts it.
"""

from __future__ import annotations

import builtins
import inspect
import operator
import statistics
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numba import types as nb
from numba.core.dispatcher import Dispatcher
from RestrictedPython import compile_restricted_exec

from sandbox import contract, toolkit
from sandbox.compiled import build_policy, link_policy
from sandbox.frame import FRAME, address_of
from sandbox.hook_text import hook_text
from sandbox.interpreted import CallState, interpret_policy
from sandbox.kernel.compiler import _call_hook as call_hook
from sandbox.language.kinds import constants
from sandbox.native import policy_builder
from sandbox.records import new_rows
from sandbox.source import PolicySource
from serving_adapter.activation import ROUTE_FUEL, NativeRouter

INSTANCES = 16
SEED = 1
BLOCKS, ROUNDS, CALLS = 9, 7, 4000
PYTHON_CALLS = 300
BUILTINS = ("abs", "all", "any", "bool", "enumerate", "float", "int", "len", "max", "min", "range",
            "reversed", "round", "sorted", "sum", "tuple", "zip")  # fmt: skip
Call = Callable[[], object]
Native = Any  # what only the compiler knows: frames, rows, arrays


@dataclass(frozen=True, slots=True)
class Cost:
    """Nanoseconds a call, the best of each block of rounds; `ratios` are within one block."""

    policy: str
    unchecked_ns: float
    checked_ns: float
    ratios: tuple[float, ...]
    from_python_ns: float
    interpreted_ns: float
    restricted_ns: float | None
    plain_ns: float

    @property
    def ratio(self) -> float:
        """Median of the blocks' ratios."""
        return statistics.median(self.ratios)


@dataclass(slots=True)
class Scene:
    """One request, 16 instances with drawn numbers in every field, and a frame that shows them."""

    request: Native
    instances: Native
    memory: Native
    frame: Native
    kept: list[Native]

    @classmethod
    def of(cls, source: PolicySource) -> Scene:
        """The same numbers for every policy."""
        rng = np.random.default_rng(SEED)
        request, rows = new_rows(contract.Request, 1), new_rows(contract.Instance, INSTANCES)
        for name in rows.dtype.names or ():
            if rows.dtype[name].kind == "i":
                rows[name] = rng.integers(0, 50, INSTANCES)
            elif rows.dtype[name].kind == "f" and not rows.dtype[name].shape:
                rows[name] = rng.random(INSTANCES) * 10 + 0.1
        rows["id"], rows["kv_capacity_tokens"], rows["role"] = np.arange(INSTANCES), 100_000, 0
        request["prompt_tokens"] = 500
        memory, scratch = np.zeros(contract.MEMORY_SLOTS), np.zeros(contract.SCRATCH_FLOATS)
        places = hook_text(source, "route").places
        parameters = source.vector()[list(places)] if places else np.zeros(1)
        frame = np.zeros(1, FRAME)
        frame["request"], frame["instances"] = address_of(request), address_of(rows)
        frame["n_instances"], frame["memory"] = INSTANCES, address_of(memory)
        frame["scratch"], frame["parameters"] = address_of(scratch), address_of(parameters)
        return cls(request, rows, memory, frame, [scratch, parameters])


def measure(name: str, source: PolicySource) -> Cost:
    """What a policy's `route` costs, every way."""
    scene = Scene.of(source)
    linked = link_policy(source, build_policy(source, ("route",)), only=("route",))
    bare, kept = unchecked(source, "route")
    scene.kept += [linked, kept]
    blocks = [_block(scene, bare, linked.address("route")) for _ in range(BLOCKS)]
    in_python: dict[str, Call | None] = {
        "compiled": _routed(NativeRouter(linked), scene),
        "interpreted": _routed(NativeRouter(interpret_policy(source, only=("route",))), scene),
        "restricted": _restricted(source, scene),
        "plain": _plain(source, scene),
    }
    best = {key: _best_ns(call) if call else None for key, call in in_python.items()}
    return Cost(
        name,
        unchecked_ns=min(block[0] for block in blocks),
        checked_ns=min(block[1] for block in blocks),
        ratios=tuple(block[1] / block[0] for block in blocks),
        from_python_ns=best["compiled"] or 0.0,
        interpreted_ns=best["interpreted"] or 0.0,
        restricted_ns=best["restricted"],
        plain_ns=best["plain"] or 0.0,
    )


@njit
def _many(address: int, frame: Native, frame_address: int, calls: int) -> int:
    """Calls in a row, so that nothing of Python is timed."""
    total = 0
    for turn in range(calls):
        frame[0].fuel = 60_000
        frame[0].rotation = turn % 16
        total += call_hook(address, frame_address)
    return total


def _block(scene: Scene, *addresses: int) -> list[float]:
    """Best nanoseconds a call of each address, called in turns."""
    best = [float("inf")] * len(addresses)
    for _ in range(ROUNDS):
        for place, address in enumerate(addresses):
            scene.memory[:] = 0.0
            started = time.perf_counter_ns()
            _many(address, scene.frame, address_of(scene.frame), CALLS)
            best[place] = min(best[place], (time.perf_counter_ns() - started) / CALLS)
    return best


def _best_ns(call: Call) -> float:
    best = float("inf")
    for _ in range(BLOCKS):
        started = time.perf_counter_ns()
        for _ in range(PYTHON_CALLS):
            call()
        best = min(best, (time.perf_counter_ns() - started) / PYTHON_CALLS)
    return best


def unchecked(source: PolicySource, hook: str) -> tuple[int, object]:
    """Address of a hook's machine code without checks, and what keeps it alive."""
    options = policy_builder._OPTIONS | {"boundscheck": False, "forceinline": True}
    checked = policy_builder.namespace()
    bare: dict[str, Callable[..., Native]] = {
        name: value.py_func for name, value in checked.items() if isinstance(value, Dispatcher)
    }
    bare |= {function.__name__: function for function in _UNCHECKED}
    scope = dict(checked)
    for name, function in bare.items():
        scope[name] = njit(**options)(types.FunctionType(function.__code__, scope, name))
    text = policy_builder._with_entry(hook, hook_text(source, hook).lowered)
    exec(compile(text, f"<unchecked {source.name}>", "exec"), scope)
    for name in [key for key in scope if key.startswith("f_")]:
        scope[name] = njit(**options)(scope[name])
    native = njit(nb.int64(nb.int64), **options)(scope[f"h_{hook}"])
    compiled = native.overloads[(nb.int64,)]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name), native


def charge(frame: Native, units: Native) -> None:
    """No fuel."""


def charge_turns(frame: Native, units: Native, turns: Native) -> None:
    """No fuel."""


def require(frame: Native, holds: Native, kind: Native) -> None:
    """No check."""


def add(frame: Native, a: Native, b: Native) -> Native:  # noqa: ARG001
    """The machine's own."""
    return a + b


def sub(frame: Native, a: Native, b: Native) -> Native:  # noqa: ARG001
    """The machine's own."""
    return a - b


def mul(frame: Native, a: Native, b: Native) -> Native:  # noqa: ARG001
    """The machine's own."""
    return a * b


def to_int(frame: Native, x: Native) -> Native:  # noqa: ARG001
    """The machine's own."""
    return int(x)


_UNCHECKED = (charge, charge_turns, require, add, sub, mul, to_int)


def _routed(router: NativeRouter, scene: Scene) -> Call:
    return lambda: router.route(scene.request, scene.instances, scene.memory, 3, ROUTE_FUEL)


def _plain(source: PolicySource, scene: Scene) -> Call:
    """The canonical text as Python runs any other text."""
    scope = dict(_names())
    exec(compile(source.canonical, "<plain>", "exec"), scope)
    return _with_objects(scope["route"], scene)


def _restricted(source: PolicySource, scene: Scene) -> Call | None:
    """The canonical text under RestrictedPython's own guards; None where it refuses."""
    code = compile_restricted_exec(source.canonical).code
    if code is None:
        return None
    scope = _names() | {
        "__builtins__": {name: getattr(builtins, name) for name in BUILTINS},
        "__name__": "policy", "__metaclass__": type,
        "_getattr_": getattr, "_getitem_": operator.getitem, "_getiter_": iter,
        "_write_": lambda value: value, "_unpack_sequence_": lambda it, _spec, _iter: tuple(it),
        "_iter_unpack_sequence_": lambda it, _spec, _iter: iter(it),
        "_inplacevar_": lambda op, a, b: {
            "+=": operator.add, "-=": operator.sub, "*=": operator.mul, "/=": operator.truediv,
        }[op](a, b),
    }  # fmt: skip
    exec(code, scope)
    return _with_objects(scope["route"], scene)


def _with_objects(route: Callable[..., Native], scene: Scene) -> Call:
    request = next(_objects(scene.request))
    return partial(route, request, list(_objects(scene.instances)), [0.0] * contract.MEMORY_SLOTS)


def _objects(rows: Native) -> Iterator[types.SimpleNamespace]:
    names: Sequence[str] = rows.dtype.names
    for row in rows:
        yield types.SimpleNamespace(**{name: row[name].tolist() for name in names})


def _names() -> dict[str, Native]:
    """What a policy may name besides Python's own."""
    found: dict[str, Native] = {**constants(), "INF": toolkit.INF}
    for name, value in vars(toolkit).items():
        if isinstance(value, types.FunctionType) and not name.startswith("_"):
            framed = next(iter(inspect.signature(value).parameters), "") == "frame"
            found[name] = partial(value, CallState(1 << 60, 0)) if framed else value
    return found
