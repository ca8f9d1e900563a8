"""What a routing decision is, and what is kept of the latest ones so that they can be replayed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from sandbox.identity import text_digest
from serving_adapter.seen_rows import SeenRows

REMEMBERED = 256
NO_INSTANCE = -3
MADE = tuple.__new__
"""Makes a named tuple of a class and its values: a decision is timed in microseconds, and to call
the class is one of them."""
HELD_TOO_LONG, BEHIND = "held-too-long", "behind"
"""Why a door asks no policy: it held the request before, or this process runs an old one."""

BUILT_IN_DIGEST = text_digest("evolver built-in: least outstanding requests")
"""What a decision names when no policy made it."""


class Outcome(StrEnum):
    """What becomes of the request."""

    __hash__ = str.__hash__  # an enum's own is slow, and each decision counts by them

    ROUTED = "routed"
    HELD = "held"
    REJECTED = "rejected"
    NO_ENGINE = "no_engine"


class Author(StrEnum):
    """Who decided, in the order in which they are asked."""

    __hash__ = str.__hash__  # an enum's own is slow, and each decision counts by them

    CANARY = "canary"
    ACTIVE = "active"
    LAST_GOOD = "last_good"
    BUILT_IN = "built_in"


class Arm(StrEnum):
    """Whose outcomes a request counts among; `NONE` when it is in no comparison.

    While a canary runs, `POLICY` is the share of requests that it decides, `CONTROL` a share of
    the same size that the active policy decides, and `NONE` the rest.
    """

    __hash__ = str.__hash__

    POLICY = "policy"
    CONTROL = "control"
    NONE = "none"


class Decision(NamedTuple):
    """One decision; every one names the snapshot sequence it was made under.

    Attributes:
        number: counts this host's decisions from 1.
        instance_id: the engine, or `contract.HOLD`, `contract.REJECT`, `NO_INSTANCE`.
        digest: of the policy that decided, `BUILT_IN_DIGEST` when none did.
        reason: why the active policy did not decide, as fault kinds; empty when it did, and for
            requests of the control arm.
        duration_s: wall time of the whole decision, fallbacks included.
        arm: of the comparison between the policy on trial, or the live one, and its control.
        compared: digest of that policy, whoever decided; empty without a comparison.
        boot: of the process that decided.
    """

    number: int
    instance_id: int
    sequence: int
    digest: str
    outcome: Outcome
    author: Author
    reason: str
    duration_s: float
    arm: Arm = Arm.NONE
    compared: str = ""
    boot: str = ""

    @property
    def id(self) -> str:
        """By which `evolver decision replay` finds it; no other decision has it."""
        return f"{self.boot}-{self.number}"


class DecisionInput(NamedTuple):
    """All that a policy was given for one decision, as raw records, and what it answered.

    Attributes:
        request: one `contract.Request` record.
        rows: what `instances` are made of; the records themselves where there are few.
        memory: the router scope's float64 values before the call.
        choice: the returned id; None when it failed with `fault`.
        call_s: wall time of the policy's call.
    """

    number: int
    sequence: int
    digest: str
    request: bytes
    rows: SeenRows | bytes
    memory: bytes
    rotation: int
    fuel: int
    choice: int | None
    fault: str
    call_s: float

    @property
    def instances(self) -> bytes:
        """`contract.Instance` records, before rotation."""
        return self.rows if isinstance(self.rows, bytes) else self.rows.whole()


class RecentInputs:
    """The latest decision inputs, oldest first; the buffer never grows.

    Attributes:
        add: keeps one, dropping the oldest when full.
    """

    def __init__(self, size: int = REMEMBERED) -> None:
        self._kept: deque[DecisionInput] = deque(maxlen=size)
        self.add: Callable[[DecisionInput], None] = self._kept.append

    def __len__(self) -> int:
        return len(self._kept)

    def all(self) -> tuple[DecisionInput, ...]:
        """Everything kept, oldest first; another thread may ask."""
        return tuple(self._kept.copy())

    def take(self) -> DecisionInput | None:
        """Remove the oldest, None when there is none; another thread may ask."""
        try:
            return self._kept.popleft()
        except IndexError:
            return None
