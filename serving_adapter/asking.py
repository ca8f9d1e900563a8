"""Asks one policy one question, and makes an answer of whatever it does."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import NamedTuple

from sandbox import frame
from sandbox.errors import PolicyFault
from serving_adapter.activation import Ready, Rows, is_valid
from serving_adapter.decision import MADE
from serving_adapter.errors import SideProcessAway, SideProcessDied, SideProcessSlow
from serving_adapter.safety.ejection import EjectionKind

INVALID_CHOICE = "invalid-choice"
DEADLINE_MISSED = "deadline-missed"
FAULT_KINDS = {
    frame.FUEL: "fuel",
    frame.ZERO_DIVISION: "zero-division",
    frame.INDEX: "index",
    frame.OVERFLOW: "overflow",
    frame.NOT_A_NUMBER: "not-a-number",
    frame.SCRATCH: "scratch",
}
"""Short names of the engines' faults, for metrics and logs."""


class Answer(NamedTuple):
    """What one policy said: a valid choice, or None and why; `eject` says to take it out.

    `side_busy_s` is what a side process that missed its deadline spent on it.
    """

    choice: int | None
    fault: str = ""
    eject: EjectionKind | None = None
    side_busy_s: float = 0.0


def ask_policy(
    ready: Ready, request: Rows, rows: Rows, ids: Container[int], rotation: int, fuel: int
) -> Answer:
    """Ask for one decision; `ids` are those of `rows`.

    Raises for nothing but an operator's interrupt outside a loop.
    """
    if ready.router is None:
        return Answer(None, "no-route")
    try:
        choice = ready.router.route(request, rows, ready.memory, rotation, fuel)
        if is_valid(choice, ids):
            return MADE(Answer, (choice, "", None, 0.0))
        return Answer(None, INVALID_CHOICE, EjectionKind.ERROR)
    except PolicyFault as stopped:
        return Answer(None, FAULT_KINDS.get(stopped.kind, "other"), EjectionKind.ERROR)
    except SideProcessSlow as slow:
        return Answer(None, DEADLINE_MISSED, side_busy_s=slow.busy_s)
    except SideProcessAway:
        return Answer(None, "side-process-away")
    except SideProcessDied as death:
        return Answer(None, "side-process-died", EjectionKind.CRASH if death.final else None)
    except KeyboardInterrupt:
        _interrupt_soon()
        return Answer(None, "interrupted")
    # Whatever a policy manages to raise, the request must still be served.
    except BaseException as error:
        return Answer(None, type(error).__name__, EjectionKind.ERROR)


def _interrupt_soon() -> None:
    """An operator's interrupt in mid-decision: serve this request, then stop the loop as asked."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise KeyboardInterrupt from None
    loop.call_soon(_interrupt)


def _interrupt() -> None:
    raise KeyboardInterrupt
