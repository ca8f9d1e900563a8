"""Clocks: leaps of the wall clock end no term before they have lasted; standstills are noticed."""

import pytest

from serving_adapter.safety.clocks import Standstill, TermClock


class Clocks:
    """A wall clock and an even one, both moved by hand."""

    def __init__(self):
        self.wall_s, self.even_s, self.leaps = 1e9, 50.0, []
        self.term = TermClock(
            lambda: self.wall_s, lambda: self.even_s, grace_s=600.0, on_leap=self.leaps.append
        )

    def passes(self, seconds: int, drift_s=0.0) -> float:
        for _ in range(seconds):
            self.wall_s += 1.0 + drift_s
            self.even_s += 1.0
            now_s = self.term.now()
        return now_s - 1e9


def test_without_leaps_it_is_the_wall_clock_drift_and_all():
    clocks = Clocks()
    assert clocks.passes(1000, drift_s=0.01) == pytest.approx(1010.0)
    assert clocks.leaps == []


def test_a_leap_forward_counts_once_it_has_lasted():
    clocks = Clocks()
    clocks.wall_s += 1e6
    assert clocks.passes(599) == pytest.approx(599)
    assert clocks.passes(2) == pytest.approx(1e6 + 601)
    assert clocks.leaps == ["forward"]


def test_a_leap_forward_that_is_taken_back_never_counted():
    clocks = Clocks()
    clocks.wall_s += 1e6
    clocks.passes(300)
    clocks.wall_s -= 1e6
    assert clocks.passes(1000) == pytest.approx(1300)
    assert clocks.leaps == ["forward", "back"]


def test_a_clock_that_is_set_back_is_believed_so_that_nothing_ends_early():
    clocks = Clocks()
    clocks.wall_s -= 5000
    assert clocks.passes(10) == pytest.approx(-4990)
    assert clocks.leaps == ["back"]


def test_a_second_leap_waits_its_own_time():
    clocks = Clocks()
    clocks.wall_s += 100
    clocks.passes(500)
    clocks.wall_s += 100
    assert clocks.passes(599) == pytest.approx(1099)
    assert clocks.passes(2) == pytest.approx(1301)


def test_a_loop_that_stood_still_is_not_judged_by_for_a_while():
    loop = Standstill(pause_s=0.5, settle_s=2.0)
    assert [loop.turn(at_s) for at_s in (0.0, 0.4, 10.0, 10.1)] == [False, False, True, False]
    assert loop.settling(11.9)
    assert not loop.settling(12.1)
