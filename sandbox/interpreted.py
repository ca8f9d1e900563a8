"""The interpreted engine: the same lowered code under RestrictedPython, in plain Python.

For hosts without numba, and the reference that the compiled engine is tested against. A hook is
a ctypes callback of the native type, so a simulator or host cannot tell the engines apart. Policy
code gets light objects with plain numbers, the functions it may name, and nothing else.
"""

from __future__ import annotations

import ctypes
import dis
import functools
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from RestrictedPython.compile import compile_restricted_exec

from sandbox import arithmetic, contract, lists, toolkit
from sandbox.errors import EngineUnavailable
from sandbox.frame import FRAME, INDEX, NATIVE, OTHER
from sandbox.hook_text import hook_text, parameters_by_hook
from sandbox.language.kinds import Kind, hooks
from sandbox.records import records
from sandbox.source import PolicySource
from sandbox.views import Light, Rows, View, view_of

_PLACES: dict[str, int] = {name: at[1] // 8 for name, at in (FRAME.fields or {}).items()}
_Frame = ctypes.c_int64 * (FRAME.itemsize // 8)  # every field but `value`, which is a float
_FUEL, _STATUS, _SCRATCH_USED = _PLACES["fuel"], _PLACES["status"], _PLACES["scratch_used"]
Value = Any  # a number, a light object or a list of either
MOST_KEPT = 512  # callbacks
_WRITTEN = {"new_plan", "moves", "entries", "branches", "cluster"}


class CallState:
    """What lowered code sees of a frame."""

    __slots__ = ("fuel", "rotation", "scratch_used", "status", "value", "words")

    def __init__(self, fuel: int, rotation: int) -> None:
        self.fuel = fuel
        self.rotation = rotation
        self.status = 0
        self.scratch_used = 0
        self.value = 0.0
        self.words: dict[int, Value] = {}


def _read_attribute(owner: Value, name: str) -> Value:
    if not isinstance(owner, Light):
        raise TypeError("Only records have fields.")
    return getattr(owner, name)


def _read_item(owner: Value, index: int) -> Value:
    if type(owner) not in (list, tuple, Rows) or type(index) is not int:
        raise TypeError("Only lists are indexed.")
    return owner[index]


def _writable(owner: Value) -> Value:
    if type(owner) is not list:
        raise TypeError("Only lists are written.")
    return owner


def _filled(rows: Value, count: int) -> Value:
    """Floats themselves, since a slice of a list would not see what is written later."""
    return rows if type(rows) is list else rows[:count]


def _scope() -> dict[str, Any]:
    """Names of lowered code: functions, never modules."""
    scope: dict[str, Any] = {
        "__builtins__": {},
        "__name__": "policy",
        "_getattr_": _read_attribute,
        "_getitem_": _read_item,
        "_write_": _writable,
        "_getiter_": lambda values: values,
        "INF": toolkit.INF,
        "EMPTY": INDEX,
        "NO_VALUE": OTHER,
        **{f"row_of_{name}": lists.row_of for name in records()},
        **{builtin.__name__: builtin for builtin in (abs, float, int, len, range)},
    }
    for module in (arithmetic, toolkit, lists):
        scope |= {
            name: value
            for name, value in vars(module).items()
            if isinstance(value, types.FunctionType) and value.__module__ == module.__name__
        }
    return scope | {"filled": _filled}


@dataclass(frozen=True, slots=True)
class InterpretedPolicy:
    """A `LoadedPolicy` in plain Python; keeps its callbacks alive."""

    source: PolicySource
    digest: str
    parameters: Mapping[str, npt.NDArray[np.float64]]
    callbacks: Mapping[str, Any]
    engine: str = "interpreted"

    @property
    def hooks(self) -> frozenset[str]:
        """Hooks it has."""
        return frozenset(self.callbacks)

    def address(self, hook: str) -> int:
        """Address of a hook's callback."""
        return ctypes.cast(self.callbacks[hook], ctypes.c_void_p).value or 0

    def parameters_of(self, hook: str) -> npt.NDArray[np.float64]:
        """Values of the constants that a hook reads."""
        return self.parameters[hook]

    def with_parameters(self, parameters: Mapping[str, float]) -> InterpretedPolicy:
        """The same code with other parameters."""
        return replace(
            self,
            digest=self.source.digest(parameters),
            parameters=parameters_by_hook(self.source, parameters, self.callbacks),
        )


def interpret_policy(
    source: PolicySource,
    parameters: Mapping[str, float] | None = None,
    only: Collection[str] | None = None,
) -> InterpretedPolicy:
    """Callbacks for a verified source's hooks, or for `only` some.

    Raises:
        ParametersRefused: a parameter is unknown or out of its range.
    """
    wanted = [hook for hook in source.hooks if only is None or hook in only]
    values = parameters_by_hook(source, parameters, wanted)
    callbacks = {}
    for hook in wanted:
        text = hook_text(source, hook)
        callbacks[hook] = _callback(hook, text.lowered, len(text.places))
    return InterpretedPolicy(source, source.digest(parameters), values, callbacks)


@functools.lru_cache(MOST_KEPT)
def _callback(hook: str, lowered: str, parameters: int) -> Value:
    """A hook as a native function; it keeps nothing, so policies that share the hook share it."""
    scope = _scope()
    compiled = compile_restricted_exec(lowered, f"<hook {hook}>")
    if compiled.code is None:
        raise EngineUnavailable("RestrictedPython refused the lowered code: verify it again.")
    exec(compiled.code, scope)  # noqa: S102  # verified, restricted, and without builtins
    return NATIVE(_entry(scope[f"h_{hook}"], hook, parameters))


Entry = Callable[[Any, Any, int], int]


def _entry(function: Callable[..., int], hook: str, parameters: int) -> Entry:
    used = {one.argval for one in dis.get_instructions(function.__code__)}
    given = [_Argument(name, kind, hook) for name, kind in hooks()[hook].parameters]
    # what the hook never names is not read: half of the time of a small one went there
    arguments = [one if f"v_{one.name}" in used else None for one in given]
    written = [(k, one) for k, one in enumerate(arguments) if one and (one.memory or one.written)]
    rotation, constants = _PLACES["rotation"], _PLACES["parameters"]

    def entry(answer: Value, _error: Value, address: int) -> int:
        frame = _Frame.from_address(address)
        state = CallState(frame[_FUEL], frame[rotation])
        values = [argument.read(frame) if argument else None for argument in arguments]
        vector = _floats(frame[constants], parameters)
        failed = False
        try:
            answer[0] = function(state, list(vector), *values)
        except Exception:
            # The kind of fault is in the state; nothing else may cross into native code.
            failed = True
            state.status = state.status or OTHER
        for place, argument in written:
            argument.write(frame, values[place])
        _leave(frame, address, state)
        return int(failed)

    return entry


class _Argument:
    """One argument of a hook: where the frame has it, and whether it is written back."""

    def __init__(self, name: str, kind: Kind, hook: str) -> None:
        self.name = name
        self._place, self._count = _PLACES[name], _PLACES.get(f"n_{name}", 0)
        self.rows = kind.name == "rows"
        self.memory = kind.name == "vector"
        self.written = name in _WRITTEN or (hook == "tune" and name == "instance")
        record = kind.record.removeprefix("New")
        self.view: View | None = view_of(record) if record else None

    def read(self, frame: Value) -> Value:
        place = frame[self._place]
        if self.view is None:
            return list(_floats(place, contract.MEMORY_SLOTS))
        if self.rows:
            return self.view.read_rows(place, frame[self._count])
        return self.view.read(place)

    def write(self, frame: Value, value: Value) -> None:
        place = frame[self._place]
        if self.view is None:
            _floats(place, contract.MEMORY_SLOTS)[:] = value
        elif self.rows:
            self.view.write_rows(place, value)
        else:
            self.view.write(place, value)


def _floats(address: int, count: int) -> Value:
    return (ctypes.c_double * count).from_address(address) if count else []


def _leave(frame: Value, address: int, state: CallState) -> None:
    frame[_FUEL], frame[_STATUS], frame[_SCRATCH_USED] = (
        state.fuel, state.status, state.scratch_used,
    )  # fmt: skip
    ctypes.c_double.from_address(address + 8 * _PLACES["value"]).value = state.value
