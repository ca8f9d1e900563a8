"""What can go wrong in the sandbox: one small exception tree.

SandboxError
    PolicyRefused       the verifier does not admit the source; `refusals` says why and how to mend
    PolicyFault         an admitted policy stopped while it decided; `kind` is a `frame` status
    ParametersRefused   parameter values that do not fit the policy's tunables
    EngineUnavailable   the engine that was asked for cannot run here
    CodeRefused         machine code that is not what it should be; nothing of it has run
    CacheRefused        no directory for machine code is this user's alone
    CompileFailed       a policy that the verifier admits could not be compiled
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a source is not admitted, and what to write instead.

    `code` is stable, for prompts and tests; `reason` and `mend` are one sentence each.
    """

    line: int
    code: str
    reason: str
    mend: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason} {self.mend} [{self.code}]"


class SandboxError(Exception):
    """Anything the sandbox refuses or stops."""


class PolicyRefused(SandboxError):
    """The verifier refused a source; nothing of it has run."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__("\n".join(str(refusal) for refusal in self.refusals))

    def __reduce__(self) -> tuple[type[PolicyRefused], tuple[tuple[Refusal, ...]]]:
        return type(self), (self.refusals,)


class PolicyFault(SandboxError):
    """A policy stopped in the middle of a decision; `kind` is one of `frame`'s status codes."""

    def __init__(self, hook: str, kind: int, reason: str) -> None:
        self.hook = hook
        self.kind = kind
        self.reason = reason
        super().__init__(
            f"The policy's {hook} stopped: {reason}. Use the default policy's decision instead."
        )

    def __reduce__(self) -> tuple[type[PolicyFault], tuple[str, int, str]]:
        return type(self), (self.hook, self.kind, self.reason)


class ParametersRefused(SandboxError):
    """Parameter values that the policy does not have, or that lie outside their range."""


class EngineUnavailable(SandboxError):
    """The engine that was asked for is not installed here."""


class CodeRefused(SandboxError):
    """Machine code that is broken, of another source, toolchain or processor, or asks too much."""


class CompileFailed(SandboxError):
    """An admitted source could not be compiled: not in time, not here, or not at all."""


class CacheRefused(SandboxError):
    """A directory for machine code that others may write to, or that cannot be made."""
