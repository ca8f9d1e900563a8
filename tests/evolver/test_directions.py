"""Directions: equal for equal seeds, about what the problem exercises, never about what is read."""

from hypothesis import given
from hypothesis import strategies as st
from prompt_request import replace, request

from evolver.directions import direction, hooks_that_count
from evolver.reference import hook_names, signals

seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_equal_seeds_draw_equal_directions(seed):
    assert direction(request(seed=seed)) == direction(request(seed=seed))


@given(seeds)
def test_only_signals_that_hooks_can_read_and_the_parent_does_not(seed):
    asked = request(seed=seed)
    named = direction(asked).partition("among others: ")[2].rstrip(".").split(", ")
    readable = set().union(*(signals(hook) for hook in hooks_that_count(asked)))
    assert len(named) == 3
    assert set(named) <= readable - asked.parent.program.fields_read


def test_hooks_are_those_that_the_problem_names():
    assert hooks_that_count(request()) == ("route", "priority", "admit")
    assert hooks_that_count(request(objective_text="Lower.")) == ("route",)


def test_silent_signals_are_not_named():
    loud = sorted(signals("route"))[::40]
    quiet = sorted(signals("route") - set(loud))
    lines = tuple(
        f"Signals that say nothing here, of {record}: "
        f"{', '.join(n.partition('.')[2] for n in quiet if n.startswith(record))}."
        for record in ("Request", "Instance")
    )
    asked = request(objective_text="", setting_lines=lines, seed=3)
    named = direction(asked).partition("among others: ")[2].rstrip(".").split(", ")
    assert set(named) <= set(loud)


def test_a_route_sees_no_plan():
    assert "Request.prompt_tokens" in signals("route")
    assert "Pool.free" in signals("schedule")
    assert not any(name.startswith(("Plan.", "Window.")) for name in signals("route"))


def test_every_kind_of_direction_is_drawn_sometime():
    drawn = " ".join(direction(request(seed=seed)) for seed in range(300))
    for words in (
        "admit, which it leaves", "its route;", "50 % of the mean", "window t1",
        "TOP was tuned to the upper end", "KNEE: let", "fewer lines", "late requests",
    ):  # fmt: skip
        assert words in drawn


def test_a_problem_without_hooks_or_measurements_has_directions():
    asked = request(objective_text="", setting_lines=(), score_lines=(), worked=())
    program = replace(asked.parent.program, hooks=(), tunables=())
    bare = replace(asked.parent, program=program, results={}, parameters={})
    assert direction(replace(asked, parent=bare, others=())).startswith("Look here first: ")
    assert hook_names()[0] == "should_reschedule"
