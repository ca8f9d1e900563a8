"""Light views of rows for the interpreted engine: plain Python numbers in slotted objects.

Values are copied in from memory and, for the records that a policy's toolkit calls write, copied
back; no numpy scalar and no pointer ever reaches policy code.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sandbox.frame import row_dtype
from sandbox.records import records

_CODES = {"i": "q", "f": "d", "b": "?"}


Row = Any  # a light object of a generated class


class Light:
    """Base of the light objects: attributes are exactly a record's fields."""

    __slots__ = ()


class Rows:
    """Rows of a sub-array, each made into a light object when it is first asked for.

    A plan has room for hundreds of replicas and mostly holds a few. Of slices there are only the
    first rows, which share their light objects with the rows they are of.
    """

    __slots__ = ("_count", "_data", "_made", "_view")

    def __init__(self, view: View, data: bytes, count: int, made: dict[int, Row]) -> None:
        self._view, self._data, self._count, self._made = view, data, count, made

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int | slice) -> Row:
        if isinstance(index, slice):
            return Rows(self._view, self._data, index.indices(self._count)[1], self._made)
        if not 0 <= index < self._count:
            raise IndexError("There is no such row.")
        row = self._made.get(index)
        if row is None:
            values = self._view.layout.unpack_from(self._data, index * self._view.layout.size)
            row = self._made[index] = self._view.build(iter(values))
        return row

    def packed(self) -> bytes:
        """All rows as they are in memory, what was written to them included."""
        data, layout = bytearray(self._data), self._view.layout
        for index, row in self._made.items():
            layout.pack_into(data, index * layout.size, *self._view.scalars(row))
        return bytes(data)


@dataclass(frozen=True, slots=True)
class View:
    """How one record is read from memory and written back.

    Attributes:
        kind: its class of light objects.
        layout: every scalar of the record and number of its arrays, with padding; rows of
            records are one piece each.
        build: light object from an iterator over the scalars.
        scalars: the scalars of a light object, in the same order.
    """

    kind: type[Light]
    layout: struct.Struct
    build: Callable[[Iterator[Any]], Any]
    scalars: Callable[[Any], Iterator[Any]]

    def read(self, address: int) -> Row:
        """The row at an address."""
        data = ctypes.string_at(address, self.layout.size)
        return self.build(iter(self.layout.unpack(data)))

    def read_rows(self, address: int, count: int) -> list[Any]:
        """Rows at an address."""
        data = ctypes.string_at(address, self.layout.size * count)
        return [self.build(iter(values)) for values in self.layout.iter_unpack(data)]

    def write(self, address: int, row: Row) -> None:
        """Copy a light object back to its row."""
        data = self.layout.pack(*self.scalars(row))
        ctypes.memmove(address, data, len(data))

    def write_rows(self, address: int, rows: Sequence[Any]) -> None:
        """Copy rows back."""
        for place, row in enumerate(rows):
            self.write(address + place * self.layout.size, row)


@functools.cache
def view_of(record: str) -> View:
    """The view of a record, by name."""
    dtype = row_dtype(record)
    kind = type(record, (Light,), {"__slots__": tuple(dtype.names or ())})
    return View(
        kind,
        struct.Struct("=" + "".join(_format(dtype))),
        _builder(kind, _parts(dtype)),
        functools.partial(_scalars, _parts(dtype)),
    )


Part = tuple[str, int, "View | None"]


def _parts(dtype: np.dtype[np.void]) -> list[Part]:
    """Fields of a dtype: name, number of elements (-1 for a scalar), view of each element."""
    parts: list[Part] = []
    for name in dtype.names or ():
        field = dtype[name]
        count = field.shape[0] if field.shape else -1
        inner = _record_of(field.base) if field.base.names else None
        parts.append((name, count, view_of(inner) if inner else None))
    return parts


@functools.cache
def _by_dtype() -> dict[str, str]:
    return {str(row_dtype(name)): name for name in records()}


def _record_of(dtype: np.dtype[np.void]) -> str:
    return _by_dtype()[str(dtype)]


def _fields(dtype: np.dtype[np.void]) -> Mapping[str, Any]:
    return dtype.fields or {}


def _format(dtype: np.dtype[np.void]) -> Iterator[str]:
    """struct codes of a dtype, its padding written out."""
    place = 0
    for name in dtype.names or ():
        field, offset = _fields(dtype)[name][:2]
        yield "x" * (offset - place)
        repeat = field.shape[0] if field.shape else 1
        base = field.base
        yield f"{field.itemsize}s" if base.names else _CODES[base.kind] * repeat
        place = offset + field.itemsize
    yield "x" * (dtype.itemsize - place)


def _builder(kind: type[Light], parts: list[Part]) -> Callable[[Iterator[Any]], Any]:
    """How a light object is made of its scalars; in one assignment where there are no others.

    Requests and instances are made at every decision: a loop over their fields takes half of it.
    """
    if any(count >= 0 for _, count, _ in parts):
        return functools.partial(_build, kind, parts)
    fields = "".join(f"row.{name}, " for name, _, _ in parts)
    scope: dict[str, Any] = {"kind": kind}
    exec(f"def build(values):\n row = kind()\n {fields}= values\n return row", scope)  # noqa: S102  # ours
    built: Callable[[Iterator[Any]], Any] = scope["build"]
    return built


def _build(kind: type[Light], parts: list[Part], values: Iterator[Any]) -> Light:
    row = kind()
    for name, count, inner in parts:
        if count < 0:
            setattr(row, name, next(values))
        elif inner is None:
            setattr(row, name, [next(values) for _ in range(count)])
        else:
            setattr(row, name, Rows(inner, next(values), count, {}))
    return row


def _scalars(parts: list[Part], row: Light) -> Iterator[Any]:
    for name, count, inner in parts:
        value = getattr(row, name)
        if count < 0:
            yield value
        elif inner is None:
            yield from value
        else:
            yield value.packed()
