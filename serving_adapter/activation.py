"""Makes a policy ready to go live: verify, check identity, compile, smoke-test. Slow; off the loop.

All of it happens before the policy can see a request, so a source that does not verify, is not what
its digest says, does not compile or fails on synthetic rows never replaces what runs. It runs in a
thread and compiles in another process: this one links the machine code in about a millisecond, so
the longest stall that a swap causes is a few of Python's thread switch intervals.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from sandbox import contract, frame
from sandbox.engine import EngineName, LoadedPolicy, load_policy
from sandbox.errors import PolicyFault, SandboxError
from sandbox.records import new_rows
from serving_adapter.errors import PolicyUnusable

Rows: TypeAlias = npt.NDArray[np.void]
Memory: TypeAlias = npt.NDArray[np.float64]

ROUTE_FUEL = 60_000
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)
SMOKE_SIZES = (1, 2, 16, 64)
_NO_ENGINE = (contract.HOLD, contract.REJECT)


class Router(Protocol):
    """The `route` hook of a loaded policy."""

    def route(
        self, request: Rows, instances: Rows, memory: Memory, rotation: int, fuel: int
    ) -> int:
        """The policy's choice, for one request row and some instance rows, both contiguous.

        Raises:
            sandbox.errors.PolicyFault: it stopped in the middle.
        """
        ...


class NativeRouter:
    """Calls a loaded policy's `route` with as little as possible between Python and its code.

    `sandbox.frame.Caller` does the same for every hook and every kind of caller; this one writes
    five words of the frame per decision.
    """

    def __init__(self, loaded: LoadedPolicy) -> None:
        self.loaded = loaded  # keeps the code, and the parameters the frame points at, alive
        # Python's lock is kept: fuel ends the call, and to get the lock back can take milliseconds.
        # No argument types either: to convert by them takes longer than the rest of the call.
        self._entry = ctypes.PYFUNCTYPE(ctypes.c_int32)(loaded.address("route"))
        self._frame = np.zeros(1, frame.FRAME)
        self._scratch = np.zeros(contract.SCRATCH_FLOATS)
        self._words = self._frame.view(np.int64).data
        self._answer, exception = ctypes.c_int64(0), ctypes.c_void_p()
        self._given = (
            ctypes.byref(self._answer), ctypes.byref(exception),
            ctypes.c_int64(_address_of(self._frame)),
        )  # fmt: skip
        self._arrays: tuple[Rows | None, Rows | None, Memory | None] = None, None, None
        self._words[_WORD["parameters"]] = _address_of(loaded.parameters_of("route"))
        self._words[_WORD["scratch"]] = _address_of(self._scratch)

    def route(
        self, request: Rows, instances: Rows, memory: Memory, rotation: int, fuel: int
    ) -> int:
        """See `Router.route`."""
        words = self._words
        arrays = self._arrays
        # Mostly the arrays are those of the call before; to hold them keeps their addresses true.
        if request is not arrays[0] or instances is not arrays[1] or memory is not arrays[2]:
            self._arrays = request, instances, memory
            words[_REQUEST] = _address_of(request)
            words[_INSTANCES] = _address_of(instances)
            words[_N_INSTANCES] = len(instances)
            words[_MEMORY] = _address_of(memory)
        words[_ROTATION] = rotation
        words[_FUEL] = fuel
        if self._entry(*self._given) != 0:
            kind = words[_WORD["status"]] or frame.OTHER
            raise PolicyFault("route", kind, frame.FAULTS[kind])
        return self._answer.value


_WORD = {name: index for index, name in enumerate(frame.FRAME.names or ())}
_REQUEST, _INSTANCES, _MEMORY = _WORD["request"], _WORD["instances"], _WORD["memory"]
_N_INSTANCES, _ROTATION, _FUEL = _WORD["n_instances"], _WORD["rotation"], _WORD["fuel"]


def _address_of(array: npt.NDArray[Any]) -> int:
    return int(array.ctypes.data)


def new_memory() -> Memory:
    """The router scope's memory as it is when a policy enters."""
    return np.zeros(contract.MEMORY_SLOTS)


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A policy that may go live.

    Attributes:
        router: None when it leaves `route` to the default, or the door asks other hooks.
        memory: of the router scope.
        loaded: for the doors that call hooks besides `route`; None in a process of its own.
    """

    digest: str
    router: Router | None
    memory: Memory = field(default_factory=new_memory)
    loaded: LoadedPolicy | None = None


Prepare: TypeAlias = Callable[[str, Mapping[str, float] | None], Ready]
"""Source text and parameters to a ready policy; raises PolicyUnusable."""


def prepare_policy(
    source: str,
    parameters: Mapping[str, float] | None = None,
    *,
    engine: EngineName = "auto",
    hooks: Sequence[str] = ("route",),
) -> Ready:
    """Verify, load and smoke-test a policy.

    Args:
        source: the policy's text.
        parameters: values for its tunables; its own defaults where absent.
        engine: `compiled`, `interpreted`, or `auto`: compiled where numba is installed.
        hooks: those that this door asks; no other is loaded. `route` is smoke-tested here.

    Raises:
        PolicyUnusable: at any of these steps; the message is the first reason.
    """
    with unusable():
        # The verifier brings RestrictedPython, which only a swap needs.
        from sandbox.verifier import verify

        verified = verify(source, "policy")
        digest = verified.digest(parameters)
        loaded = load_policy(verified, parameters, engine, only=tuple(hooks))
    routes = "route" in verified.hooks and "route" in hooks
    router: Router | None = NativeRouter(loaded) if routes else None
    if router is not None:
        smoke_test(router)
    return Ready(digest, router, loaded=loaded)


@contextlib.contextmanager
def unusable() -> Iterator[None]:
    """Whatever stops a policy from being verified and loaded, as one error.

    Raises:
        PolicyUnusable: with the first reason.
    """
    try:
        yield
    except PolicyUnusable:
        raise
    except SandboxError as refusal:
        reason = str(refusal).splitlines()[0]
        raise PolicyUnusable(f"The policy cannot go live: {reason}") from refusal
    # Whatever goes wrong with a policy that is not live must not touch what runs.
    except Exception as error:
        raise PolicyUnusable(
            f"The policy does not load here ({type(error).__name__}): try the other engine."
        ) from error


def smoke_test(router: Router, fuel: int = ROUTE_FUEL) -> None:
    """Ask for decisions over synthetic rows: few and many, empty and busy, signals and none.

    Raises:
        PolicyUnusable: it faults, or picks something that is not there.
    """
    memory = new_memory()
    for size in SMOKE_SIZES:
        for busy in (False, True):
            request, rows = _synthetic(size, busy=busy)
            try:
                choice = router.route(request, rows, memory, size // 2, fuel)
            except PolicyFault as fault:
                raise PolicyUnusable(
                    f"The policy failed its smoke test: {fault.reason}."
                ) from fault
            if not is_valid(choice, rows["id"]):
                raise PolicyUnusable(
                    f"The policy picked instance {choice} in its smoke test, which is not there: "
                    "return the id of a row, HOLD or REJECT."
                )


def is_valid(choice: object, ids: Container[int]) -> bool:
    """Whether a choice is exactly an int, and HOLD, REJECT or one of the rows' ids."""
    # A bool or a numpy integer is one too, to isinstance; a subclass can lie about itself.
    if type(choice) is not int:
        return False
    return choice in ids if choice >= 0 else choice in _NO_ENGINE


def _synthetic(size: int, *, busy: bool) -> tuple[Rows, Rows]:
    """A request and `size` rows with ids that are no positions; idle rows miss their signals."""
    request = missing_rows(contract.Request, 1)
    rows = missing_rows(contract.Instance, size)
    request["seed"], request["prompt_tokens"], request["weight"] = 7, 512, 1.0
    rows["id"] = 100 + 3 * np.arange(size)
    if busy:
        request["predicted_output_tokens"] = 128.0
        rows["queued_requests"] = rows["running_requests"] = np.arange(size) % 5
        rows["queued_prompt_tokens"] = rows["context_tokens"] = 700 * (np.arange(size) % 5)
        rows["kv_capacity_tokens"], rows["kv_used_tokens"] = 100_000, 1_000
        rows["prefill_tokens_per_s"], rows["step_base_s"] = 20_000.0, 0.006
        rows["step_per_seq_s"], rows["step_per_context_s"] = 1e-5, 1e-8
    return request, rows


def missing_rows(record: type[contract.Record], count: int) -> Rows:
    """Rows of a record of scalars in which every field is missing: -1, NaN, False."""
    rows = new_rows(record, count)
    for name in rows.dtype.names or ():
        rows[name] = {"i": -1, "f": np.nan, "b": False}[rows.dtype[name].kind]
    return rows
