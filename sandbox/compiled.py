"""The compiled engine: a policy's hooks as machine code, made in one process and run in any.

`build_policy` needs numba and seconds; `link_policy` needs llvmlite and a millisecond, so whoever
only runs policies never imports a compiler.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sandbox.errors import CodeRefused
from sandbox.native.linking import LinkedCode, link
from sandbox.native.machine_code import MachineCode, code_digest
from sandbox.native.toolchain import policy_toolchain
from sandbox.source import PolicySource


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A `LoadedPolicy` in machine code; keeps the code alive."""

    source: PolicySource
    digest: str
    parameters: npt.NDArray[np.float64]
    linked: LinkedCode
    engine: str = "compiled"

    @property
    def hooks(self) -> frozenset[str]:
        """Hooks it has."""
        return frozenset(self.linked.addresses)

    def address(self, hook: str) -> int:
        """Address of a hook's native function."""
        return self.linked.addresses[hook]

    def with_parameters(self, parameters: Mapping[str, float]) -> CompiledPolicy:
        """The same machine code with other parameters."""
        return replace(
            self,
            digest=self.source.digest(parameters),
            parameters=self.source.vector(parameters),
        )


def build_policy(source: PolicySource, only: Collection[str] | None = None) -> MachineCode:
    """Machine code of a verified source's hooks, or of `only` some: about 0.2 s a hook.

    Imports numba, which takes seconds with what it prepares: for compile processes.
    """
    from sandbox.native.policy_builder import build

    return build(source, only)


def link_policy(
    source: PolicySource,
    code: MachineCode,
    parameters: Mapping[str, float] | None = None,
    only: Collection[str] | None = None,
) -> CompiledPolicy:
    """Make the machine code of a verified source callable, or of `only` some hooks.

    Raises:
        CodeRefused: it is of another source, toolchain or processor, lacks a hook, or calls what
            it may not.
        ParametersRefused: a parameter is unknown or out of its range.
    """
    values = source.vector(parameters)
    if code.source_digest != code_digest(source):
        raise CodeRefused("The machine code is of another policy: compile this one.")
    if code.toolchain != policy_toolchain():
        raise CodeRefused(
            "The machine code was made by or for another toolchain or processor: compile it here."
        )
    wanted = frozenset(source.hooks if only is None else only) & frozenset(source.hooks)
    if missing := min(wanted - code.hooks, default=""):
        raise CodeRefused(f"The machine code lacks {missing}: compile it with that hook.")
    return CompiledPolicy(source, source.digest(parameters), values, link(code, wanted))
