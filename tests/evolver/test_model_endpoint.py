"""The way to a model and back over real HTTP, with all that an endpoint can do to us."""

import socket
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise

import pytest
from fake_endpoint import (
    DONE,
    FakeEndpoint,
    Script,
    chunk,
    completion,
    counted,
    failure,
    stream,
)

from evolver import model_errors
from evolver.exchanges import Call, answered
from evolver.model_endpoint import ModelEndpoint, ModelSettings
from evolver.model_failures import blotted
from evolver.model_stream import MAX_REPLY_CHARACTERS

pytestmark = pytest.mark.skipif(find_spec("openai") is None, reason="needs the llm extra")

TEXT = "An idea, and a policy of some length that comes in several pieces."
MESSAGES = ({"role": "user", "content": "Improve this. " * 300},)
FIRST = Call("1.0.0")
KEY = "sk-secret-0123456789"


@pytest.fixture(scope="module", autouse=True)
def only_loopback():
    """Refuses every other address; lists who was asked for."""
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
    """An endpoint with what it recorded, and how long it would have slept."""

    def __init__(self, url, **settings):
        self.exchanges, self.slept, self.now = [], [], 0.0
        options = {"model": "openai/test-model", "api_key": KEY, "timeout_s": 60.0, "tries": 3}
        settings = ModelSettings(api_base=url, **(options | settings))
        self.endpoint = ModelEndpoint(
            settings, self.exchanges.append, clock=lambda: self.now, sleep=self.sleep
        )

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def ask(self, call=FIRST):
        return answered(self.endpoint.complete(MESSAGES, call))

    def fails_with(self, kind, call=FIRST):
        with pytest.raises(kind) as caught:
            self.ask(call)
        assert type(caught.value) is kind
        return caught.value


@pytest.mark.parametrize("answer", [stream(TEXT), completion(TEXT)], ids=["stream", "whole"])
def test_an_answer_is_counted_and_recorded(answer):
    with FakeEndpoint(answer) as fake:
        desk = Desk(fake.url, price_in=2.0, price_out=10.0)
        exchange, cost = desk.ask()
    assert (exchange.reply, exchange.finish, exchange.ask) == (TEXT, "stop", "1.0.0")
    assert (cost.tokens_in, cost.tokens_out) == (1000, 200)
    assert cost.price_usd == pytest.approx(0.004)
    assert desk.exchanges == [exchange]
    assert fake.prompts == [list(exchange.messages)]


def test_what_is_asked_for_is_bounded_by_what_the_run_has_left():
    with FakeEndpoint(stream(TEXT)) as fake:
        Desk(fake.url).ask(Call(tokens_left=77))
        Desk(fake.url).ask(Call(tokens_left=5000))
    (sent, headers), (other, _) = fake.requests
    assert sent["max_tokens"] == 77
    assert other["max_tokens"] == 5000 - len(MESSAGES[0]["content"]) // 4
    assert sent["stream_options"] == {"include_usage": True}
    assert headers["Authorization"] == f"Bearer {KEY}"


def test_tries_that_break_off_share_what_one_answer_may_take():
    broken = Script(chunk(TEXT), chunk(usage={"prompt_tokens": 1000, "completion_tokens": 60}),
                    cut=True)  # fmt: skip
    with FakeEndpoint(broken) as fake:
        Desk(fake.url).fails_with(model_errors.EndpointFailing, Call(tokens_left=3000))
    assert [sent["max_tokens"] for sent, _ in fake.requests] == [1950, 890, 880]


def test_what_is_asked_for_is_bounded_by_the_dollars_that_the_run_has_left():
    with FakeEndpoint(stream(TEXT)) as fake:
        Desk(fake.url, price_in=2.0, price_out=10.0).ask(Call(price_left_usd=0.01))
    assert 0.005 < fake.requests[0][0]["max_tokens"] * 10.0 / 1e6 < 0.01


@pytest.mark.parametrize(
    ("answer", "kind", "words", "calls"),
    [
        (failure(500), model_errors.EndpointFailing, "server error 500", 3),
        ((502, "<html>"), model_errors.EndpointFailing, "server error 502", 3),
        ((200, "<html>hello"), model_errors.EndpointFailing, "no chat completion", 3),
        ((200, {"x": 1}), model_errors.EndpointFailing, "no chat completion", 3),
        ((200, '{"choices": ' * 90_000), model_errors.EndpointFailing, "no chat completion", 3),
        (Script("data: {]\n\n"), model_errors.EndpointFailing, "no chat completion", 3),
        (Script('data: {"error": {"message": "Broken."}}\n\n'), model_errors.EndpointFailing,
         "ended an answer with an error: Broken.", 3),
        (Script('data: {"error": {"message": "no", "code": 429}}\n\n'),
         model_errors.RateLimited, "limits the rate", 3),
        (failure(429), model_errors.RateLimited, "limits the rate", 3),
        (failure(429, "insufficient_quota"), model_errors.ModelSetupWrong, "no credit", 1),
        (failure(401, f"Bad key {KEY}"), model_errors.KeyMissing, "does not accept the key", 1),
        (failure(403), model_errors.KeyMissing, "does not accept the key", 1),
        (failure(402), model_errors.ModelSetupWrong, "no credit", 1),
        (failure(404, f"no such model {KEY}"), model_errors.ModelSetupWrong, "no such model", 1),
        (stream("", "content_filter"), model_errors.ModelDeclined, "declined to answer", 1),
        (Script(chunk(refusal="I will not."), chunk(finish="stop"), DONE),
         model_errors.ModelDeclined, "declined to answer", 1),
        (failure(400, "content_filter"), model_errors.ModelDeclined, "declined the prompt", 1),
    ],
)  # fmt: skip
def test_a_failing_endpoint_is_named_retried_if_sensible_and_recorded(answer, kind, words, calls):
    with FakeEndpoint(answer) as fake:
        desk = Desk(fake.url)
        failed = desk.fails_with(kind)
        assert (len(fake.requests), len(desk.exchanges)) == (calls, calls)
    assert words in str(failed)
    assert [one.final for one in desk.exchanges] == [False] * (calls - 1) + [True]
    assert KEY not in str(failed) + repr(desk.exchanges)


def test_a_dead_endpoint_is_named_with_what_to_check():
    desk = Desk("http://127.0.0.1:9/v1")
    failed = str(desk.fails_with(model_errors.EndpointDead))
    assert "at http://127.0.0.1:9/v1; check that the endpoint runs" in failed
    assert desk.slept == [1.0, 2.0]
    assert [e.error for e in desk.exchanges] == ["EndpointDead"] * 3


SOME = chunk(TEXT)


@pytest.mark.parametrize(
    ("answer", "kind", "words", "limits"),
    [
        (30, model_errors.EndpointSlow, "began within 0.2 s", {"first_token_s": 0.2}),
        (Script(": wait\n\n", 0.02, again=2), model_errors.EndpointSlow, "began within 0.2 s",
         {"first_token_s": 0.2}),
        (Script(SOME, 30), model_errors.EndpointSlow, "fell silent for 0.2 s", {"idle_s": 0.2}),
        (Script(SOME, 0.1, again=2), model_errors.EndpointSlow,
         "not complete within 1.5 s", {"timeout_s": 1.5, "tries": 3}),
    ],
    ids=["silent", "keeps alive", "stalls", "drips"],
)  # fmt: skip
def test_a_slow_endpoint_is_given_up_and_what_came_is_kept(answer, kind, words, limits):
    with FakeEndpoint(answer) as fake:
        desk = Desk(fake.url, **({"tries": 1} | limits))
        failed = desk.fails_with(kind)
    assert words in str(failed)
    assert len(desk.exchanges) == 1  # what is too long once is not paid twice
    began = words != "began within 0.2 s"
    assert (failed.cost.tokens_in > 1000, failed.cost.tokens_out > 0) == (began, began)
    assert desk.exchanges[0].reply.startswith(TEXT if began else "")


def test_the_end_of_the_run_ends_the_wait_for_an_answer():
    with FakeEndpoint(30) as fake:
        desk = Desk(fake.url)
        assert "more seconds" in str(
            desk.fails_with(model_errors.NoTimeLeft, Call(seconds_left=0.2))
        )
        desk.fails_with(model_errors.NoTimeLeft, Call(seconds_left=0.0))
    assert len(fake.requests) <= 1
    assert len(desk.exchanges) == 2


def test_a_connection_cut_in_mid_stream_is_tried_again_and_its_words_count():
    with FakeEndpoint(Script(SOME, cut=True), Script(SOME), stream(TEXT)) as fake:
        desk = Desk(fake.url)
        exchange, cost = desk.ask()
    assert [e.error for e in desk.exchanges] == ["EndpointFailing", "EndpointFailing", None]
    assert desk.exchanges[0].reply == exchange.reply == TEXT
    assert cost.tokens_out == 200 + 2 * (len(TEXT) // 4)


def test_only_the_counts_are_missing_from_an_answer_cut_after_its_last_word():
    with FakeEndpoint(Script(SOME, chunk(finish="stop"), cut=True)) as fake:
        exchange, cost = Desk(fake.url).ask()
    assert exchange.reply == TEXT
    assert cost.tokens_out == len(TEXT) // 4


def test_an_endpoint_that_recovers_costs_only_the_wait_it_asked_for():
    limited = failure(429, headers={"Retry-After": "7"})
    with FakeEndpoint(limited, failure(503), stream(TEXT)) as fake:
        desk = Desk(fake.url)
        _, cost = desk.ask()
    assert desk.slept == [7.0, 2.0]
    assert [e.error for e in desk.exchanges] == ["RateLimited", "EndpointFailing", None]
    assert cost.seconds == sum(e.seconds for e in desk.exchanges) == 9.0


@pytest.mark.parametrize("until", ["86400", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_wait_beyond_our_patience_is_not_begun(until):
    with FakeEndpoint(failure(429, headers={"Retry-After": until})) as fake:
        desk = Desk(fake.url)
        desk.fails_with(model_errors.RateLimited)
        assert "No turn" in str(desk.fails_with(model_errors.RateLimited))
    assert desk.slept == []
    assert len(fake.requests) == 1


def test_a_huge_answer_is_cut_and_said_to_be():
    flood = Script(chunk("x" * 50_000), again=1)
    with FakeEndpoint(flood) as fake:
        exchange, cost = Desk(fake.url, max_tokens=100_000).ask()
    assert exchange.finish == "length"
    assert len(exchange.reply) == MAX_REPLY_CHARACTERS
    assert cost.tokens_out >= MAX_REPLY_CHARACTERS // 4


def test_a_line_without_end_and_an_endless_error_are_given_up(monkeypatch):
    monkeypatch.setattr("evolver.model_clients.MAX_LINE_BYTES", 100_000)
    monkeypatch.setattr("evolver.model_clients.MAX_BODY_BYTES", 200_000)
    with FakeEndpoint(Script("data: " + "x" * 50_000, again=1)) as fake:
        assert "no chat" in str(Desk(fake.url, tries=1).fails_with(model_errors.EndpointFailing))
    with FakeEndpoint((500, "x" * 300_000)) as fake:
        assert "500" in str(Desk(fake.url, tries=1).fails_with(model_errors.EndpointFailing))


@pytest.mark.parametrize("told", [(-5, -7), (0, 0), (True, 1.5), ("9", None)])
def test_counts_that_are_none_are_replaced_by_estimates(told):
    with FakeEndpoint(Script(SOME, chunk(finish="stop"), counted(*told), DONE)) as fake:
        _, cost = Desk(fake.url).ask()
    assert (cost.tokens_in, cost.tokens_out) == (len(MESSAGES[0]["content"]) // 4, len(TEXT) // 4)


def test_counts_beyond_reason_do_not_end_a_budget():
    with FakeEndpoint(stream(TEXT, usage=(10**30, 10**30))) as fake:
        _, cost = Desk(fake.url, max_tokens=1234).ask()
    assert cost.tokens_out == 1234
    assert cost.tokens_in < 10_000


def test_no_character_of_an_answer_breaks_the_record():
    with FakeEndpoint(completion("a\0b\ud800c")) as fake:
        exchange, _ = Desk(fake.url).ask()
    assert exchange.reply == "ab?c"


def test_a_key_that_the_endpoint_repeats_is_not_kept():
    with FakeEndpoint(stream(f"Your key is {KEY}.")) as fake:
        exchange, _ = Desk(fake.url).ask()
    assert exchange.reply == "Your key is ***."


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        ("Extra inputs: stream_options", {"stream_options": None}),
        ("This model does not support stream", {"stream": None, "stream_options": None}),
        ("Use 'max_completion_tokens' instead of 'max_tokens'",
         {"max_tokens": None, "max_completion_tokens": 16_384}),
        ("max_tokens: maximum context length is 20000 tokens", {"max_tokens": None}),
        ("temperature is not supported", {"temperature": None}),
    ],
)  # fmt: skip
def test_an_option_that_an_endpoint_turns_down_is_left_out_from_then_on(said, changed):
    with FakeEndpoint(failure(400, said), completion(TEXT)) as fake:
        desk = Desk(fake.url, temperature=0.5)
        desk.ask()
        desk.ask()
    first, second, third = (request for request, _ in fake.requests)
    assert {k: second.get(k) for k in {*first, *second} if second.get(k) != first.get(k)} == changed
    assert third == second
    assert len(desk.exchanges) == 2


def test_without_a_key_the_variable_to_set_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(model_errors.KeyMissing, match="set OPENAI_API_KEY"):
        Desk(None, api_key=None).endpoint.check()


def test_a_local_endpoint_needs_no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with FakeEndpoint(stream(TEXT)) as fake:
        assert Desk(fake.url, api_key=None).ask()[0].reply == TEXT


def test_calls_of_one_model_keep_its_limit_in_requests_a_minute():
    with FakeEndpoint(stream(TEXT)) as fake:
        desk = Desk(fake.url, requests_per_minute=2)
        times = []
        for _ in range(5):
            desk.ask()
            times.append(desk.now)
    assert all(later - earlier >= 60.0 for earlier, later in zip(times, times[2:], strict=False))
    assert all(later >= earlier for earlier, later in pairwise(times))


def test_keys_in_a_providers_words_are_blotted_out():
    said = blotted(f"Incorrect API key provided: sk-abc***xyz9; {KEY}\nand my-key", "my-key")
    assert "sk-abc" not in said
    assert "secret" not in said
    assert "my-key" not in said


def test_no_client_is_loaded_before_a_model_is_asked_and_litellm_not_for_openai():
    program = (
        "import sys, evolver.models as m\n"
        "m.model_proposers([m.ModelSettings('openai/x', 'http://127.0.0.1:9/v1')])\n"
        "sys.exit('litellm' in sys.modules or 'openai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_nothing_but_the_endpoint_was_ever_reached(only_loopback):
    assert set(only_loopback) <= {"127.0.0.1"}
