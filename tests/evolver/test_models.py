import threading
from dataclasses import replace
from importlib.util import find_spec

import pytest
from fake_endpoint import FakeEndpoint, failure, stream
from prompt_request import SOURCE, Attempt, member, request
from recorded_exchange import exchange

from evolver.exchanges import prompt_digest
from evolver.model_errors import (
    EndpointFailing,
    KeyMissing,
    ModelDeclined,
    ModelSetupWrong,
    ReplyTruncated,
    ReplyUnusable,
)
from evolver.models import ModelProposer, ModelSettings, check_models, model_proposers
from evolver.moves import Move
from evolver.prompt import messages_for
from evolver.proposer import Cost
from evolver.recorded_answers import RecordedAnswers

GOOD = f"An idea.\n```python\n{SOURCE}```\n"
RAISE = "<<<<<<< SEARCH\nKNEE = 0.85\n=======\nKNEE = 0.9\n>>>>>>> REPLACE"
STRONG, CHEAP = "openai/strong", "deepseek/cheap"
LLM = pytest.mark.skipif(find_spec("litellm") is None, reason="needs the llm extra")


class Canned:
    """Answers with one reply, and keeps what it is asked."""

    def __init__(self, reply, *before, **fields):
        self.tries = (*before, exchange(reply, **fields))

    def complete(self, messages, call):
        self.messages, self.call = messages, call
        return self.tries


def proposed(reply, move=Move.REWRITE, asked=None, **fields):
    return ModelProposer(Canned(reply, **fields), STRONG, move).propose(asked or request())


def test_a_policy_in_an_answer_becomes_a_proposal_with_what_all_tries_cost():
    failed = exchange("", error="EndpointFailing", final=False, tokens_in=7, tokens_out=3)
    proposal = ModelProposer(Canned(GOOD, failed), STRONG).propose(request())
    assert (proposal.text, proposal.idea) == (SOURCE, "First instance below the knee.")
    assert (proposal.proposer, proposal.parents) == ("openai/strong rewrite", ("a" * 64,))
    assert proposal.cost == Cost(1007, 203, 0.008, 3.0)


def test_the_call_carries_the_ask_the_move_and_what_the_run_has_left():
    endpoint = Canned(RAISE)
    asked = replace(request(), ask="3.5.1", seconds_left=9.0, tokens_left=99)
    ModelProposer(endpoint, STRONG, Move.DIFF).propose(asked)
    call = endpoint.call
    assert (call.ask, call.move) == ("3.5.1", Move.DIFF)
    assert (call.seconds_left, call.tokens_left) == (9.0, 99)
    assert endpoint.messages == messages_for(asked, Move.DIFF)


def test_edits_are_made_to_the_parent_and_in_a_repair_to_the_latest_try():
    assert proposed(RAISE, Move.DIFF).text == SOURCE.replace("0.85", "0.9")
    tried = SOURCE.replace("0].id", "3].id")
    repaired = proposed(RAISE, Move.DIFF, request(Attempt(tried, fault="IndexError")))
    assert repaired.text == tried.replace("0.85", "0.9")


def test_a_crossing_has_two_parents_and_none_is_tried_alone():
    assert proposed(GOOD, Move.CROSSOVER).parents == ("a" * 64, "b" * 64)
    assert proposed(GOOD, Move.CROSSOVER, replace(request(), others=())) is None


@pytest.mark.parametrize(
    ("reply", "move", "finish", "kind", "flaw"),
    [
        ("I love scheduling.", Move.REWRITE, "stop", ReplyUnusable, "no fenced block"),
        ("", Move.REWRITE, "stop", ReplyUnusable, "it is empty"),
        (RAISE.replace("0.85", "0.7"), Move.DIFF, "stop", ReplyUnusable, "edit 1 searches for"),
        (GOOD[:60], Move.REWRITE, "length", ReplyTruncated, "cut off at the token limit"),
        (RAISE, Move.DIFF, "length", ReplyTruncated, "cut off at the token limit"),
    ],
)
def test_an_answer_without_a_policy_says_what_to_mend_and_what_it_cost(
    reply, move, finish, kind, flaw
):
    with pytest.raises(kind) as caught:
        proposed(reply, move, finish=finish)
    assert flaw in caught.value.flaw
    assert (caught.value.reply, caught.value.cost.tokens_in) == (reply, 1000)


def test_a_failure_ends_the_try_with_what_it_cost():
    with pytest.raises(ModelDeclined, match="No, thanks") as caught:
        proposed("No.", error="ModelDeclined", said="No, thanks.")
    assert caught.value.cost.tokens_out == 200


def test_each_model_has_an_arm_for_each_move(monkeypatch):
    monkeypatch.setattr("evolver.model_clients.LitellmClient.check", lambda _: None)
    settings = [ModelSettings(STRONG, "http://127.0.0.1:9/v1"), ModelSettings(CHEAP)]
    names = [proposer.name for proposer in model_proposers(settings)]
    assert names == [f"{model} {move}" for model in (STRONG, CHEAP) for move in Move]
    with pytest.raises(ModelSetupWrong, match="named twice"):
        model_proposers(settings[:1] * 2)


def test_a_run_with_a_limit_in_dollars_needs_models_with_a_price():
    unknown = ModelSettings("openai/nobody-knows-me", "http://127.0.0.1:9/v1")
    check_models([unknown, replace(unknown, model=STRONG, price_in=1.0)])
    check_models([replace(unknown, price_in=1.0)], dollars=True)
    with pytest.raises(ModelSetupWrong, match="limit tokens instead"):
        check_models([unknown], dollars=True)


def test_a_replay_needs_neither_key_nor_client():
    asked = replace(request(), ask="1.0.0")
    for move in Move:
        known = exchange(GOOD, messages=messages_for(asked, move))
        recorded = RecordedAnswers([known], live=False)
        arms = model_proposers([ModelSettings("nobody/x")], recorded=recorded, moves=[move])
        assert arms[0].propose(asked).text == SOURCE


@LLM
def test_a_recorded_run_goes_on_with_the_model_at_the_same_limits():
    kept, known = [], exchange(GOOD, messages=messages_for(request(), Move.REWRITE))
    with FakeEndpoint(stream(GOOD)) as fake:
        arms = model_proposers(
            [ModelSettings(STRONG, fake.url)], kept.append, RecordedAnswers([known], live=True)
        )
        for ask in ("1.0.0", "1.1.0"):
            arms[0].propose(replace(request(), ask=ask))
    assert len(fake.requests) == 1
    assert [one.ask for one in kept] == ["1.1.0"]


@LLM
def test_arms_asked_side_by_side_are_all_answered():
    answers = {}
    with FakeEndpoint(stream(GOOD)) as fake:
        arms = model_proposers([ModelSettings(STRONG, fake.url, concurrency=2)])
        threads = [
            threading.Thread(
                target=lambda arm=arm: answers.update({arm.name: arm.propose(request())})
            )
            for arm in arms
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert {answer.text for answer in answers.values()} == {SOURCE}
    assert len(answers) == 3


@LLM
class TestLitellm:
    """Providers that do not speak OpenAI's language by themselves."""

    @pytest.fixture(autouse=True)
    def no_keys(self, monkeypatch):
        monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)

    def test_an_answer_comes_and_is_counted(self):
        kept = []
        with FakeEndpoint(stream(GOOD)) as fake:
            settings = ModelSettings(CHEAP, fake.url, price_in=2.0, price_out=10.0)
            proposal = model_proposers([settings], kept.append)[0].propose(request())
        assert (proposal.text, proposal.cost.tokens_out) == (SOURCE, 200)
        assert fake.requests[0][0]["stream"] is True
        assert kept[0].reply == GOOD

    def test_failures_are_told_apart(self):
        answers = (failure(401), failure(503), stream(GOOD))
        kept = []
        with FakeEndpoint(*answers) as fake:
            settings = ModelSettings(CHEAP, fake.url, tries=1)
            arm, *_ = model_proposers([settings], kept.append)
            for kind in (KeyMissing, EndpointFailing):
                with pytest.raises(kind):
                    arm.propose(request())
            assert arm.propose(request()).text == SOURCE
        assert [one.error for one in kept] == ["KeyMissing", "EndpointFailing", None]

    def test_a_provider_that_nobody_knows_is_refused_before_a_run(self):
        with pytest.raises(ModelSetupWrong, match="write openai/nobody/x with --api-base"):
            model_proposers([ModelSettings("nobody/x")])
        with pytest.raises(KeyMissing, match="set DEEPSEEK_API_KEY"):
            model_proposers([ModelSettings(CHEAP)])


def test_the_prompt_of_each_move_has_its_own_digest_when_the_messages_differ():
    parent = replace(request(), parent=member(SOURCE.replace("0].id", "7].id")))
    assert prompt_digest(messages_for(parent)) != prompt_digest(messages_for(request()))
