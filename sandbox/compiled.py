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
from sandbox.hook_text import parameters_by_hook
from sandbox.native.linking import LinkedCode, link
from sandbox.native.policy_code import PolicyCode
from sandbox.native.toolchain import policy_toolchain
from sandbox.source import PolicySource


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A `LoadedPolicy` in machine code; keeps the code alive."""

    source: PolicySource
    digest: str
    parameters: Mapping[str, npt.NDArray[np.float64]]
    linked: Mapping[str, LinkedCode]
    engine: str = "compiled"

    @property
    def hooks(self) -> frozenset[str]:
        """Hooks it has."""
        return frozenset(self.linked)

    def address(self, hook: str) -> int:
        """Address of a hook's native function."""
        return self.linked[hook].addresses[hook]

    def parameters_of(self, hook: str) -> npt.NDArray[np.float64]:
        """Values of the constants that a hook reads."""
        return self.parameters[hook]

    def with_parameters(self, parameters: Mapping[str, float]) -> CompiledPolicy:
        """The same machine code with other parameters."""
        return replace(
            self,
            digest=self.source.digest(parameters),
            parameters=parameters_by_hook(self.source, parameters, self.linked),
        )


def build_policy(source: PolicySource, only: Collection[str] | None = None) -> PolicyCode:
    """Machine code of a verified source's hooks, or of `only` some: about 0.2 s a hook.

    Imports numba, which takes seconds with what it prepares: for compile processes.
    """
    from sandbox.native.policy_builder import build

    return build(source, only)


def link_policy(
    source: PolicySource,
    code: PolicyCode,
    parameters: Mapping[str, float] | None = None,
    only: Collection[str] | None = None,
) -> CompiledPolicy:
    """Make the machine code of a verified source callable, or of `only` some hooks.

    Raises:
        CodeRefused: a hook's is missing, of another hook, toolchain or processor, or calls what
            it may not.
        ParametersRefused: a parameter is unknown or out of its range.
    """
    wanted = [hook for hook in source.hooks if only is None or hook in only]
    values = parameters_by_hook(source, parameters, wanted)
    for hook in wanted:
        _check(source, hook, code)
    linked = {hook: link(code.hooks[hook]) for hook in wanted}
    return CompiledPolicy(source, source.digest(parameters), values, linked)


def _check(source: PolicySource, hook: str, code: PolicyCode) -> None:
    if hook not in code.hooks:
        raise CodeRefused(f"The machine code lacks {hook}: compile it with that hook.")
    if code.lacks(source, hook):
        raise CodeRefused("The machine code is of another policy: compile this one.")
    if code.hooks[hook].toolchain != policy_toolchain():
        raise CodeRefused(
            "The machine code was made by or for another toolchain or processor: compile it here."
        )
