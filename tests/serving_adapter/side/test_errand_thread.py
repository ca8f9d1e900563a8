"""The thread for slow work: orders from anywhere, answers, failures, the end."""

import threading

import pytest

from serving_adapter.side.errand_thread import ErrandThread


@pytest.fixture
def thread():
    started = ErrandThread("errands")
    yield started
    started.close()


def test_what_is_told_is_done_in_order_by_one_thread(thread):
    done = []
    for number in range(5):
        thread.soon(lambda number=number: done.append((number, threading.current_thread().name)))
    assert thread.result(lambda: len(done)) == 5
    assert done == [(number, "errands") for number in range(5)]


def test_a_failure_reaches_who_waits_and_else_the_log(thread, caplog):
    thread.soon(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        thread.result(lambda: 1 / 0)
    assert [record.getMessage() for record in caplog.records] == ["errands: ZeroDivisionError"]


def test_a_closed_thread_answers_nobody():
    thread = ErrandThread("errands")
    thread.close()
    thread.soon(lambda: None)
    with pytest.raises(RuntimeError, match="start another"):
        thread.result(lambda: None)
