"""What a loaded policy is, and how to load one: compiled where numba is, interpreted elsewhere."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from sandbox.errors import EngineUnavailable
from sandbox.source import PolicySource

if TYPE_CHECKING:
    from sandbox.native.policy_code import PolicyCode

EngineName = Literal["compiled", "interpreted", "auto"]


class LoadedPolicy(Protocol):
    """A policy that can be called; addresses stay valid for as long as the object lives.

    Attributes:
        source: what was verified.
        digest: identity of source and parameters.
        engine: "compiled", "interpreted", or "mixed" where each runs some of its hooks.
        hooks: hooks it has; for others the host uses the default policy.
    """

    @property
    def source(self) -> PolicySource: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def engine(self) -> str: ...  # noqa: D102
    @property
    def hooks(self) -> frozenset[str]: ...  # noqa: D102

    def address(self, hook: str) -> int:
        """Native function `int32 f(int64 *result, void **error, int64 frame_address)` of a hook.

        Raises:
            KeyError: the policy does not have it.
        """
        ...

    def parameters_of(self, hook: str) -> npt.NDArray[np.float64]:
        """Values of the constants that a hook's function reads: a frame points at this array.

        Raises:
            KeyError: the policy does not have it.
        """
        ...

    def with_parameters(self, parameters: Mapping[str, float]) -> LoadedPolicy:
        """The same code with other parameters; nothing is compiled."""
        ...


def load_policy(
    source: PolicySource,
    parameters: Mapping[str, float] | None = None,
    engine: EngineName = "auto",
    only: Collection[str] | None = None,
    code: PolicyCode | None = None,
) -> LoadedPolicy:
    """Make a policy callable, or `only` some of its hooks.

    Args:
        source: what the verifier admitted.
        parameters: values for its tunables; its own where absent.
        engine: "auto" is compiled where numba is installed or `code` is given.
        only: hooks to load, of those it has; all when None.
        code: its machine code, when somebody has compiled it before.

    Raises:
        ParametersRefused: a parameter is unknown or out of its range.
        EngineUnavailable: the compiled engine was asked for and numba is not installed.
        CodeRefused: the given code is not this policy's, or not for this machine.
        CompileFailed: there is no code of it on disk, and none could be made.
    """
    if engine == "auto":
        here = code is not None or importlib.util.find_spec("numba")
        engine = "compiled" if here else "interpreted"
    if engine == "interpreted":
        from sandbox.interpreted import interpret_policy

        return interpret_policy(source, parameters, only)
    from sandbox.compiled import link_policy

    if code is None:
        if not importlib.util.find_spec("numba"):
            raise EngineUnavailable("The compiled engine needs numba: use engine='interpreted'.")
        from sandbox.native.compiler import machine_code

        code = machine_code(source, only)
    return link_policy(source, code, parameters, only)
