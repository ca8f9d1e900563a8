"""Candidates written by language models: one proposer for each model and move, one call a try.

A `ModelProposer` is a `Proposer`: the search does not know that a model is behind it. Every call is
recorded and counted, whether it ends in a candidate or not. What is wrong with an answer is told to
the model by whoever asks again, with the attempt in the request.
"""

from __future__ import annotations

from collections.abc import Sequence

from evolver.diff_reply import edited_text, policy_from_edits
from evolver.exchanges import Call, Endpoint, Exchange, Recorder, answered
from evolver.model_endpoint import ModelEndpoint, ModelSettings
from evolver.model_errors import ModelSetupWrong, ReplyTruncated, ReplyUnusable
from evolver.model_prices import require_price
from evolver.model_settings import check_settings
from evolver.moves import Move
from evolver.prompt import messages_for
from evolver.proposer import Cost, Proposal, ProposalRequest, Proposer
from evolver.recorded_answers import RecordedAnswers, RecordedEndpoint
from evolver.reply import Flaw, ReplyFlawed, idea_of, policy_in

__all__ = ["ModelProposer", "ModelSettings", "check_models", "model_proposers"]


def model_proposers(
    settings: Sequence[ModelSettings],
    record: Recorder = lambda _: None,
    recorded: RecordedAnswers | None = None,
    moves: Sequence[Move] = tuple(Move),
) -> tuple[Proposer, ...]:
    """One proposer for each model and move; those of one model share its limits.

    Args:
        settings: of each model.
        record: called with each try that is made, and with replayed ones of a new run.
        recorded: answers of an earlier run; models are asked for what it lacks if it is `live`.
        moves: what models are asked for.

    Raises:
        ModelSetupWrong, KeyMissing: a model cannot be asked, with what to do.
    """
    _check_names(settings)
    endpoints = [(_endpoint(one, record, recorded), one.model) for one in settings]
    return tuple(
        ModelProposer(endpoint, name, move) for endpoint, name in endpoints for move in moves
    )


def check_models(settings: Sequence[ModelSettings], *, dollars: bool = False) -> None:
    """Pass when all models can be asked, as far as can be told without asking.

    Args:
        settings: of each model.
        dollars: the run has a limit in dollars, so what they cost must be known.

    Raises:
        ModelSetupWrong, KeyMissing: a model cannot be asked, with what to do.
    """
    _check_names(settings)
    for one in settings:
        ModelEndpoint(one).check()
        if dollars:
            require_price(one)


def _check_names(settings: Sequence[ModelSettings]) -> None:
    names = [one.model for one in settings]
    for name in names:
        if names.count(name) > 1:
            raise ModelSetupWrong(f"The model {name} is named twice: name each model once.")


def _endpoint(
    settings: ModelSettings, record: Recorder, recorded: RecordedAnswers | None
) -> Endpoint:
    if recorded is not None and not recorded.live:
        check_settings(settings)
        return RecordedEndpoint(recorded, None, record)
    live = ModelEndpoint(settings, record)
    live.check()
    return live if recorded is None else RecordedEndpoint(recorded, live)


class ModelProposer:
    """Asks a model for a better policy.

    Args:
        endpoint: what answers.
        model: its name, shown in events and lineage.
        move: what it is asked for.
    """

    def __init__(self, endpoint: Endpoint, model: str, move: Move = Move.REWRITE) -> None:
        self._endpoint = endpoint
        self._model = model
        self._move = move

    @property
    def name(self) -> str:
        """The model's name and the move."""
        return f"{self._model} {self._move}"

    @property
    def waits(self) -> bool:
        """A model is waited for."""
        return True

    def propose(self, request: ProposalRequest) -> Proposal | None:
        """A candidate text that nobody has verified; None when there is nothing to cross with.

        Raises:
            ModelFailed: no answer; its `cost` says what was spent.
            ReplyUnusable: an answer without a policy, with its cost.
            RecordStale: recorded answers do not fit the request.
        """
        if self._move is Move.CROSSOVER and not request.others:
            return None
        call = Call(
            request.ask, self._move, request.seconds_left, request.tokens_left,
            request.price_left_usd,
        )  # fmt: skip
        messages = messages_for(request, self._move)
        answer, cost = answered(self._endpoint.complete(messages, call))
        text = self._policy(answer, request, cost)
        parents = [request.parent.digest]
        if self._move is Move.CROSSOVER:
            parents.append(request.others[0].digest)
        return Proposal(text, self.name, idea_of(text), tuple(parents), None, cost)

    def _policy(self, answer: Exchange, request: ProposalRequest, cost: Cost) -> str:
        """The policy in an answer."""
        cut = answer.finish in ("length", "max_tokens")
        try:
            if self._move is Move.DIFF:
                return policy_from_edits(answer.reply, edited_text(request), cut=cut)
            return policy_in(answer.reply, cut=cut)
        except ReplyFlawed as flawed:
            unusable = self._unusable(answer.reply, Flaw.CUT.value if cut else str(flawed))
        unusable.cost = cost
        raise unusable

    def _unusable(self, reply: str, flaw: str) -> ReplyUnusable:
        if flaw == Flaw.CUT.value:
            return ReplyTruncated(
                f"An answer of {self._model} ends at the token limit before a policy does; allow "
                "more tokens or name a model that thinks less.",
                reply,
                flaw,
            )
        return ReplyUnusable(
            f"An answer of {self._model} holds no policy ({flaw}); name another model if that "
            "stays so.",
            reply,
            flaw,
        )
