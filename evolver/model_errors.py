"""What can go wrong with a model behind an endpoint, each as one sentence plus what to do next.

ProposerFailed
  ModelFailed
    ModelSetupWrong     the extra is not installed, the model's name or a limit is wrong
    KeyMissing          no key, or one that the endpoint does not accept
    EndpointDead        nothing answers at the address
    EndpointSlow        no complete answer in time
    EndpointFailing     it answers with errors, breaks off, or sends what is no chat completion
    RateLimited         it asks to wait longer than we may
    ModelDeclined       the model or its provider refuses to answer
    NoTimeLeft          the run ends before the answer does
  ReplyUnusable         it answered, but without a policy (in `errors`)
    ReplyTruncated      the answer was cut off at the token limit

`again` tells whether a further try may help. Provider messages may quote keys or prompts, so they
are shortened and keys are blotted out.
"""

from __future__ import annotations

from evolver.errors import ProposerFailed, ReplyUnusable

__all__ = [
    "FAILURES",
    "EndpointDead",
    "EndpointFailing",
    "EndpointSlow",
    "KeyMissing",
    "ModelDeclined",
    "ModelFailed",
    "ModelSetupWrong",
    "NoTimeLeft",
    "RateLimited",
    "ReplyTruncated",
    "ReplyUnusable",
]


class ModelFailed(ProposerFailed):
    """A model gave no answer; `cost` is what was spent on trying."""

    again = False


class ModelSetupWrong(ModelFailed):
    """The request cannot work as configured."""


class KeyMissing(ModelFailed):
    """There is no key, or the endpoint does not accept it."""


class EndpointDead(ModelFailed):
    """Nothing answers at the address."""

    again = True


class EndpointSlow(ModelFailed):
    """No complete answer came in time; worth another try unless it was long rather than late."""

    again = True


class EndpointFailing(ModelFailed):
    """The endpoint answers with server errors or with something else than a completion."""

    again = True


class RateLimited(ModelFailed):
    """The endpoint asks to slow down; `retry_after_s` is what it asked for, None if it did not."""

    again = True

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelDeclined(ModelFailed):
    """The model or its provider refuses to answer this prompt."""


class NoTimeLeft(ModelFailed):
    """The time of the run ended before the answer did."""


class ReplyTruncated(ReplyUnusable):
    """The reply was cut off at the token limit."""


FAILURES: dict[str, type[ModelFailed]] = {
    kind.__name__: kind
    for kind in (
        ModelSetupWrong,
        KeyMissing,
        EndpointDead,
        EndpointSlow,
        EndpointFailing,
        RateLimited,
        ModelDeclined,
        NoTimeLeft,
    )
}
"""By the name under which an exchange records them."""
