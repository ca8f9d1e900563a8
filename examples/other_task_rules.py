"""The candidates of `other_task.py`: one expression that says how urgent a job is.

It may name a job's numbers, use constants, arithmetic, comparisons, `a if test else b`, `min` and
`max`, and nothing else. It is never executed: what it means is put together here, part by part.
"""

from __future__ import annotations

import ast
import hashlib
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CHARACTERS, MOST_PARTS, LARGEST = 1000, 40, 100.0
NAMES = ("arrived", "minutes", "weight")
CALLS = {"min": np.minimum, "max": np.maximum}
OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / np.where(b == 0.0, 1.0, b),
    ast.Lt: lambda a, b: (a < b) * 1.0,
    ast.Gt: lambda a, b: (a > b) * 1.0,
}
Jobs = Mapping[str, NDArray[np.float64]]
Meaning = Callable[[Jobs, Sequence[float]], Any]


class NotARule(ValueError):
    """A text that is no rule: the reason, and how to mend it."""


@dataclass(frozen=True)
class Number:
    """A constant of a rule, for the tuner."""

    name: str
    value: float
    low: float = 0.0
    high: float = LARGEST
    integer: bool = False


class Rule:
    """A checked expression; its numbers are its constants K0, K1, ... from left to right."""

    claim = ""

    def __init__(self, text: str) -> None:
        try:
            self.tree = ast.parse(text[:MOST_CHARACTERS].strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise NotARule("It is no expression.", "Write one, as weight - arrived.") from None
        self.parts: list[ast.AST] = []
        self._numbers: list[ast.Constant] = []
        self._meaning = self._read(self.tree.body)
        self.canonical = ast.unparse(self.tree) + "\n"

    def _read(self, node: ast.AST) -> Meaning:
        """What an expression means, once it is known to be allowed."""
        self.parts.append(node)
        if len(self.parts) > MOST_PARTS:
            raise NotARule(f"It has more than {MOST_PARTS} parts.", "Write a shorter one.")
        match node:
            case ast.Name(id=name) if name in NAMES:
                return lambda jobs, _: jobs[name]
            case ast.Constant(value=int() | float() as value) if 0 <= value <= LARGEST:
                self._numbers.append(node)
                place = len(self._numbers) - 1
                return lambda _, numbers: numbers[place]
            case ast.UnaryOp(op=ast.USub(), operand=part):
                inner = self._read(part)
                return lambda *given: -inner(*given)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                then, when, other = self._read(body), self._read(test), self._read(orelse)
                return lambda *given: np.where(when(*given), then(*given), other(*given))
            case (
                ast.BinOp(left=left, op=op, right=right)
                | ast.Compare(left=left, ops=[op], comparators=[right])
            ) if type(op) in OPERATORS:
                return self._pair(OPERATORS[type(op)], left, right)
            case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in CALLS:
                return self._pair(CALLS[name], left, right)
        raise NotARule(f"`{ast.unparse(node)[:80]}` is not allowed.", "Leave it out.")

    def _pair(self, function: Callable[[Any, Any], Any], left: ast.AST, right: ast.AST) -> Meaning:
        one, other = self._read(left), self._read(right)
        return lambda *given: function(one(*given), other(*given))

    @property
    def tunables(self) -> tuple[Number, ...]:
        """The numbers in it."""
        return tuple(Number(f"K{k}", float(n.value)) for k, n in enumerate(self._numbers))

    def parameters(self) -> dict[str, float]:
        """The numbers as written."""
        return {number.name: number.value for number in self.tunables}

    def written(self, parameters: Mapping[str, float]) -> str:
        """The text with other numbers."""
        other = Rule(self.canonical)
        for node, value in zip(other._numbers, self._values(parameters), strict=True):
            node.value = value
        return ast.unparse(other.tree) + "\n"

    def _values(self, parameters: Mapping[str, float] | None) -> list[float]:
        return list({**self.parameters(), **(parameters or {})}.values())

    def digest(self, parameters: Mapping[str, float] | None = None) -> str:
        """Identity: the text with these numbers in it."""
        return hashlib.sha256(self.written(parameters or {}).encode()).hexdigest()

    def annotated(self) -> str:
        """The text; a rule has nothing to add to it."""
        return self.canonical

    def urgency(self, parameters: Mapping[str, float], jobs: Jobs) -> NDArray[np.float64]:
        """What the rule gives each job, from one array for each of `NAMES`."""
        found = self._meaning(jobs, self._values(parameters))
        return np.broadcast_to(np.asarray(found, np.float64), jobs["weight"].shape)
