"""Nobody decides on what has not happened: another future leaves every earlier decision alone."""

import numpy as np
import pytest
import small_ground

from evolver.online.arms import Arms, Control, Effort
from evolver.online.course import Course
from evolver.online.past import known_trace, past_of
from evolver.online.statics import planners
from evolver.online.thinking import Charges, Thinker, regret, verified

NOW_S = 80.0
EARLY = (20.0, 35.0)  # a GPU goes and comes back before anything is measured


def at(ground, time_s, mode="open"):
    course = Course(ground, mode, seed=1)
    while course.now_s < time_s:
        assert course.advance()
    return course


def lengths(last):
    """The requests of the last seconds before `NOW_S` answer for much longer than they have run."""
    tokens = np.full(int(small_ground.SPAN_S / 0.5), 60)
    first = int((NOW_S - 1.0) / 0.5)
    tokens[first : first + 2] = last
    return tokens


@pytest.mark.parametrize("mode", ["open", "backlog"])
@pytest.mark.parametrize("change", ["requests", "capacity"])
def test_the_past_of_a_course_knows_no_future(mode, change):
    now_s = NOW_S if mode == "open" else 30.0  # a backlog of so few requests is soon over
    futures = {"requests": {"extra": 200}, "capacity": {"losses": (*EARLY, now_s + 10.0)}}
    pasts = [
        past_of(at(small_ground.ground(**{"losses": EARLY, **given}), now_s, mode))
        for given in ({}, futures[change])
    ]
    facts = [
        [(p.name, p.trace.digest(), p.capacity.trace.digest(), p.cluster) for p in past.pieces]
        for past in pasts
    ]
    assert facts[0] == facts[1]
    assert len(facts[0]) == 3


def test_the_length_of_an_answer_that_has_not_ended_is_not_known():
    known = [
        known_trace(at(small_ground.ground(lengths(last), EARLY), NOW_S)) for last in (1000, 1900)
    ]
    assert np.array_equal(known[0].output_tokens, known[1].output_tokens)
    assert known[0].output_tokens[-1] == 60


def test_another_future_changes_no_decision_before_it():
    statics = planners()[:2]
    found = []
    for given in ({}, {"extra": 200, "losses": (*EARLY, 110.0)}):
        course = at(small_ground.ground(**{"losses": EARLY, **given}), 40.0)
        thinker = Thinker(statics, evaluations=2)
        active = verified(statics[0].text)
        control = Control(
            course, lambda c, a, t=thinker: t.think(past_of(c), a, round(c.now_s)),
            lambda c, a, f: regret(a, f, past_of(c)),
            Charges(), active,
        )  # fmt: skip
        control.enter_first()
        while course.now_s < NOW_S:
            control.turn()
            course.advance()
        found.append((control.steps, course.entries, [p.plan for p in course.points]))
    assert found[0] == found[1]
    assert len(found[0][0]) == 2


def test_all_arms_share_the_past_and_their_parts_add_up(monkeypatch):
    few = planners()[:2]
    monkeypatch.setattr("evolver.online.arms.planners", lambda: few)
    arms = Arms(small_ground.ground(), "backlog", 0, Effort(2, 2, factors=(1.0,))).run()["arms"]
    assert {"no evolution", "evolving", "whole", "regimes", "past:default"} <= set(arms)
    for arm in arms.values():
        parts = arm["scheduling_s"] + arm["reconfiguration_s"] + arm["serving_s"]
        assert parts == pytest.approx(arm["total_s"])
        of_regimes = sum(regime["total_s"] for regime in arm["regimes"])
        assert of_regimes == pytest.approx(arm["total_s"])
        assert sum(r["requests"] for r in arm["regimes"]) == arm["requests"]
    assert len({arm["requests"] for arm in arms.values()}) == 1
