"""Lists of lowered policy code: growing rows of words in the call's scratch.

A list is the place of its header: where its words start, how many elements there are, and for how
many there is room. Elements take `width` words each. Both engines run these functions; only how a
word is read and written differs (`load_int` and its like), so lists cannot differ between them.
Growing charges nothing: an append is charged for the moves it will have caused in the end.
"""

from __future__ import annotations

from typing import Any

from sandbox.arithmetic import SCRATCH_LIMIT, CallFrame, charge, require, reserve, vector
from sandbox.frame import INDEX, SCRATCH
from sandbox.toolkit import order


class ListFrame(CallFrame):
    """The part of a frame that lists touch; the compiled engine keeps words in scratch."""

    words: dict[int, Any]


Frame = ListFrame
Array = Any  # numpy array in the compiled engine, list in the interpreted one
HEADER = 3


def load_int(frame: Frame, place: int) -> Any:  # noqa: ANN401  # an int or a row
    """The word at a place: an integer, a list or a row."""
    return frame.words[place]


def store_int(frame: Frame, place: int, x: Any) -> None:  # noqa: ANN401  # an int or a row
    """Set the word at a place."""
    frame.words[place] = x


def load_float(frame: Frame, place: int) -> float:
    """The word at a place, which is a float."""
    return float(frame.words[place])


def store_float(frame: Frame, place: int, x: float) -> None:
    """Set the word at a place to a float."""
    frame.words[place] = x


def ref(row: Any) -> Any:  # noqa: ANN401  # a row
    """A row as a word."""
    return row


def row_of(_frame: Frame, word: Any) -> Any:  # noqa: ANN401  # a row
    """The row of a word; lowered code has one such function for each record."""
    return word


def fresh(frame: Frame, room: int, width: int) -> int:
    """An empty list with room for that many elements."""
    start = reserve(frame, HEADER + room * width)
    store_int(frame, start, start + HEADER)
    store_int(frame, start + 1, 0)
    store_int(frame, start + 2, room)
    return start


def size(frame: Frame, handle: int) -> int:
    """How many elements a list has."""
    return int(load_int(frame, handle + 1))


def at(frame: Frame, handle: int, i: int, width: int) -> int:
    """Where the words of element i are."""
    require(frame, 0 <= i < size(frame, handle), INDEX)
    return int(load_int(frame, handle)) + i * width


def grown(frame: Frame, handle: int, width: int) -> int:
    """Add an element at the end; where its words are to be put."""
    count = size(frame, handle)
    if count == load_int(frame, handle + 2):
        _enlarge(frame, handle, count, width)
    store_int(frame, handle + 1, count + 1)
    return int(load_int(frame, handle)) + count * width


def _enlarge(frame: Frame, handle: int, count: int, width: int) -> None:
    room = 2 * count if count > 0 else 4
    require(frame, room * width <= SCRATCH_LIMIT - frame.scratch_used, SCRATCH)
    start, old = frame.scratch_used, int(load_int(frame, handle))
    frame.scratch_used += room * width
    for k in range(count * width):
        store_int(frame, start + k, load_int(frame, old + k))
    store_int(frame, handle, start)
    store_int(frame, handle + 2, room)


def opened(frame: Frame, handle: int, i: int, width: int) -> int:
    """Make room for an element before element i, as Python's insert counts; where it goes."""
    count = size(frame, handle)
    place = within(i, count)
    charge(frame, (count - place) * width)
    grown(frame, handle, width)
    start = int(load_int(frame, handle))
    for k in range(count * width - 1, place * width - 1, -1):
        store_int(frame, start + k + width, load_int(frame, start + k))
    return start + place * width


def closed(frame: Frame, handle: int, i: int, width: int) -> None:
    """Take element i out; later ones move up."""
    count = size(frame, handle)
    start = at(frame, handle, i, width)
    moved = (count - 1 - i) * width
    charge(frame, moved)
    for k in range(moved):
        store_int(frame, start + k, load_int(frame, start + k + width))
    store_int(frame, handle + 1, count - 1)


def emptied(frame: Frame, handle: int) -> None:
    """Take every element out."""
    store_int(frame, handle + 1, 0)


def arranged_by(frame: Frame, handle: int, ranks: Array, width: int) -> None:
    """Put the elements in the order of `ranks`, the positions they have now."""
    count = size(frame, handle)
    charge(frame, count * width)
    start, spare = int(load_int(frame, handle)), reserve(frame, count * width)
    for k in range(count * width):
        store_int(frame, spare + k, load_int(frame, start + k))
    for k in range(count):
        source = spare + int(ranks[k]) * width
        for j in range(width):
            store_int(frame, start + k * width + j, load_int(frame, source + j))


def ordered_by(frame: Frame, values: Array, ranks: Array, n: int) -> Array:
    """Positions in the order of values, those of equal values as `ranks` has them."""
    arranged = vector(frame, n)
    for k in range(n):
        arranged[k] = values[int(ranks[k])]
    places = order(frame, arranged, n)
    for k in range(n):
        arranged[k] = ranks[int(places[k])]
    return arranged


def within(i: int, count: int) -> int:
    """A bound of a slice as a position from 0 to count, as Python takes it."""
    if i < 0:
        return i + count if i + count > 0 else 0
    return i if i < count else count
