"""The lifecycle: which moves exist, and that no way goes live around an approval."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_store.errors import ForbiddenMove
from policy_store.lifecycle import APPROVED_STATES, MOVES, State, check_move

STATES = st.sampled_from(State)
FORWARD = [State.PROPOSED, State.VERIFIED, State.EVALUATED, State.APPROVED]
FORWARD += [State.SHADOW, State.CANARY, State.ACTIVE, State.RETIRED]


@given(STATES, STATES)
def test_a_move_passes_or_names_the_moves_that_do(old, new):
    if new in MOVES[old]:
        check_move(old, new)
        return
    with pytest.raises(ForbiddenMove) as refusal:
        check_move(old, new)
    possible = str(refusal.value).split("only become ")[1].rstrip(".").split(", ")
    assert {State(name) for name in possible} == MOVES[old]


@given(st.data())
def test_every_walk_enters_approved_states_only_through_an_approval(data):
    state, path = State.PROPOSED, [State.PROPOSED]
    for _ in range(data.draw(st.integers(0, 20))):
        state = data.draw(st.sampled_from(sorted(MOVES[state])))
        path.append(state)
    for before, after in itertools.pairwise(path):
        entered = after in APPROVED_STATES and before not in APPROVED_STATES
        assert not entered or after is State.APPROVED


@pytest.mark.parametrize("step", range(len(FORWARD) - 1))
def test_the_main_road_is_open(step):
    check_move(FORWARD[step], FORWARD[step + 1])


def test_every_state_can_be_reached_and_left():
    reached = {State.PROPOSED}
    while more := set().union(*(MOVES[state] for state in reached)) - reached:
        reached |= more
    assert reached == set(State)
    assert all(MOVES[state] for state in State)


@pytest.mark.parametrize("state", [State.REFUSED, State.REJECTED, State.EJECTED])
def test_what_was_turned_down_cannot_go_straight_to_active(state):
    with pytest.raises(ForbiddenMove, match=f"{state.value} cannot become active"):
        check_move(state, State.ACTIVE)
