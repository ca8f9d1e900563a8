"""Law 4 for runs: a run is a function of its inputs and its record, wherever it was cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolver.budget import Limits
from evolver.errors import RecordStale
from evolver.history import History
from evolver.journal import EventKind, EventList, timeless
from evolver.loop import Search, SearchSettings
from evolver.task import Human
from tests.evolver.conftest import Bowls, LineProposer

HUMANS = [Human("plain", "ALPHA = 9"), Human("better", "ALPHA = 5\nBETA = 2")]


class Tape:
    """A sink that remembers what was measured, and after how many events."""

    def __init__(self):
        self.log, self.results = EventList(), []

    def keep(self, digest, results):
        self.results += [(len(self.log.events), digest, result) for result in results]

    def until(self, cut):
        """The record of a run that was killed after so many events."""
        known = {(d, r.window): r for at, d, r in self.results if at <= cut}
        return History(tuple(self.log.events[:cut]), known)


class Ticking:
    """A clock on which every look takes time."""

    def __init__(self, step=0.01):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def run(task, limits, history=None, seed=1, clock=None):
    tape = Tape()
    search = Search(
        task, [LineProposer()], HUMANS, limits, SearchSettings(seed=seed), [tape.log],
        history=history, keep=tape.keep, clock=clock or Ticking(),
    )  # fmt: skip
    return search.run(), tape


WHOLE, TAPE = run(Bowls(noise=0.01), Limits(evaluations=60))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(TAPE.log.events)))
def test_a_run_that_was_cut_anywhere_comes_to_the_same_end(cut):
    task = Bowls(noise=0.01)
    result, again = run(task, Limits(evaluations=60), TAPE.until(cut))
    assert list(map(timeless, again.log.events)) == list(map(timeless, TAPE.log.events))
    assert result.verdict.winner.digest == WHOLE.verdict.winner.digest


@pytest.mark.parametrize("cut", [1, 9, 40])
def test_nothing_that_was_measured_is_measured_again(cut):
    history, task = TAPE.until(cut), Bowls(noise=0.01)
    run(task, Limits(evaluations=60), history)
    assert not set(task.runs) & set(history.results)


def test_a_run_limited_in_seconds_decides_by_the_recorded_time():
    limits = Limits(seconds=3.0)
    result, tape = run(Bowls(), limits)
    again, replayed = run(Bowls(), limits, tape.until(len(tape.log.events)), clock=Ticking(9.0))
    assert [e.seconds for e in replayed.log.events] == [e.seconds for e in tape.log.events]
    assert all(event.replayed for event in replayed.log.events)
    assert again.evaluations == result.evaluations


def test_a_record_of_another_run_is_refused():
    with pytest.raises(RecordStale, match="the version that began it"):
        run(Bowls(noise=0.01), Limits(evaluations=60), TAPE.until(30), seed=2)


def test_time_goes_on_where_it_stopped():
    history = TAPE.until(30)
    _, again = run(Bowls(noise=0.01), Limits(evaluations=60), history)
    times = [event.seconds for event in again.log.events]
    assert times == sorted(times)
    assert times[30] > history.events[-1].seconds
    assert again.log.of(EventKind.RUN_FINISHED)
