"""The library in machine code: compiled once, kept on disk, linked in every contest."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from evolver import library
from evolver.leaderboard.runs import verified
from evolver.leaderboard.tuning import Entry
from sandbox.compiled import link_policy
from sandbox.engine import LoadedPolicy
from sandbox.errors import CompileFailed
from sandbox.kernel.calls import CALLED
from sandbox.native.compiler import machine_code
from sandbox.native.policy_code import PolicyCode


@dataclass(frozen=True, slots=True)
class Shelf:
    """Machine code of policies with all their hooks, by name."""

    codes: Mapping[str, PolicyCode]

    @classmethod
    def made(cls, hooks: Collection[str]) -> Shelf:
        """The library's policies with these hooks: from disk, else compiled, a second each or so.

        What cannot be compiled in time is left out, and made by whoever needs it.
        """
        codes = {}
        for name in library.names():
            source = verified(library.read(name))
            wanted = [hook for hook in source.hooks if hook in hooks and hook in CALLED]
            if wanted:
                with contextlib.suppress(CompileFailed):
                    codes[name] = machine_code(source, wanted)
        return cls(codes)

    def read(self) -> None:
        """Verify what is on it, which everybody who links will need."""
        for name in self.codes:
            verified(library.read(name))

    def linked(self, entries: Sequence[Entry]) -> dict[str, LoadedPolicy]:
        """Those of the entries that are on it with their hooks, by their canonical text."""
        found: dict[str, LoadedPolicy] = {}
        for entry in entries:
            if entry.name in self.codes:
                source, hooks = verified(library.read(entry.name)), entry.source.hooks
                found[entry.source.canonical] = link_policy(
                    source, self.codes[entry.name], only=[h for h in hooks if h in CALLED]
                )
        return found
