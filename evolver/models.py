"""Candidates written by a language model: prompt, answer, verifier's words back, at most twice.

`ModelProposer` is a `Proposer`: the search does not know that a model is behind it. Every call is
recorded and counted, whether it ends in a candidate or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from evolver.model_endpoint import Exchange, ModelEndpoint, ModelSettings, Recorder
from evolver.model_errors import ModelFailed, ReplyTruncated, ReplyUnusable
from evolver.prompt import Message, messages_for, repair_messages, unusable_messages
from evolver.proposer import Attempt, Cost, Proposal, ProposalRequest
from evolver.reply import Flaw, ReplyFlawed, idea_of, policy_in
from evolver.task import Refusal

__all__ = ["ModelProposer", "ModelSettings", "model_proposer", "verifier_refusals"]

REPAIR_ROUNDS = 2

Check = Callable[[str], Sequence[Refusal]]
"""Reasons why a text is no legal policy; none when it is one."""


class Endpoint(Protocol):
    """What answers: `ModelEndpoint`, or a record of earlier answers."""

    def complete(self, messages: Sequence[Message]) -> Exchange:
        """The answer to these messages."""


def verifier_refusals(text: str) -> tuple[Refusal, ...]:
    """What the sandbox's verifier has against a text."""
    from sandbox.errors import PolicyRefused
    from sandbox.verifier import verify

    try:
        verify(text)
    except PolicyRefused as refused:
        return tuple(Refusal(r.line, r.code, r.reason, r.mend) for r in refused.refusals)
    return ()


def model_proposer(
    settings: ModelSettings, record: Recorder = lambda _: None, check: Check = verifier_refusals
) -> ModelProposer:
    """The proposer for a model named in the settings."""
    return ModelProposer(ModelEndpoint(settings, record), settings.model, check)


class ModelProposer:
    """Asks a model for a better policy.

    Args:
        endpoint: what answers.
        name: shown in events and lineage.
        check: tells what is wrong with a text; a refused one goes back to the model.
        repair_rounds: how often, at most; tries that the request already carries count.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        check: Check = verifier_refusals,
        repair_rounds: int = REPAIR_ROUNDS,
    ) -> None:
        self._endpoint = endpoint
        self._name = name
        self._check = check
        self._repair_rounds = repair_rounds

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @property
    def waits(self) -> bool:
        """A model is waited for."""
        return True

    def propose(self, request: ProposalRequest) -> Proposal:
        """A candidate text; after the last round it may still be one that the verifier refuses.

        Raises:
            ModelFailed: the endpoint gave nothing usable; its `cost` says what was spent.
        """
        dialogue = _Dialogue(self._endpoint, messages_for(request))
        rounds = max(0, self._repair_rounds - len(request.feedback.attempts))
        for left in range(rounds, -1, -1):
            try:
                answer = dialogue.ask()
            except ModelFailed as failure:
                if dialogue.text is not None:  # a refused text is worth more than nothing
                    break
                failure.cost = dialogue.cost()
                raise
            correction = self._correction(dialogue, answer)
            if not correction or not left:
                break
            dialogue.say(correction)
        if dialogue.text is None:
            raise dialogue.without_policy(self._name)
        parents = (request.parent.digest, *(other.digest for other in request.others))
        idea = idea_of(dialogue.text)
        return Proposal(dialogue.text, self._name, idea, parents, None, dialogue.cost())

    def _correction(self, dialogue: _Dialogue, answer: Exchange) -> list[Message]:
        """What to tell the model about its answer; nothing when the policy is legal."""
        cut = answer.finish == "length"
        try:
            text = policy_in(answer.reply, cut=cut)
        except ReplyFlawed as flawed:
            dialogue.flaw = Flaw.CUT if cut else flawed.flaw
            return unusable_messages(answer.reply, dialogue.flaw.value)
        dialogue.text = text
        refusals = tuple(self._check(text))
        return repair_messages(Attempt(text, refusals)) if refusals else []


class _Dialogue:
    """The messages so far, and what they cost."""

    def __init__(self, endpoint: Endpoint, messages: list[Message]) -> None:
        self._endpoint = endpoint
        self._messages = messages
        self._answers: list[Exchange] = []
        self._started = time.monotonic()
        self.text: str | None = None  # the latest policy
        self.flaw = Flaw.EMPTY

    def ask(self) -> Exchange:
        """The model's next answer."""
        answer = self._endpoint.complete(tuple(self._messages))
        self._answers.append(answer)
        return answer

    def say(self, messages: Sequence[Message]) -> None:
        """Go on with these messages."""
        self._messages.extend(messages)

    def cost(self) -> Cost:
        """Tokens and dollars of all answers; seconds include waiting and failed tries."""
        return Cost(
            sum(answer.tokens_in for answer in self._answers),
            sum(answer.tokens_out for answer in self._answers),
            sum(answer.price_usd for answer in self._answers),
            time.monotonic() - self._started,
        )

    def without_policy(self, name: str) -> ReplyUnusable:
        """The error for a dialogue that brought no policy at all."""
        if self.flaw is Flaw.CUT:
            return ReplyTruncated(
                f"The answers of {name} end at the token limit before a policy does; allow more "
                "tokens or name a model that thinks less.",
                self.cost(),
            )
        return ReplyUnusable(
            f"{name} gave no policy in {len(self._answers)} answers ({self.flaw.value}); name "
            "another model.",
            self.cost(),
        )
