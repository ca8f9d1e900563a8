import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolver.rate_limit import RateLimit


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def limit(clock, requests=None, tokens=None, concurrency=8):
    return RateLimit(requests, tokens, concurrency, clock, clock.sleep)


@given(st.lists(st.integers(1, 900), max_size=30), st.integers(1, 5), st.integers(100, 2000))
def test_no_minute_holds_more_requests_or_tokens_than_allowed(sizes, requests, tokens):
    clock, begun = Clock(), []
    turns = limit(clock, requests, tokens)
    for size in sizes:
        assert turns.enter(size, 1e9)
        begun.append((clock.now, size))
        turns.leave(size, size, True)
    for start, _ in begun:
        minute = [size for when, size in begun if start <= when < start + 60.0]
        assert len(minute) <= requests
        assert sum(minute) <= tokens or len(minute) == 1


def test_tokens_that_were_not_expected_count_against_the_next_call():
    clock = Clock()
    turns = limit(clock, tokens=1000)
    turns.enter(100, 0.0)
    turns.leave(100, 950, True)
    assert not turns.enter(100, 59.0)
    assert turns.enter(100, 60.0)


def test_after_a_request_to_slow_down_all_pause_and_fewer_run_until_answers_are_good():
    clock = Clock()
    turns = limit(clock, concurrency=4)
    turns.slow_down(10.0)
    assert not turns.enter(1, 9.0)
    assert turns.allowed == 2
    for _ in range(5):
        assert turns.enter(1, 10.0)
        turns.leave(1, 1, True)
    assert turns.allowed == 4
    assert clock.now == 110.0


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_calls_run_at_once_than_allowed(concurrency):
    clock = Clock()
    turns = limit(clock, concurrency=concurrency)
    assert [turns.enter(1, 0.01) for _ in range(4)].count(True) == concurrency
    turns.leave(1, 1, True)
    assert turns.enter(1, 0.01)
