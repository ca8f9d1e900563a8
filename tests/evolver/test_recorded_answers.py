import pytest
from recorded_exchange import MESSAGES, exchange

from evolver.errors import RecordStale
from evolver.exchanges import Call, answered
from evolver.model_errors import EndpointFailing, RateLimited
from evolver.recorded_answers import AnswersEnded, RecordedAnswers, RecordedEndpoint

LIMITED = exchange("", error="RateLimited", said="Wait a moment.", final=False, tokens_in=0)
FAILED = exchange("", error="EndpointFailing", said="Error 500 came; try later.")
OTHER = ({"role": "user", "content": "Improve that."},)


class Live:
    def __init__(self, *answers):
        self.answers, self.asked = answers, []

    def complete(self, messages, call):
        self.asked.append(call.ask)
        return self.answers


def replay(*exchanges, **options):
    kept = []
    answers = RecordedAnswers(exchanges, live=False, **options)
    return RecordedEndpoint(answers, None, kept.append), answers, kept


def test_answers_come_in_their_order_with_all_their_tries_and_are_recorded_anew():
    first, second = exchange("One."), exchange("Two.")
    endpoint, _, kept = replay(LIMITED, first, second)
    assert endpoint.complete(MESSAGES, Call("1.0.0")) == (LIMITED, first)
    assert endpoint.complete(MESSAGES, Call("1.0.0")) == (second,)
    assert kept == [LIMITED, first, second]


def test_a_failure_is_raised_again_as_it_was_with_what_all_tries_cost():
    endpoint, _, _ = replay(LIMITED, FAILED)
    with pytest.raises(EndpointFailing) as caught:
        answered(endpoint.complete(MESSAGES, Call("1.0.0")))
    assert str(caught.value) == FAILED.said
    assert (caught.value.cost.tokens_in, caught.value.cost.seconds) == (1000, 3.0)


def test_without_a_model_what_the_record_lacks_ends_the_replay():
    endpoint, _, _ = replay(exchange(ask="1.0.0"))
    with pytest.raises(RecordStale, match=r"no answer to 2\.0\.0"):
        endpoint.complete(MESSAGES, Call("2.0.0"))


def test_an_answer_to_another_prompt_is_refused_with_how_to_go_on():
    endpoint, answers, _ = replay(exchange(messages=OTHER))
    with pytest.raises(RecordStale, match="record the run anew"):
        endpoint.complete(MESSAGES, Call("1.0.0"))
    assert answers.stale == 1


def test_a_lenient_replay_counts_answers_to_other_prompts_and_ends_as_a_failure():
    given = exchange("Still good.", messages=OTHER)
    endpoint, answers, _ = replay(given, lenient=True)
    assert endpoint.complete(MESSAGES, Call("1.0.0")) == (given,)
    assert answers.stale == 1
    with pytest.raises(AnswersEnded, match=r"no answer to 1\.0\.0"):
        endpoint.complete(MESSAGES, Call("1.0.0"))


def test_a_resumed_run_asks_the_model_for_what_the_record_lacks_only():
    live, known, new = (
        Live(exchange("New.", ask="2.0.0")),
        exchange(),
        exchange("New.", ask="2.0.0"),
    )
    kept = []
    endpoint = RecordedEndpoint(RecordedAnswers([known], live=True), live, kept.append)
    assert endpoint.complete(MESSAGES, Call("1.0.0")) == (known,)
    assert endpoint.complete(MESSAGES, Call("2.0.0")) == (new,)
    assert (live.asked, kept) == (["2.0.0"], [])


def test_an_ask_that_was_interrupted_between_two_tries_is_tried_on():
    done = exchange("Done.")
    endpoint = RecordedEndpoint(RecordedAnswers([LIMITED], live=True), Live(done))
    assert endpoint.complete(MESSAGES, Call("1.0.0")) == (LIMITED, done)


def test_an_interrupted_ask_that_nobody_tries_on_fails_as_its_last_try_did():
    endpoint, _, _ = replay(LIMITED)
    with pytest.raises(RateLimited, match="Wait a moment"):
        answered(endpoint.complete(MESSAGES, Call("1.0.0")))
