"""What can go wrong with a model behind an endpoint, each as one sentence plus what to do next.

ProposerFailed
  ModelFailed
    ModelSetupWrong     the extra is not installed, the model's name or a limit is wrong
    KeyMissing          no key, or one that the endpoint does not accept
    EndpointDead        nothing answers at the address
    EndpointSlow        no complete answer in time
    EndpointFailing     it answers with errors, or with what is no chat completion
    RateLimited         it asks to wait longer than we may
    ModelDeclined       the model or its provider refuses to answer
    ReplyUnusable       it answered, but without a policy
      ReplyTruncated    the answer was cut off at the token limit

Provider messages may quote keys or prompts, so they are shortened and keys are blotted out.
"""

from __future__ import annotations

from evolver.errors import ProposerFailed
from evolver.proposer import Cost


class ModelFailed(ProposerFailed):
    """A model gave no candidate; `cost` is what was spent on trying."""

    def __init__(self, message: str, cost: Cost | None = None) -> None:
        super().__init__(message)
        self.cost = cost or Cost()


class ModelSetupWrong(ModelFailed):
    """The request cannot work as configured."""


class KeyMissing(ModelFailed):
    """There is no key, or the endpoint does not accept it."""


class EndpointDead(ModelFailed):
    """Nothing answers at the address."""


class EndpointSlow(ModelFailed):
    """No complete answer came in time."""


class EndpointFailing(ModelFailed):
    """The endpoint answers with server errors or with something else than a completion."""


class RateLimited(ModelFailed):
    """The endpoint asks to slow down; `retry_after_s` is what it asked for, None if it did not."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelDeclined(ModelFailed):
    """The model or its provider refuses to answer this prompt."""


class ReplyUnusable(ModelFailed):
    """The replies hold no policy."""


class ReplyTruncated(ReplyUnusable):
    """The reply was cut off at the token limit."""
