"""The whole way to a model and back, through litellm, against an endpoint on loopback."""

import socket
import subprocess
import sys
from importlib.util import find_spec

import pytest
from fake_endpoint import FakeEndpoint, completion, failure
from prompt_request import SOURCE, refused, request

from evolver import model_errors
from evolver.model_endpoint import ModelEndpoint, ModelSettings, blotted
from evolver.models import ModelProposer, verifier_refusals
from evolver.task import Refusal

pytestmark = pytest.mark.skipif(find_spec("litellm") is None, reason="needs the llm extra")

GOOD = f"An idea.\n```python\n{SOURCE}```\n"
KEY = "sk-secret-0123456789"


@pytest.fixture(scope="module", autouse=True)
def only_loopback():
    """Refuses every other address, from before litellm is imported; lists who was asked for."""
    hosts, connect = [], socket.socket.connect

    def guarded(self, address):
        host = address[0] if isinstance(address, tuple) else str(address)
        hosts.append(host)
        if host != "127.0.0.1":
            raise OSError(f"{host} is not loopback")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield hosts


class Desk:
    """A proposer on a fake endpoint, with what it recorded and how long it would have slept."""

    def __init__(self, url, check=lambda text: (), **settings):
        self.exchanges, self.slept = [], []
        options = {"model": "openai/test-model", "api_key": KEY, "timeout_s": 5.0, "tries": 3}
        settings = ModelSettings(api_base=url, **(options | settings))
        endpoint = ModelEndpoint(settings, self.exchanges.append, self.slept.append)
        self.proposer = ModelProposer(endpoint, "test-model", check)

    def propose(self, *attempts):
        return self.proposer.propose(request(*attempts))


def failing_with(kind, desk):
    with pytest.raises(kind) as caught:
        desk.propose()
    return str(caught.value)


def refuse_first(text_seen=None):
    calls = []

    def check(text):
        calls.append(text)
        if len(calls) > 1:
            return ()
        return (Refusal(6, "unknown-field", "No field load.", "Use queued_requests."),)

    return check


def test_a_good_answer_becomes_a_counted_and_recorded_proposal():
    with FakeEndpoint(completion(GOOD)) as fake:
        desk = Desk(fake.url, price_in=2.0, price_out=10.0)
        proposal = desk.propose()
    assert (proposal.text, proposal.idea) == (SOURCE, "First instance below the knee.")
    assert (proposal.cost.tokens_in, proposal.cost.tokens_out) == (1000, 200)
    assert proposal.cost.price_usd == pytest.approx(0.004)
    assert proposal.parents == ("a" * 64, "b" * 64)
    (exchange,) = desk.exchanges
    assert exchange.reply == GOOD
    assert fake.prompts[0] == list(exchange.messages)


def test_the_verifiers_words_go_back_and_the_mended_policy_counts():
    mended = GOOD.replace("0].id", "2].id")
    with FakeEndpoint(completion(GOOD), completion(mended)) as fake:
        proposal = Desk(fake.url, refuse_first()).propose()
    assert "2].id" in proposal.text
    assert proposal.cost.tokens_out == 400
    assert "line 6: No field load. Use queued_requests." in fake.prompts[1][-1]["content"]


def test_after_two_repairs_the_refused_text_is_handed_over_as_it_is():
    with FakeEndpoint(completion(GOOD)) as fake:
        desk = Desk(fake.url, lambda text: (Refusal(1, "x", "No.", "Mend it."),))
        assert desk.propose().text == SOURCE
        assert len(fake.requests) == 3
        desk.propose(refused(), refused())
    assert len(fake.requests) == 4  # tries that the request carries count


def test_babble_is_sent_back_too():
    with FakeEndpoint(completion("Let me think."), completion(GOOD)) as fake:
        assert Desk(fake.url).propose().text == SOURCE
    assert "no fenced block" in fake.prompts[1][-1]["content"]


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (completion("I love scheduling."), model_errors.ReplyUnusable, "no fenced block"),
        (completion(""), model_errors.ReplyUnusable, "it is empty"),
        (completion(None), model_errors.ReplyUnusable, "it is empty"),
        (completion(GOOD[:60], "length"), model_errors.ReplyTruncated, "allow more tokens"),
    ],
)
def test_answers_without_a_policy_end_with_what_they_cost(answer, kind, words):
    with FakeEndpoint(answer) as fake, pytest.raises(kind, match=words) as caught:
        Desk(fake.url).propose()
    assert caught.value.cost.tokens_in == 3000


@pytest.mark.parametrize(
    ("answer", "kind", "words", "calls"),
    [
        (failure(500), model_errors.EndpointFailing, "server error 500", 3),
        ((502, "<html>"), model_errors.EndpointFailing, "server error 502", 3),
        ((200, "<html>hello"), model_errors.EndpointFailing, "no chat completion", 3),
        ((200, {"x": 1}), model_errors.EndpointFailing, "no chat completion", 3),
        ((200, completion("")[1] | {"choices": []}), model_errors.EndpointFailing, "no chat", 3),
        (failure(429), model_errors.RateLimited, "limits the rate", 3),
        (failure(401, f"Bad key {KEY}"), model_errors.KeyMissing, "does not accept the key", 1),
        (failure(403), model_errors.KeyMissing, "does not accept the key", 1),
        (failure(402), model_errors.ModelSetupWrong, "no credit", 1),
        (failure(404, f"no such model {KEY}"), model_errors.ModelSetupWrong, "no such model", 1),
        (completion(None, "content_filter"), model_errors.ModelDeclined, "declined", 1),
    ],
)
def test_a_failing_endpoint_is_named_retried_if_sensible_and_recorded(answer, kind, words, calls):
    with FakeEndpoint(answer) as fake:
        desk = Desk(fake.url)
        message = failing_with(kind, desk)
        assert (len(fake.requests), len(desk.exchanges)) == (calls, calls)
    assert words in message
    assert KEY not in message + repr(desk.exchanges)


def test_a_dead_endpoint_is_named_with_what_to_check():
    desk = Desk("http://127.0.0.1:9/v1")
    assert "check that the endpoint runs" in failing_with(model_errors.EndpointDead, desk)
    assert desk.slept == [1.0, 2.0]
    assert [e.error for e in desk.exchanges] == ["EndpointDead"] * 3


def test_a_slow_endpoint_is_given_up_in_time():
    with FakeEndpoint(60) as fake:
        desk = Desk(fake.url, timeout_s=0.2, tries=1)
        assert "allow more time" in failing_with(model_errors.EndpointSlow, desk)


def test_an_endpoint_that_recovers_costs_only_the_wait_it_asked_for():
    limited = failure(429, headers={"Retry-After": "7"})
    with FakeEndpoint(limited, failure(503), completion(GOOD)) as fake:
        desk = Desk(fake.url)
        assert desk.propose().text == SOURCE
    assert desk.slept == [7.0, 2.0]
    assert [e.error for e in desk.exchanges] == ["RateLimited", "EndpointFailing", None]


def test_a_wait_beyond_our_patience_is_not_begun():
    with FakeEndpoint(failure(429, headers={"Retry-After": "86400"})) as fake:
        desk = Desk(fake.url)
        failing_with(model_errors.RateLimited, desk)
    assert desk.slept == []


def test_a_refused_text_survives_an_endpoint_that_dies_during_its_repair():
    with FakeEndpoint(completion(GOOD), failure(401)) as fake:
        proposal = Desk(fake.url, refuse_first()).propose()
    assert proposal.text == SOURCE


def test_without_a_key_the_variable_to_set_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    desk = Desk(None, api_key=None)
    assert "set OPENAI_API_KEY" in failing_with(model_errors.KeyMissing, desk)


def test_a_local_endpoint_needs_no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with FakeEndpoint(completion(GOOD)) as fake:
        assert Desk(fake.url, api_key=None).propose().text == SOURCE


def test_an_unknown_price_is_zero_and_said_a_known_one_is_litellms():
    with FakeEndpoint(completion(GOOD)) as fake:
        unknown, known = Desk(fake.url), Desk(fake.url, model="openai/gpt-4o")
        assert unknown.propose().cost.price_usd == 0.0
        assert known.propose().cost.price_usd > 0.0
    assert (unknown.exchanges[0].price_known, known.exchanges[0].price_known) == (False, True)


def test_tokens_are_estimated_when_an_endpoint_does_not_count():
    with FakeEndpoint(completion(GOOD, usage=(0, 0))) as fake:
        cost = Desk(fake.url).propose().cost
    assert cost.tokens_in > 1000
    assert cost.tokens_out == len(GOOD) // 4


def test_keys_in_a_providers_words_are_blotted_out():
    said = blotted(f"Incorrect API key provided: sk-abc***xyz9; {KEY}\nand my-key", "my-key")
    assert "sk-abc" not in said
    assert "secret" not in said
    assert "my-key" not in said


def test_the_sandboxs_verifier_is_what_checks():
    assert verifier_refusals("import os\n")[0].line == 1


def test_nothing_but_the_endpoint_was_ever_reached(only_loopback):
    with FakeEndpoint(completion(GOOD)) as fake:
        Desk(fake.url).propose()
    assert "litellm" in sys.modules
    assert {host for host in only_loopback if host != "127.0.0.1"} == set()


def test_the_proposer_loads_no_client_before_it_asks():
    program = "import sys, evolver.models; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
