"""Running and queued told apart by seats, where an engine tells nothing of itself."""

import pytest

from serving_adapter.facts import RequestFacts
from serving_adapter.instances import InstanceTable
from serving_adapter.seats import Seats
from telemetry.engine_signals import EngineSignals

NAMES = ("running_requests", "queued_requests", "queued_prompt_tokens")


@pytest.fixture
def table():
    return InstanceTable()


def sent(table, seats, engine, count):
    flights = []
    for place in range(count):
        facts = RequestFacts(arrived_s=float(place), prompt_tokens=10)
        flights.append(table.dispatch(engine, facts, float(place)))
        seats.sent(flights[-1])
    return flights


def figures(table, engine):
    row = table.offered(RequestFacts(arrived_s=10.0, prompt_tokens=1), 10.0, frozenset())[engine]
    return (*(int(row[name]) for name in NAMES), float(row["oldest_wait_s"]))


@pytest.mark.parametrize(("stated", "running"), [(None, 5), (8, 5), (2, 2), (1, 1)])
def test_as_many_run_as_there_are_seats_and_all_where_nobody_says(table, stated, running):
    seats, engine = Seats(table), table.add()
    seats.stated(engine, stated)
    sent(table, seats, engine, 5)
    oldest_s = 0.0 if running == 5 else 10.0 - running
    assert figures(table, engine) == (running, 5 - running, 10 * (5 - running), oldest_s)


def test_who_leaves_makes_room_for_the_one_that_waits_longest(table):
    seats, engine = Seats(table), table.add()
    seats.stated(engine, 2)
    flights = sent(table, seats, engine, 5)
    gone = [flights[0], flights[3]]  # one that ran, answered in full, and one that never did
    table.tokens(gone[0], 7, 9.0)
    for flight in gone:
        table.finish(flight)
        seats.left(flight)
    assert figures(table, engine) == (2, 1, 10, 6.0)
    for flight in set(flights) - set(gone):
        table.finish(flight)
        seats.left(flight)
    assert figures(table, engine) == (0, 0, 0, 0.0)
    row = table.row(engine)
    assert (row["context_tokens"], row["decoding_requests"], row["tenant_count"]) == (0, 0, 0)


def test_metrics_of_an_engine_are_believed_rather(table):
    seats, engine = Seats(table), table.add()
    seats.stated(engine, None)
    table.scraped(engine, EngineSignals(), 0.0)  # a page without a queue says nothing
    sent(table, seats, engine, 1)
    assert figures(table, engine)[:2] == (1, 0)
    table.scraped(engine, EngineSignals(running=3, waiting=2), 1.0)
    sent(table, seats, engine, 1)
    assert figures(table, engine)[:2] == (3, 3)


def test_an_engine_that_went_keeps_nobody_from_leaving(table):
    seats, engine = Seats(table), table.add()
    seats.stated(engine, 1)
    flights = sent(table, seats, engine, 2)
    table.remove(engine)
    seats.forget(engine)
    for flight in flights:
        table.finish(flight)
        seats.left(flight)
