"""Makes a kept decision again, on either engine, and says whether it comes out as it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sandbox import contract
from sandbox.engine import EngineName
from sandbox.records import dtype_of
from serving_adapter.activation import Prepare, Ready, Rows
from serving_adapter.asking import DEADLINE_MISSED, ask_policy
from serving_adapter.decision import DecisionInput
from serving_adapter.decision_ring import Kept, kept_inputs
from serving_adapter.errors import AdapterError, PolicyUnusable

ENGINES: tuple[EngineName, ...] = ("compiled", "interpreted")
OUTSIDE = frozenset(
    {DEADLINE_MISSED, "side-process-away", "side-process-died", "interrupted", "no-route"}
)
"""Why a policy gave no answer although its program did nothing wrong."""
MOST_FUEL = 10_000_000


@dataclass(frozen=True, slots=True)
class Again:
    """What one engine says to the same input.

    Attributes:
        choice: None when it failed with `fault`.
        same: whether that is what was answered then; None where it cannot be compared.
    """

    engine: str
    choice: int | None
    fault: str
    same: bool | None


def find(state: Path, word: str) -> list[Kept]:
    """What policies were asked for the decision of that id, as BOOT-NUMBER.

    Raises:
        AdapterError: it is no such id, or nothing is kept of it.
    """
    boot, _, number = word.partition("-")
    if not (number.isdecimal() and len(number) < 19):
        raise AdapterError(f"{word!r} is no decision: give an id that `evolver decision list` has.")
    found = kept_inputs(state / "decisions", boot, int(number))
    if not found:
        raise AdapterError(
            f"No policy was asked for decision {word}, or its input is not kept any more: see "
            "`evolver decision list`."
        )
    return found


def replay(given: DecisionInput, engines: Mapping[str, Prepare], source: str,
           parameters: Mapping[str, float]) -> tuple[Again, ...]:  # fmt: skip
    """Ask a policy again what it was asked.

    Args:
        given: the input, as it was kept.
        engines: how each engine loads a policy.
        source: of the policy; its digest must be the one that decided.
        parameters: its values.

    Raises:
        AdapterError: this is another policy under this version of the contract, or no input that
            a host of this version gives.
    """
    if not is_whole(given):
        raise AdapterError(
            "What is kept of this decision is damaged, or of a host of another version: replay it "
            "with the version that served."
        )
    return tuple(
        _again(name, given, prepare, source, parameters) for name, prepare in engines.items()
    )


def _again(
    engine: str,
    given: DecisionInput,
    prepare: Prepare,
    source: str,
    parameters: Mapping[str, float],
) -> Again:
    try:
        ready = prepare(source, parameters)
    except PolicyUnusable as refusal:
        return Again(engine, None, str(refusal), None)
    if ready.digest != given.digest:
        raise AdapterError(
            f"The policy is {ready.digest[:12]} under this version and decided as "
            f"{given.digest[:12]}: replay it with the version that served."
        )
    memory = np.frombuffer(given.memory).copy()
    request, rows = request_of(given), rows_of(given)
    asked = Ready(ready.digest, ready.router, memory, ready.loaded)
    answer = ask_policy(asked, request, rows, rows["id"], given.rotation, given.fuel)
    same = (answer.choice, answer.fault) == (given.choice, given.fault)
    return Again(engine, answer.choice, answer.fault, None if given.fault in OUTSIDE else same)


def is_whole(given: DecisionInput) -> bool:
    """Whether this is what a host of this version gives a policy; machine code takes it as it is.

    Files are not believed: a memory that is too short, or rows seen from beyond their end, would
    be read and written all the same.
    """
    rows, rest = divmod(len(given.instances), dtype_of(contract.Instance).itemsize)
    return (
        rest == 0
        and len(given.request) == dtype_of(contract.Request).itemsize
        and len(given.memory) == contract.MEMORY_SLOTS * np.dtype(np.float64).itemsize
        and 0 <= given.rotation < max(1, rows)
        and 0 < given.fuel <= MOST_FUEL
    )


def request_of(given: DecisionInput) -> Rows:
    """The request record that was handed over, as a copy."""
    return np.frombuffer(given.request, dtype_of(contract.Request)).copy()


def rows_of(given: DecisionInput) -> Rows:
    """The instance rows that were handed over, before rotation, as a copy."""
    return np.frombuffer(given.instances, dtype_of(contract.Instance)).copy()
