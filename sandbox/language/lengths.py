"""How long things are at most: integers, ranges, rows and lists, before anything runs."""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable, Iterator

from sandbox import contract
from sandbox.arithmetic import INT_LIMIT
from sandbox.language.inference import Inference
from sandbox.language.iterables import paired, step_of
from sandbox.language.kinds import FLOATS, ROW_CAPACITY, UNKNOWN, Kind, constants
from sandbox.language.lattice import present
from sandbox.language.nodes import walk
from sandbox.language.program import Program

Interval = tuple[int | None, int | None]
Source = tuple[ast.expr | None, bool]  # what a variable is given, as it is or one after the other
MAX_ROUNDS, MAX_STEPS = 12, 20


def settle_lengths(program: Program, inference: Inference) -> None:
    """Find the most elements of every list that never grows after it was made.

    Lists of one cell may be one another, so each is as long as the longest of them. A length that
    keeps growing from round to round is not known.
    """
    bounds = {
        name: Bounds(program, inference.expressions, name) for name in program.functions
    }
    changed, round_ = True, 0
    while changed:
        changed, round_ = False, round_ + 1
        for (name, node), cell in inference.sites.items():
            root = cell.root()
            if root.most is None:
                continue
            most = bounds[name].made(node)
            if most is not None and root.rows:
                most = max(most, ROW_CAPACITY[root.rows])
            if most is None or most > root.most:
                root.most = most if round_ <= MAX_ROUNDS else None
                changed = True


class Bounds:
    """Static intervals of integer expressions, from constants, capacities and tunables."""

    def __init__(self, program: Program, kinds: dict[ast.expr, Kind], function: str) -> None:
        self.program = program
        self.tunables = program.constants
        self.kinds = kinds
        self._function = program.functions[function]
        self._known: dict[str, Interval] = {}
        self._depth = 0

    @functools.cached_property
    def given(self) -> dict[str, list[Source]]:
        """All that each variable of the function is ever given."""
        return _given(self._function)

    def trips(self, arguments: list[ast.expr], step: int) -> int | None:
        """Most turns of a `range` with these arguments; None when nothing is known."""
        start: Interval = (0, 0) if len(arguments) == 1 else self.interval(arguments[0])
        stop = self.interval(arguments[0 if len(arguments) == 1 else 1])
        low, high = (start[0], stop[1]) if step > 0 else (stop[0], start[1])
        if low is None or high is None:
            return None
        return max(0, -(-(high - low) // abs(step)))

    def interval(self, node: ast.expr) -> Interval:
        """Least and greatest value of an integer expression, None where unknown."""
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value, node.value
        if isinstance(node, ast.Name):
            if node.id in self.given:
                return self._remembered(node.id, lambda: self._variable(node.id))
            if node.id in self.program.derived:
                derived = self.program.derived[node.id]
                return self._remembered(node.id, lambda: self.interval(derived))
            return self._name(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            low, high = self.interval(node.operand)
            return _minus(high), _minus(low)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._call(node.func.id, node.args)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            return self._sum(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Pow):
            return self._product(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv | ast.Mod):
            return self._quotient(node)
        return None, None

    def _remembered(self, name: str, find: Callable[[], Interval]) -> Interval:
        """An interval that is looked for once; unknown while it is, since it may hang on itself."""
        if name not in self._known:
            self._known[name] = (None, None)
            if self._depth < MAX_STEPS:
                self._depth += 1
                self._known[name] = find()
                self._depth -= 1
        return self._known[name]

    def _variable(self, name: str) -> Interval:
        """What a variable can be, from all that it is ever given."""
        lows, highs = zip(*(self._given(one) for one in self.given[name]), strict=True)
        return _least(lows), _greatest(highs)

    def _given(self, source: Source) -> Interval:
        node, in_turn = source
        if node is None:
            return None, None
        if not in_turn:
            return self.interval(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "range":
                return self._range(node)
            if node.func.id == "enumerate" and len(node.args) + len(node.keywords) == 1:
                turns = self.turns(node.args[0])
                return 0, None if turns is None else max(turns - 1, 0)
        return None, None

    def _range(self, node: ast.Call) -> Interval:
        first: Interval = (0, 0) if len(node.args) == 1 else self.interval(node.args[0])
        last = self.interval(node.args[0 if len(node.args) == 1 else 1])
        if step_of(node) > 0:
            return first[0], _plus(last[1], -1)
        return _plus(last[0], 1), first[1]

    def _name(self, name: str) -> Interval:
        if name in self.tunables and self.tunables[name].integer:
            return int(self.tunables[name].low), int(self.tunables[name].high)
        value = constants().get(name, math.inf)
        return (int(value), int(value)) if math.isfinite(value) else (None, None)

    def _call(self, name: str, arguments: list[ast.expr]) -> Interval:
        if name == "len" and len(arguments) == 1:
            return 0, self.length(arguments[0])
        if name not in ("min", "max") or len(arguments) < 2:
            return None, None
        lows, highs = zip(*(self.interval(argument) for argument in arguments), strict=True)
        some_low, some_high = _known(lows), _known(highs)
        if name == "min":
            low = min(some_low) if len(some_low) == len(lows) else None
            return low, min(some_high) if some_high else None
        high = max(some_high) if len(some_high) == len(highs) else None
        return max(some_low) if some_low else None, high

    def length(self, node: ast.expr) -> int | None:
        """Most elements of an iterable; None when nothing is known."""
        kind = present(self.kinds.get(node, UNKNOWN))
        if kind.name in ("rows", "list", "tuple"):
            return self.of_kind(kind)
        # Only a field surely has that length: a variable of this kind may be memory or zeros().
        field = kind == FLOATS and isinstance(node, ast.Attribute)
        return contract.MAX_CLASSES if field else None

    def of_kind(self, kind: Kind) -> int | None:
        """Most elements of a value of a kind, as far as the kind says."""
        if kind.name == "rows":
            return ROW_CAPACITY[kind.record]
        if kind.name == "tuple":
            return len(kind.parts)
        return kind.cell.root().most if kind.cell is not None else None

    def turns(self, node: ast.expr) -> int | None:
        """Most elements that a loop over an expression meets."""
        if isinstance(node, ast.GeneratorExp | ast.ListComp):
            return _product([self.turns(generator.iter) for generator in node.generators])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name == "range":
                return self.trips(node.args[:2], step_of(node))
            if name == "zip":
                known = _known(tuple(self.turns(argument) for argument in node.args))
                return min(known) if len(known) == len(node.args) else None
            if name in ("enumerate", "reversed", "sorted"):
                return self.turns(node.args[0])
        return self.length(node)

    def made(self, node: ast.expr) -> int | None:
        """Most elements of the list that an expression makes."""
        if isinstance(node, ast.List):
            return len(node.elts)
        if isinstance(node, ast.Subscript):
            return self.cut(node, self.length(node.value))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self.length(node.left), self.length(node.right)
            return _plus(left, right)
        if isinstance(node, ast.BinOp):
            first = self.kinds[node.left].name == "list"
            source, times = (node.left, node.right) if first else (node.right, node.left)
            return _product([self.length(source), self.interval(times)[1]])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return self.length(node.func.value)
        if isinstance(node, ast.Call):
            return self.turns(node.args[0]) if node.args else 0
        return self.turns(node)

    def cut(self, node: ast.Subscript, most: int | None) -> int | None:
        """Most elements of a slice of something that has at most so many."""
        bounds = node.slice
        upper = bounds.upper if isinstance(bounds, ast.Slice) else None
        low, high = self.interval(upper) if upper is not None else (None, None)
        if low is None or high is None or low < 0:
            return most
        return high if most is None else min(high, most)

    def _product(self, node: ast.BinOp) -> Interval:
        """Of numbers that are not negative."""
        left, right = self.interval(node.left), self.interval(node.right)
        if isinstance(node.op, ast.Pow):
            exact = left[0] == left[1] and right[0] == right[1]
            if exact and left[0] is not None and right[0] is not None and 0 <= right[0] <= 8:
                exact_value = _small(left[0] ** right[0])
                return exact_value, exact_value
            return None, None
        if left[0] is None or right[0] is None or left[0] < 0 or right[0] < 0:
            return None, None
        high = None if left[1] is None or right[1] is None else left[1] * right[1]
        return _small(left[0] * right[0]), _small(high)

    def _quotient(self, node: ast.BinOp) -> Interval:
        """Of a number that is not negative by one that is at least 1."""
        left, right = self.interval(node.left), self.interval(node.right)
        if right[0] is None or right[0] < 1:
            return None, None
        if isinstance(node.op, ast.Mod):
            return 0, _plus(right[1], -1)
        if left[0] is None or left[0] < 0:
            return None, None
        return 0, None if left[1] is None else left[1] // right[0]

    def _sum(self, node: ast.BinOp) -> Interval:
        left, right = self.interval(node.left), self.interval(node.right)
        if isinstance(node.op, ast.Sub):
            right = (_minus(right[1]), _minus(right[0]))
        return _plus(left[0], right[0]), _plus(left[1], right[1])


def _given(function: ast.FunctionDef) -> dict[str, list[Source]]:
    """All that each variable of a function is ever given; None for what nothing is known of."""
    found: dict[str, list[Source]] = {}
    for argument in function.args.args:
        found.setdefault(argument.arg, []).append((None, False))
    plain: set[int] = set()
    for node in walk(function):
        for target, source in _stores(node):
            plain.add(id(target))
            found.setdefault(target.id, []).append(source)
    for node in walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in plain:
            found.setdefault(node.id, []).append((None, False))
        elif isinstance(node, ast.Lambda):
            for argument in node.args.args:
                found.setdefault(argument.arg, []).append((None, False))
    return found


def _stores(node: ast.AST) -> Iterator[tuple[ast.Name, Source]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            for one, value in paired(target, node.value) or [(target, node.value)]:
                if isinstance(one, ast.Name):
                    yield one, (value, False)
    elif isinstance(node, ast.For):
        target = node.target
        if isinstance(target, ast.Tuple) and _is_enumerate(node.iter):
            target = target.elts[0]
        if isinstance(target, ast.Name):
            yield target, (node.iter, True)


def _is_enumerate(node: ast.expr) -> bool:
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(called, ast.Name) and called.id == "enumerate"


def _least(values: tuple[int | None, ...]) -> int | None:
    known = _known(values)
    return min(known) if len(known) == len(values) else None


def _greatest(values: tuple[int | None, ...]) -> int | None:
    known = _known(values)
    return max(known) if len(known) == len(values) else None


def _known(values: tuple[int | None, ...]) -> list[int]:
    return [value for value in values if value is not None]


def _product(values: list[int | None]) -> int | None:
    known = [max(value, 0) for value in values if value is not None]
    return _small(math.prod(known)) if len(known) == len(values) else None


def _minus(value: int | None) -> int | None:
    return None if value is None else -value


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else _small(a + b)


def _small(value: int | None) -> int | None:
    """A bound, unless no integer of a policy reaches it."""
    return None if value is None or abs(value) > INT_LIMIT else value
