"""Starts and ends side processes: locked-down children of one warm process, a policy in each.

    SideProcesses --- warm process (imports, runs no policy) --- a child for each policy
                                                                      | page, question, answer
    host ----------------------------- SideRouter --------------------+

The child locks itself down before it sees a policy. Forking, killing and waiting happen in one
thread of this module, never on the event loop. Children end with the warm process, and that ends
with this one.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from sandbox.engine import EngineName
from sandbox.source import PolicySource
from sandbox.worker_child import Child
from sandbox.worker_layers import accepted, demand
from sandbox.worker_lockdown import Limits
from sandbox.worker_process import Role, WarmProcess, WorkerSetup, WorkersUnavailable
from serving_adapter.activation import Ready, smoke_test, unusable
from serving_adapter.errors import PolicyUnusable, SideProcessError
from serving_adapter.side.errand_thread import ErrandThread
from serving_adapter.side.side_page import new_page
from serving_adapter.side.side_router import SideProcess, SideRouter

_log = logging.getLogger("evolver.host")

DEADLINE_S = 0.002
SMOKE_DEADLINE_S = 1.0  # the first calls of a process are slower than all others
LOAD_S = 30.0
ROLE = "decide"
# It lives as long as its policy does, so processor time is no bound; fuel and deadline are.
LIMITS = Limits(memory_bytes=2 << 30, cpu_s=1 << 30)
SETUP = WorkerSetup(
    roles={ROLE: Role("serving_adapter.side.side_job:decide", limits=LIMITS, max_reply_bytes=64)},
    prepare="serving_adapter.side.side_job:prepare",
)


@dataclass(frozen=True, slots=True)
class Order:
    """What a child is to load; `code` is machine code, empty for the interpreted engine."""

    source: str
    parameters: Mapping[str, float] | None
    digest: str
    code: bytes


class SideProcesses:
    """The side processes of one host, behind one warm process that forks them in milliseconds.

    Args:
        engine: that runs the policies; `auto` is compiled where numba is installed.
        deadline_s: for a decision; after it the default decides this request.
        needs_isolation: refuse to run a policy where a layer of isolation is missing, except
            those that somebody accepted.
        accept_missing: names of layers that may be missing, besides those that the environment
            names.

    Raises:
        IsolationMissing: there is no layer of such a name.
    """

    def __init__(
        self,
        engine: EngineName = "auto",
        deadline_s: float = DEADLINE_S,
        *,
        needs_isolation: bool = False,
        accept_missing: Collection[str] = (),
    ) -> None:
        self._engine = engine
        self._deadline_s = deadline_s
        self._needs_isolation = needs_isolation
        self._accepted = accepted(accept_missing)
        self._said = False
        self._warm: WarmProcess | None = None
        self._thread = ErrandThread("side-processes")

    def prepare(self, source: str, parameters: Mapping[str, float] | None = None) -> Ready:
        """Verify a policy, start a process for it and smoke-test it; see `activation.Prepare`.

        Raises:
            PolicyUnusable: at any of these steps; the message is the first reason.
        """
        with unusable():
            from sandbox.verifier import verify

            verified = verify(source, "policy")
            digest = verified.digest(parameters)
            code = _machine_code(verified, self._engine) if "route" in verified.hooks else b""
        if "route" not in verified.hooks:
            return Ready(digest, None)
        order = Order(verified.canonical, parameters, digest, code)
        start = partial(self._start, order)
        router = SideRouter(self._thread.result(start), start, self._thread.soon, SMOKE_DEADLINE_S)
        try:
            smoke_test(router)
        except SideProcessError as failure:
            raise PolicyUnusable(f"The policy failed its smoke test: {failure}") from failure
        router.deadline_s = self._deadline_s
        return Ready(digest, router)

    def close(self) -> None:
        """End every process."""
        self._thread.result(self._close_warm)
        self._thread.close()

    def _start(self, order: Order) -> SideProcess:
        """A process that has loaded a policy and waits for questions; in the thread.

        Raises:
            PolicyUnusable: the policy does not load, or the system gives no such process.
        """
        with unusable():
            return self._started(order)

    def _started(self, order: Order) -> SideProcess:
        descriptor, page = new_page()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                child = self._fork((descriptor, theirs.fileno()))
        finally:
            os.close(descriptor)
        reap = partial(self._reap, self._warm, child)
        end = partial(_end, child, ours, _handle(child.pid), self._thread.soon, reap)
        process = SideProcess(child.pid, ours, page, end)
        self._check_layers(child)
        message = {"source": order.source, "parameters": order.parameters}
        digest = child.ask(message, order.code, deadline_s=LOAD_S).decode("ascii", "replace")
        if digest != order.digest:
            raise PolicyUnusable(f"The side process loaded {digest[:12]!r}: try again.")
        child.send({})
        return process

    def _fork(self, lent: tuple[int, ...] = ()) -> Child:
        """A child, of a new warm process when the old one is gone."""
        if self._warm is not None:
            try:
                return self._warm.fork(ROLE, lent)
            except WorkersUnavailable:
                self._close_warm()
        self._warm = WarmProcess(SETUP, None)
        return self._warm.fork(ROLE, lent)

    def _check_layers(self, child: Child) -> None:
        if self._needs_isolation:
            demand(child.layers, self._accepted)
        missing = ", ".join(layer.name for layer in child.layers if not layer.in_force)
        if missing and not self._said:
            _log.warning("side processes run without these layers of isolation: %s", missing)
            self._said = True

    def _close_warm(self) -> None:
        if self._warm is not None:
            self._warm.close()
            self._warm = None

    @staticmethod
    def _reap(warm: WarmProcess | None, child: Child) -> None:
        if warm is not None:
            with suppress(WorkersUnavailable, OSError):
                warm.end(child)


def _handle(pid: int) -> int | None:
    """A name of this very process, which no later one gets; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _end(
    child: Child,
    channel: socket.socket,
    handle: int | None,
    soon: Callable[[Callable[[], None]], None],
    reap: Callable[[], None],
) -> None:
    """Kill now, which takes no time, and wait for the end later.

    The garbage collector calls this, between any two steps of any thread: it may take no lock.
    """
    channel.close()
    child.channel.close()
    if handle is not None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
    soon(reap)


def _machine_code(source: PolicySource, engine: EngineName) -> bytes:
    """What the compiled engine runs, empty for the interpreted one."""
    if engine == "interpreted" or (engine == "auto" and not find_spec("numba")):
        return b""
    from sandbox.native.compiler import machine_code

    return machine_code(source, ("route",)).to_bytes()
