"""Kinds of the fields, hooks and functions that a policy has; see `lattice` for kinds themselves.

int, float, bool; a record; rows of a record; floats (`share`, readable), a vector (`memory`,
`zeros(n)`) and a table (`zeros(n, m)`); tuples, lists, None. Kinds are joined over every
assignment of a variable, whatever the order of the code: bool widens to int and int to float, and
every store converts, so a variable truly holds its kind at all times in both engines.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Annotated, get_args, get_origin, get_type_hints

from sandbox import contract, records, toolkit
from sandbox.language.lattice import BOOL as BOOL
from sandbox.language.lattice import CONFLICT as CONFLICT
from sandbox.language.lattice import FLOAT as FLOAT
from sandbox.language.lattice import FLOATS as FLOATS
from sandbox.language.lattice import INT as INT
from sandbox.language.lattice import NEW_PLAN as NEW_PLAN
from sandbox.language.lattice import NOTHING as NOTHING
from sandbox.language.lattice import NUMBERS as NUMBERS
from sandbox.language.lattice import PLAN as PLAN
from sandbox.language.lattice import SEQUENCES as SEQUENCES
from sandbox.language.lattice import TABLE as TABLE
from sandbox.language.lattice import UNKNOWN as UNKNOWN
from sandbox.language.lattice import VECTOR as VECTOR
from sandbox.language.lattice import Kind as Kind
from sandbox.language.lattice import fits as fits
from sandbox.language.lattice import join as join


@dataclass(frozen=True, slots=True)
class Signature:
    """A hook or toolkit function: its parameters and what it returns."""

    name: str
    parameters: tuple[tuple[str, Kind], ...]
    result: Kind
    framed: bool = False  # takes the frame first, which the lowering adds


def _kind_of(hint: object) -> Kind:
    plain: dict[object, Kind] = {
        int: INT, float: FLOAT, bool: BOOL, type(None): NOTHING, None: NOTHING,
        toolkit.READABLE: FLOATS, toolkit.WRITABLE: VECTOR,
    }  # fmt: skip
    if get_origin(hint) is Annotated:
        base, extra = get_args(hint)[:2]
        if not isinstance(extra, int):
            return _kind_of(extra)
        kind = _kind_of(base)
        return FLOATS if kind == VECTOR else kind
    if isinstance(hint, type) and issubclass(hint, contract.Record):
        return Kind("record", hint.__name__)
    if hint in plain:
        return plain[hint]
    (element,) = get_args(hint)
    return VECTOR if element is float else Kind("rows", element.__name__)


@functools.cache
def fields() -> dict[str, dict[str, Kind]]:
    """Kind of each field, by record."""
    found = {
        name: {
            field: _kind_of(hint)
            for field, hint in get_type_hints(record, include_extras=True).items()
        }
        for name, record in records.records().items()
    }
    return {**found, NEW_PLAN.record: found[PLAN.record]}


@functools.cache
def capacities() -> dict[tuple[str, str], int]:
    """Capacity of each sub-array, by record and field."""
    found: dict[tuple[str, str], int] = {}
    for name, record in records.records().items():
        for field, hint in get_type_hints(record, include_extras=True).items():
            if get_origin(hint) is Annotated:
                found[name, field] = get_args(hint)[1]
    return found


@functools.cache
def hooks() -> dict[str, Signature]:
    """Every hook of the contract, in its order."""
    return {
        name: _signature(name, value)
        for name, value in vars(contract).items()
        if inspect.isfunction(value) and value.__module__ == contract.__name__
    }


@functools.cache
def tools() -> dict[str, Signature]:
    """Every toolkit function that a policy may call."""
    return {
        name: _signature(name, value)
        for name, value in vars(toolkit).items()
        if inspect.isfunction(value)
        and value.__module__ == toolkit.__name__
        and not name.startswith("_")
    }


@functools.cache
def constants() -> dict[str, float]:
    """Numbers in every policy's scope."""
    found = {
        name: value
        for name, value in vars(contract).items()
        if name.isupper() and isinstance(value, int) and name != "CONTRACT_VERSION"
    }
    return {**found, "INF": toolkit.INF}


def _signature(name: str, function: object) -> Signature:
    hints = get_type_hints(function, include_extras=True)
    result = _kind_of(hints.pop("return", None))
    framed = hints.pop("frame", None) is not None
    parameters = tuple(
        (key, NEW_PLAN if key == "new_plan" else _kind_of(hint)) for key, hint in hints.items()
    )
    return Signature(name, parameters, result, framed)


COUNTED_ENGINES = 64
ROW_CAPACITY = {
    "Instance": COUNTED_ENGINES,
    "Running": contract.MAX_RUNNING,
    "Entry": contract.MAX_ENTRIES,
    "Branch": contract.MAX_BRANCHES,
    "Replica": COUNTED_ENGINES,
    "Pool": contract.MAX_POOLS,
    "Shape": contract.MAX_SHAPES,
    "ClassRow": contract.MAX_CLASSES,
    "Move": contract.MAX_RUNNING,
}
"""Most rows that the static cost counts; there may be more engines at run time, for more fuel."""

WRITERS = {
    "want_gpus": "schedule", "bring_in": "prewarm", "prune": "branches",
    "set_token_budget": "tune", "set_speculation": "tune",
    "set_offline_share": "tune", "set_finetune_share": "tune",
}  # fmt: skip
"""Toolkit functions that write into a hook's own argument, and the hook that may."""

PLANNER_HOOKS = frozenset({"schedule", "should_reschedule", "migrate"})
