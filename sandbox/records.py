"""Numpy structured dtypes of the contract's records, derived from their annotations."""

from __future__ import annotations

from typing import Annotated, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from sandbox import contract

_SCALARS: dict[object, str] = {int: "i8", float: "f8", bool: "?"}


def count_field(name: str) -> str:
    """Name of the hidden field that counts the filled rows of sub-array `name`."""
    return f"n_{name}"


_dtypes: dict[str, np.dtype[np.void]] = {}


def dtype_of(record: type[contract.Record]) -> np.dtype[np.void]:
    """Aligned dtype of a record: i8, f8 and bool scalars, sub-arrays with an `n_<name>` count."""
    if record.__name__ not in _dtypes:
        _dtypes[record.__name__] = _build(record)
    return _dtypes[record.__name__]


def _build(record: type[contract.Record]) -> np.dtype[np.void]:
    fields: list[tuple[object, ...]] = []
    for name, hint in get_type_hints(record, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            fields.append((name, _SCALARS[hint]))
            continue
        rows, capacity = get_args(hint)
        (element,) = get_args(rows)
        if element is float:
            fields.append((name, "f8", (capacity,)))
        else:
            fields.append((count_field(name), "i8"))
            fields.append((name, dtype_of(element), (capacity,)))
    return np.dtype(fields, align=True)


def new_rows(record: type[contract.Record], count: int) -> npt.NDArray[np.void]:
    """`count` zeroed rows of a record."""
    return np.zeros(count, dtype=dtype_of(record))


def records() -> dict[str, type[contract.Record]]:
    """Every record of the contract by class name."""
    return {
        name: value
        for name, value in vars(contract).items()
        if isinstance(value, type)
        and issubclass(value, contract.Record)
        and value is not contract.Record
    }
