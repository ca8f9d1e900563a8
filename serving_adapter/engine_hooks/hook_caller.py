"""Calls the engine hooks of one loaded policy on two rows that stay where they are.

`sandbox.frame.Caller` sets a whole frame up for every call, for any rows. A scheduler asks the same
few questions about each of its requests in every step, so here the frame is set up once and a call
writes two words.
"""

from __future__ import annotations

import ctypes

import numpy as np

from sandbox import contract, frame
from sandbox.engine import LoadedPolicy
from sandbox.errors import PolicyFault
from serving_adapter.activation import Memory, Rows

HOOKS = ("priority", "admit", "tune")
HOOK_FUEL = 60_000
_WORD = {name: index for index, name in enumerate(frame.FRAME.names or ())}
_FUEL, _STATUS, _PARAMETERS = _WORD["fuel"], _WORD["status"], _WORD["parameters"]


class HookCaller:
    """Asks one policy about whatever the two rows hold.

    Args:
        loaded: the policy.
        request: one contract.Request row.
        instance: one contract.Instance row; `tune` writes its knobs.
        memory: of the engine scope.
    """

    def __init__(self, loaded: LoadedPolicy, request: Rows, instance: Rows, memory: Memory) -> None:
        self.loaded = loaded  # keeps the code, and the parameters the frame points at, alive
        self._rows = request, instance, memory
        self._scratch = np.zeros(contract.SCRATCH_FLOATS)
        self._frame = np.zeros(1, frame.FRAME)
        self._words = self._frame.view(np.int64).data
        self._value = self._frame["value"].data
        self._address = frame.address_of(self._frame)
        self._answer, self._exception = ctypes.c_int64(0), ctypes.c_void_p()
        self._results = ctypes.byref(self._answer), ctypes.byref(self._exception)
        self._entries = {
            hook: frame.NATIVE(loaded.address(hook)) for hook in HOOKS if hook in loaded.hooks
        }
        self._parameters = {
            hook: frame.address_of(loaded.parameters_of(hook)) for hook in self._entries
        }
        arrays = {"request": request, "instance": instance, "memory": memory,
                  "scratch": self._scratch}  # fmt: skip
        for name, array in arrays.items():
            self._words[_WORD[name]] = frame.address_of(array)

    def has(self, hook: str) -> bool:
        """Whether the policy decides this, or leaves it to the engine."""
        return hook in self._entries

    def call(self, hook: str, fuel: int = HOOK_FUEL) -> float:
        """What the hook says: a key, 0.0 or 1.0, nothing.

        Raises:
            PolicyFault: the policy stopped in the middle.
            KeyError: it has no such hook.
        """
        words = self._words
        words[_FUEL] = fuel
        words[_STATUS] = frame.OK
        words[_PARAMETERS] = self._parameters[hook]
        if self._entries[hook](*self._results, self._address) != 0:
            kind = words[_STATUS] or frame.OTHER
            raise PolicyFault(hook, kind, frame.FAULTS[kind])
        return float(self._value[0])
