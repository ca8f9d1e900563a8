"""The library in machine code: compiled once, kept on disk, known in every contest."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from evolver import library
from evolver.leaderboard.runs import verified
from sandbox.errors import CompileFailed
from sandbox.kernel.calls import CALLED
from sandbox.native.compiler import Compiler, machine_code
from sandbox.native.machine_code import MachineCode
from sandbox.policies import default_source
from sandbox.source import PolicySource


@dataclass(frozen=True, slots=True)
class Shelf:
    """Machine code of hooks, by the digest of the hook's text."""

    codes: Mapping[str, MachineCode]

    @classmethod
    def made(cls, hooks: Collection[str], workers: int = 1) -> Shelf:
        """These hooks of the library and the default: from disk, else compiled, a second a policy.

        What cannot be compiled in time is left out, and made by whoever needs it.

        Args:
            workers: compile processes at once, of what is not on disk.
        """
        wanted = frozenset(hooks) & frozenset(CALLED)
        sources = [default_source(), *(verified(library.read(name)) for name in library.names())]
        return cls({one.source_digest: one for one in _codes(sources, wanted, workers)})

    def read(self) -> None:
        """Verify the library, which everybody will need."""
        for name in library.names():
            verified(library.read(name))


def _codes(
    sources: Sequence[PolicySource], hooks: frozenset[str], workers: int
) -> Iterator[MachineCode]:
    """Machine code of all that compiles; the first by itself, since it may make the toolkit."""
    compilers = queue.SimpleQueue[Compiler]()

    def made(source: PolicySource) -> list[MachineCode]:
        compiler, found = compilers.get(), list[MachineCode]()
        try:
            for hook in hooks & frozenset(source.hooks):
                with contextlib.suppress(CompileFailed):  # the policy's other hooks are good
                    found += machine_code(source, (hook,), compiler).hooks.values()
        finally:
            compilers.put(compiler)
        return found

    with contextlib.ExitStack() as stack:
        for _ in range(workers):
            compilers.put(stack.enter_context(Compiler()))
        yield from made(sources[0])
        with ThreadPoolExecutor(workers) as pool:
            for codes in pool.map(made, sources[1:]):
                yield from codes
