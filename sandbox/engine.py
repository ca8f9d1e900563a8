"""What a loaded policy is, and how to load one: compiled where numba is, interpreted elsewhere."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from sandbox.errors import EngineUnavailable
from sandbox.source import PolicySource

EngineName = Literal["compiled", "interpreted", "auto"]


class LoadedPolicy(Protocol):
    """A policy that can be called; addresses stay valid for as long as the object lives.

    Attributes:
        source: what was verified.
        digest: identity of source and parameters.
        engine: "compiled" or "interpreted".
        hooks: hooks it has; for others the host uses the default policy.
        parameters: values in the order of `source.tunables`; a frame points at this array, so
            other values in place change the policy without compiling it again.
    """

    @property
    def source(self) -> PolicySource: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def engine(self) -> str: ...  # noqa: D102
    @property
    def hooks(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def parameters(self) -> npt.NDArray[np.float64]: ...  # noqa: D102

    def address(self, hook: str) -> int:
        """Native function `int32 f(int64 *result, void **error, int64 frame_address)` of a hook.

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
) -> LoadedPolicy:
    """Make a policy callable, or `only` some of its hooks.

    Raises:
        ParametersRefused: a parameter is unknown or out of its range.
        EngineUnavailable: the compiled engine was asked for and numba is not installed.
    """
    if engine == "auto":
        engine = "compiled" if importlib.util.find_spec("numba") else "interpreted"
    if engine == "interpreted":
        from sandbox.interpreted import interpret_policy

        return interpret_policy(source, parameters, only)
    if not importlib.util.find_spec("numba"):
        raise EngineUnavailable("The compiled engine needs numba: use engine='interpreted'.")
    from sandbox.compiled import compile_policy

    return compile_policy(source, parameters, only)
