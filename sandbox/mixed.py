"""A policy some of whose hooks are machine code and the others interpreted.

Both engines' hooks are called by address and decide alike, so it decides as in either engine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sandbox.compiled import CompiledPolicy, link_policy
from sandbox.interpreted import InterpretedPolicy, interpret_policy
from sandbox.native.policy_code import PolicyCode
from sandbox.source import PolicySource


@dataclass(frozen=True, slots=True)
class MixedPolicy:
    """A `LoadedPolicy` of two parts."""

    compiled: CompiledPolicy
    interpreted: InterpretedPolicy
    engine: str = "mixed"

    @property
    def source(self) -> PolicySource:
        """What was verified."""
        return self.compiled.source

    @property
    def digest(self) -> str:
        """Identity of source and parameters."""
        return self.compiled.digest

    @property
    def hooks(self) -> frozenset[str]:
        """Hooks of both parts."""
        return self.compiled.hooks | self.interpreted.hooks

    def address(self, hook: str) -> int:
        """Address of a hook's function, of whichever part has it."""
        return self._part(hook).address(hook)

    def parameters_of(self, hook: str) -> npt.NDArray[np.float64]:
        """Values of the constants that a hook reads."""
        return self._part(hook).parameters_of(hook)

    def with_parameters(self, parameters: Mapping[str, float]) -> MixedPolicy:
        """The same code with other parameters."""
        return replace(
            self,
            compiled=self.compiled.with_parameters(parameters),
            interpreted=self.interpreted.with_parameters(parameters),
        )

    def _part(self, hook: str) -> CompiledPolicy | InterpretedPolicy:
        return self.compiled if hook in self.compiled.hooks else self.interpreted


def mix_policy(
    source: PolicySource, code: PolicyCode, only: Collection[str] | None = None
) -> MixedPolicy:
    """The hooks of a verified source, or `only` some: those that the code has in machine code.

    Raises:
        CodeRefused: see `link_policy`.
    """
    wanted = [hook for hook in source.hooks if only is None or hook in only]
    rest = [hook for hook in wanted if hook not in code.hooks]
    compiled = link_policy(source, code, only=[hook for hook in wanted if hook in code.hooks])
    return MixedPolicy(compiled, interpret_policy(source, only=rest))
