"""What proposing costs is paid in simulated time before new code enters; the old one serves on."""

import pytest
import small_ground

from evolver.online.arms import Control
from evolver.online.course import Course
from evolver.online.statics import planners
from evolver.online.thinking import Charges, Thought, verified


def begun():
    course = Course(small_ground.ground(), "open", seed=0)
    course.to_trace_time(40.0)
    return course


def never(course, active, former):
    return None


def sources():
    return [verified(human.text) for human in planners()[:2]]


@pytest.mark.parametrize(
    ("factor", "entered_s"), [(1.0, 55.0), (0.3, 45.0), (3.0, 80.0)], ids=["x1", "x0.3", "x3"]
)
def test_new_code_enters_at_the_first_monitoring_point_after_its_charge(factor, entered_s):
    old, new = sources()
    thoughts = [Thought(new, "new", 0.1, replies=0, steps=66, proposed=20)]
    course = begun()
    control = Control(
        course, lambda c, a: thoughts.pop() if thoughts else None, never,
        Charges(workers=1, factor=factor), old,
    )  # fmt: skip
    control.to_the_end()
    assert control.steps[0]["charge_s"] == pytest.approx(13.2 * factor)
    assert [(entry.time_s, entry.digest) for entry in course.entries] == [
        (40.0, old.digest()), (entered_s, new.digest()),
    ]  # fmt: skip


def test_a_reply_costs_its_own_time_and_workers_share_the_rest():
    assert Charges(workers=2).seconds(replies=2, steps=30) == pytest.approx(43.0)


def test_one_search_at_a_time_and_none_too_soon():
    old, _ = sources()
    begins = []

    def think(course, active):
        begins.append(course.now_s)
        return Thought(None, "", 0.0, replies=0, steps=150, proposed=20)

    control = Control(begun(), think, never, Charges(workers=1), old)
    control.to_the_end()
    assert begins[:3] == [40.0, 70.0, 100.0]  # 30 s each, though 20 s apart would be allowed
    assert all(step["entered_s"] is None for step in control.steps)


@pytest.mark.parametrize(("lost", "last"), [(0.5, 0), (0.01, 1)], ids=["much", "little"])
def test_what_entered_gives_way_again_when_the_one_before_would_have_saved_much(lost, last):
    both = sources()
    thoughts = [Thought(both[1], "new", 0.1, replies=0, steps=1, proposed=1)]
    course = begun()
    control = Control(
        course, lambda c, a: thoughts.pop() if thoughts else None, lambda c, a, f: (lost, 1.0),
        Charges(), both[0],
    )  # fmt: skip
    control.to_the_end()
    assert course.entries[-1].digest == both[last].digest()
    assert len(course.entries) == (3 if lost > 0.1 else 2)
