"""The states of a policy version and the moves allowed between them.

    proposed -> verified -> evaluated -> approved -> shadow -> canary -> active -> retired
        |           |           |            |          |         |         |
     refused     refused     rejected     rejected   ejected   ejected   rolled back

A rollout may skip shadow or canary. Taken back by a watchdog (ejected) or a person (rolled back,
rejected), a version goes live again only through a new approval. A version has one state for all
deployments, the furthest it is in: one that is active in one deployment and canary in another is
active, and steps down to canary when the first replaces it.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from policy_store.errors import ForbiddenMove


class State(StrEnum):
    """Where a policy version stands."""

    PROPOSED = "proposed"
    VERIFIED = "verified"
    EVALUATED = "evaluated"
    APPROVED = "approved"
    SHADOW = "shadow"
    CANARY = "canary"
    ACTIVE = "active"
    RETIRED = "retired"
    REFUSED = "refused"
    REJECTED = "rejected"
    EJECTED = "ejected"
    ROLLED_BACK = "rolled_back"


MOVES: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.PROPOSED: frozenset({State.VERIFIED, State.REFUSED}),
        State.VERIFIED: frozenset({State.EVALUATED, State.REFUSED}),
        State.EVALUATED: frozenset({State.APPROVED, State.REJECTED, State.REFUSED}),
        State.APPROVED: frozenset(
            {State.SHADOW, State.CANARY, State.ACTIVE, State.REJECTED, State.EJECTED}
        ),
        State.SHADOW: frozenset(
            {State.CANARY, State.ACTIVE, State.APPROVED, State.REJECTED, State.EJECTED}
        ),
        State.CANARY: frozenset(
            {State.SHADOW, State.ACTIVE, State.APPROVED, State.REJECTED, State.EJECTED}
        ),
        State.ACTIVE: frozenset(
            {State.CANARY, State.SHADOW, State.RETIRED, State.ROLLED_BACK, State.EJECTED}
        ),
        State.RETIRED: frozenset(
            {State.SHADOW, State.CANARY, State.ACTIVE, State.REJECTED, State.EJECTED}
        ),
        # A later verifier may accept what an earlier one refused.
        State.REFUSED: frozenset({State.VERIFIED}),
        State.REJECTED: frozenset({State.APPROVED}),
        State.EJECTED: frozenset({State.APPROVED, State.REJECTED}),
        State.ROLLED_BACK: frozenset({State.APPROVED, State.REJECTED, State.EJECTED}),
    }
)
"""From each state, the states a version may go to next."""

APPROVED_STATES = frozenset(
    {State.APPROVED, State.SHADOW, State.CANARY, State.ACTIVE, State.RETIRED}
)
"""The states in which a version holds a valid approval: only these may be live (law 9)."""


def check_move(old: State, new: State) -> None:
    """Pass when a version may go from `old` to `new`.

    Raises:
        ForbiddenMove: with the moves that are possible from `old`.
    """
    if new in MOVES[old]:
        return
    possible = ", ".join(state.value for state in State if state in MOVES[old])
    raise ForbiddenMove(
        f"A policy that is {old.value} cannot become {new.value}: from here it can only "
        f"become {possible}."
    )
