"""Writes lowered code: nested blocks of lines, temporaries, and the fuel each block charges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_ATOM = re.compile(r"[A-Za-z_]\w*|\d[\d.e+-]*")


@dataclass(slots=True)
class Block:
    """Lines under one heading, their fuel, and the most that what they call may charge.

    `leaves` and `stops`: whether some line returns from the function, or breaks out of the loop
    whose body this is.
    """

    lines: list[object] = field(default_factory=list)
    units: int = 0
    extra: int = 0
    leaves: bool = False
    stops: bool = False

    @property
    def worst(self) -> int:
        """Most fuel of the block, everything it calls included."""
        return self.units + self.extra


class Writer:
    """The block that is being written, and names that nobody else uses."""

    def __init__(self) -> None:
        self.block = Block()
        self._temporaries = 0

    def emit(self, line: str) -> None:
        """Add a line."""
        self.block.lines.append(line)

    def spend(self, units: int, extra: int = 0) -> None:
        """Count fuel: `units` are charged by the block itself, `extra` by what it calls."""
        self.block.units += units
        self.block.extra += extra

    def temporary(self) -> str:
        """A new name."""
        self._temporaries += 1
        return f"t_{self._temporaries}"

    def saved(self, text: str) -> str:
        """A name for a value: the text itself when it is a name or a number already."""
        if _ATOM.fullmatch(text):
            return text
        name = self.temporary()
        self.emit(f"{name} = {text}")
        return name

    @contextmanager
    def nested(self) -> Iterator[Block]:
        """Write into a new block; the caller places it."""
        outer, self.block = self.block, Block()
        try:
            yield self.block
        finally:
            self.block = outer

    def place_branches(self, test: str, body: Block, orelse: Block) -> None:
        """Put an `if` here; its dearer branch is charged where this block begins."""
        self.emit(f"if {test}:")
        self.block.lines.append(body.lines or ["pass"])
        if orelse.lines:
            self.emit("else:")
            self.block.lines.append(orelse.lines)
        self.block.leaves |= body.leaves or orelse.leaves
        self.block.stops |= body.stops or orelse.stops
        self.spend(max(body.units, orelse.units), max(body.extra, orelse.extra))

    def place_loop(self, turn: str, length: str, body: Block, most: int) -> None:
        """Put a loop of `length` turns here, at most `most`.

        One that always takes all its turns is charged before the first: compiled code then keeps
        nothing in memory from turn to turn. One that may end early is charged turn by turn.
        """
        early = body.leaves or body.stops
        length = length if early else self.saved(length)
        if not early:
            self.emit(f"charge_turns(frame, {body.units}, {length})")
        self.emit(f"for {turn} in range({length}):")
        each_turn = [f"charge(frame, {body.units})"] if early else []
        self.block.lines.append([*each_turn, *body.lines] or ["pass"])
        self.block.leaves |= body.leaves
        self.spend(2, most * body.worst)


def render(lines: list[object], depth: int = 1) -> Iterator[str]:
    """Lines of text, indented by block."""
    for line in lines:
        if isinstance(line, list):
            yield from render(line, depth + 1)
        else:
            yield f"{'    ' * depth}{line}"
