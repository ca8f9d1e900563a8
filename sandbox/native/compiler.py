"""Compiles policies in a process of its own, so that nobody who serves or waits has a compiler.

A warm process holds numba and the toolkit; each hook is compiled in a fresh child of it, locked
down, with so much processor time. The child sees the hook's own text and nothing of its policy, so
that what it makes is good for every policy with that hook, and for no other. What comes back is
checked against what this process verified itself. `machine_code` looks on the disk first and keeps
what was made.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import threading
from collections.abc import Collection
from types import TracebackType

from sandbox.errors import CacheRefused, CodeRefused, CompileFailed
from sandbox.hook_text import HookText, hook_text
from sandbox.native.cache import CodeCache, code_directory
from sandbox.native.machine_code import MAX_CODE_BYTES, MachineCode
from sandbox.native.policy_code import PolicyCode
from sandbox.native.toolchain import policy_toolchain
from sandbox.source import PolicySource
from sandbox.verifier import verify
from sandbox.worker_child import Child, JobFault
from sandbox.worker_lockdown import Limits
from sandbox.worker_process import Role, WarmProcess, WorkerSetup, WorkersUnavailable

CPU_S, DEADLINE_S = 30.0, 240.0  # for one hook: of a processor, and on the wall
_ROLE = "compile"
_log = logging.getLogger("evolver.sandbox.native")


def compile_role(limits: Limits) -> Role:
    """Children that verify a text and compile it; they may read the packages, and run no policy."""
    return Role("sandbox.native.compile_job:compile_job", True, limits, MAX_CODE_BYTES)


class Compiler:
    """One warm compile process, started with the first text; a context manager that ends it.

    Args:
        cpu_s: seconds of processor time for one hook; what is too much on a busy machine is so
            on an idle one.
        deadline_s: wall-clock seconds after which nothing is waited for any more.
        memory_bytes: address space of a child.

    Several threads may use one; their policies are compiled one after the other.
    """

    def __init__(
        self,
        cpu_s: float = CPU_S,
        deadline_s: float = DEADLINE_S,
        memory_bytes: int = 4 << 30,
    ) -> None:
        self._cpu_s, self._deadline_s = cpu_s, deadline_s
        limits = Limits(memory_bytes=memory_bytes, cpu_s=int(2 * cpu_s) + 1)
        path = "sandbox.native.compile_job:hook_job"
        roles = {_ROLE: Role(path, True, limits, MAX_CODE_BYTES)}
        self._setup = WorkerSetup(roles, prepare="sandbox.native.compile_job:prepare")
        self._warm: WarmProcess | None = None
        self._one_at_a_time = threading.Lock()

    def compile(self, source_text: str, only: Collection[str] | None = None) -> PolicyCode:
        """Machine code of a text's hooks, or of `only` some.

        Raises:
            PolicyRefused: the verifier does not admit it.
            CompileFailed: it takes too long, is too large, or no process can be had.
        """
        return self.compile_source(verify(source_text), only)

    def compile_source(
        self, source: PolicySource, only: Collection[str] | None = None
    ) -> PolicyCode:
        """Machine code of a verified source; raises as `compile`."""
        wanted = [hook for hook in source.hooks if only is None or hook in only]
        return PolicyCode({hook: self.compile_hook(hook_text(source, hook)) for hook in wanted})

    def compile_hook(self, text: HookText) -> MachineCode:
        """Machine code of a hook of a verified source.

        Raises:
            CompileFailed: see `compile`.
        """
        with self._one_at_a_time:
            try:
                reply = self._ask(text)
            except JobFault as fault:
                raise CompileFailed(_sentence(fault)) from fault
        try:
            code = MachineCode.from_bytes(reply)
        except CodeRefused as refused:
            raise CompileFailed("The compile process answered no machine code: try again.") from (
                refused
            )
        made = (code.source_digest, code.toolchain, code.hooks)
        if made != (text.digest, policy_toolchain(), frozenset((text.hook,))):
            raise CompileFailed(
                "The compile process answered other code than was asked for: is another version "
                "of this program installed beside this one?"
            )
        return code

    def close(self) -> None:
        """End the processes; the next text starts them again."""
        with self._one_at_a_time:
            self._close()

    def __enter__(self) -> Compiler:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, text: HookText) -> bytes:
        child = self._fork()
        try:
            message = {"lowered": text.lowered}
            return child.ask(message, deadline_s=self._deadline_s, most_cpu_s=self._cpu_s)
        finally:
            self._end(child)

    def _fork(self) -> Child:
        """A fresh child; of a fresh process when the warm one has ended."""
        try:
            if self._warm is not None:
                return self._warm.fork(_ROLE)
        except WorkersUnavailable:
            _log.warning("the compile process ended unexpectedly; starting it again")
            self._close()
        try:
            self._warm = WarmProcess(self._setup, None)
            return self._warm.fork(_ROLE)
        except WorkersUnavailable as unavailable:
            self._close()
            raise CompileFailed(f"No compile process can be had. {unavailable}") from unavailable

    def _end(self, child: Child) -> None:
        try:
            if self._warm is not None:
                self._warm.end(child)
        except WorkersUnavailable:
            self._close()

    def _close(self) -> None:
        if self._warm is not None:
            self._warm.close()
            self._warm = None


def _sentence(fault: JobFault) -> str:
    _log.warning("a policy does not compile: %s", fault)
    if fault.kind == "timeout":
        return f"The policy does not compile within {fault.detail}: make it simpler."
    if fault.kind == "memory":
        return "The policy needs too much memory to compile: make it simpler."
    return f"The policy does not compile ({fault.detail}): run it interpreted, and report this."


class _Default:
    """The compiler of this process; a fork has its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._compiler: Compiler | None = None
        self._owner = 0

    def get(self) -> Compiler:
        with self._lock:
            if self._compiler is None or self._owner != os.getpid():
                self._compiler, self._owner = Compiler(), os.getpid()
            return self._compiler

    def close(self) -> None:
        if self._compiler is not None and self._owner == os.getpid():
            self._compiler.close()
            self._compiler = None


_default = _Default()
atexit.register(_default.close)


def machine_code(
    source: PolicySource,
    only: Collection[str] | None = None,
    compiler: Compiler | None = None,
) -> PolicyCode:
    """Machine code of a verified source's hooks, or of `only` some: from disk, else compiled.

    A hook is kept by what it is made from, so one of another policy that is the same is found.

    Args:
        compiler: makes what is not on disk; this process's own when None.

    Raises:
        CompileFailed: there is none, and none could be made.
    """
    wanted = [hook for hook in source.hooks if only is None or hook in only]
    cache = _policy_cache() if wanted else None
    return PolicyCode({h: _hook_code(hook_text(source, h), cache, compiler) for h in wanted})


def _hook_code(text: HookText, cache: CodeCache | None, compiler: Compiler | None) -> MachineCode:
    key = hashlib.sha256(f"{text.digest}\0{policy_toolchain()}".encode()).hexdigest()
    if cache is not None and (data := cache.get(key)) is not None:
        return MachineCode.from_bytes(data)
    code = (compiler or _default.get()).compile_hook(text)
    if cache is not None:
        cache.put(key, code.to_bytes())
    return code


def _policy_cache() -> CodeCache | None:
    try:
        return CodeCache(code_directory("policies"))
    except CacheRefused as refused:
        _log.warning("machine code of policies is not kept: %s", refused)
        return None
