"""What a policy does, hook by hook: the fields and functions it uses, its size, a fingerprint.

A fingerprint is the same for two hooks that decide alike but for the values of their constants:
the names of variables and helpers, comments and the order of definitions leave no trace in it.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sandbox.errors import PolicyRefused, Refusal
from sandbox.identity import text_digest
from sandbox.language import lifting, syntax
from sandbox.language.inference import Inference
from sandbox.language.kinds import tools
from sandbox.language.nodes import walk
from sandbox.language.program import Program, assigned_names, read_program
from sandbox.source import Tunable

MEMORY = "memory"  # listed among the fields that a hook reads


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to read; the smaller, the simpler."""

    lines: int = 0
    loops: int = 0
    branches: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(
            self.lines + other.lines, self.loops + other.loops, self.branches + other.branches
        )


@dataclass(frozen=True, slots=True)
class HookOutline:
    """One hook with the helpers it reaches.

    Attributes:
        fingerprint: equal for hooks that decide alike but for the values of constants.
        shape: the same with every number written in the code left out.
        numbers: those numbers, in an order that the shape fixes.
        reads: record fields, as `Instance.kv_used_tokens`, and `memory`.
        tools: functions of the toolkit it calls.
        constants: names of the module's constants it uses, directly or through others.
        parts: each function in it with its size.
    """

    fingerprint: str
    shape: str
    numbers: tuple[float, ...]
    reads: frozenset[str]
    tools: frozenset[str]
    constants: frozenset[str]
    parts: frozenset[tuple[str, Size]]

    @property
    def size(self) -> Size:
        """Of the hook and its helpers."""
        return sum((size for _, size in self.parts), Size())


@dataclass(frozen=True, slots=True)
class Outline:
    """A whole policy.

    Attributes:
        hooks: those that it defines, by name in the contract's order.
        constants: numbers of the module that a tuner may move, by name.
        derived: other constants (tables, flags, what is computed from constants) as text.
        size: of everything that a hook uses, a line for each constant.
    """

    hooks: Mapping[str, HookOutline]
    constants: Mapping[str, Tunable]
    derived: Mapping[str, str]
    size: Size


@functools.lru_cache(maxsize=256)
def outline_of(text: str) -> Outline:
    """What a policy's text does.

    Raises:
        PolicyRefused: it is no policy.
    """
    try:
        return _outline(text)
    except (RecursionError, MemoryError):
        raise PolicyRefused(
            [Refusal(1, "too-deep", "The code is nested too deeply.", "Use variables.")]
        ) from None


def _outline(text: str) -> Outline:
    program = read_program(lifting.lifted(syntax.parse(text)), syntax.tune_ranges(text))
    _stop_if_refused(program)
    program.drop_unused()
    inference = Inference(program)
    inference.run()
    _stop_if_refused(program)
    spelled = _Spelled(program)
    hooks = {hook: _hook(program, inference, spelled, hook) for hook in program.hooks}
    whole = sum((spelled.sizes[name] for name in program.functions), Size())
    derived = {name: ast.unparse(node) for name, node in program.derived.items()}
    return Outline(
        MappingProxyType(hooks),
        MappingProxyType(dict(program.constants)),
        MappingProxyType(derived),
        whole + Size(len(program.constants) + len(derived)),
    )


def _stop_if_refused(program: Program) -> None:
    if program.refusals:
        raise PolicyRefused(program.refusals[:20])


def _hook(program: Program, inference: Inference, spelled: _Spelled, hook: str) -> HookOutline:
    reached = _in_order(program, hook)
    named = frozenset().union(*(_free_names(program.functions[name]) for name in reached))
    keeps = {MEMORY} if MEMORY in _names(program.functions[hook]) else set()
    return HookOutline(
        fingerprint=spelled.exact[hook],
        shape=spelled.shapes[hook],
        numbers=tuple(number for name in reached for number in spelled.numbers[name]),
        reads=frozenset(keeps.union(*(inference.fields_read[name] for name in reached))),
        tools=named & tools().keys(),
        constants=_constants(program, named),
        parts=frozenset((name, spelled.sizes[name]) for name in reached),
    )


def _in_order(program: Program, hook: str) -> list[str]:
    """The hook and its helpers in an order that does not depend on where they are defined."""
    found: dict[str, None] = {}
    pending = [hook]
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = None
            pending.extend(reversed(program.calls[name]))
    return list(found)


def _names(tree: ast.AST) -> frozenset[str]:
    return frozenset(node.id for node in walk(tree) if isinstance(node, ast.Name))


def _free_names(function: ast.FunctionDef) -> frozenset[str]:
    return _names(function) - assigned_names(function)


def _constants(program: Program, named: frozenset[str]) -> frozenset[str]:
    """Those of the module among some names, and those that they are made of."""
    found = set(named)
    for name in reversed(program.derived):
        if name in found:
            found |= _names(program.derived[name])
    return frozenset(found & (program.constants.keys() | program.derived.keys()))


def _size(function: ast.FunctionDef) -> Size:
    nodes = walk(function)
    loops = sum(isinstance(node, ast.For | ast.comprehension) for node in nodes)
    branches = sum(
        len(node.ifs) if isinstance(node, ast.comprehension)
        else isinstance(node, ast.If | ast.IfExp)
        for node in nodes
    )  # fmt: skip
    return Size(len(ast.unparse(function).splitlines()), loops, branches)


class _Spelled:
    """Every function of a program in one spelling: exact, and as a shape with its numbers."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.exact: dict[str, str] = {}
        self.shapes: dict[str, str] = {}
        self.numbers: dict[str, list[float]] = {}
        self.sizes = {name: _size(node) for name, node in program.functions.items()}
        self.parameters = {
            name: [one.arg for one in node.args.args] for name, node in program.functions.items()
        }
        self.derived: dict[str, str] = {}
        for name, node in program.derived.items():
            self.derived[name] = text_digest(_Speller(self, self.exact).text(node))
        for name in program.order:  # callees first
            function = program.functions[name]
            exact, shape = _Speller(self, self.exact), _Speller(self, self.shapes, numbers=[])
            self.exact[name] = text_digest(exact.function(function))
            self.shapes[name] = text_digest(shape.function(function))
            self.numbers[name] = shape.numbers or []


class _Speller:
    """Writes one function; variables by where they first appear, helpers by what they are."""

    def __init__(
        self, spelled: _Spelled, helpers: Mapping[str, str], numbers: list[float] | None = None
    ) -> None:
        self.spelled = spelled
        self.helpers = helpers
        self.numbers = numbers  # taken out of the text into here
        self.scopes: list[dict[str, str]] = []
        self.met = 0

    def function(self, node: ast.FunctionDef) -> str:
        """A whole function without its name."""
        self.scopes.append(dict.fromkeys(sorted(assigned_names(node)), ""))
        head = ",".join(self._variable(one.arg) for one in node.args.args)
        return f"def({head})" + self._all(node.body)

    def text(self, node: ast.AST) -> str:
        """One node and all below it."""
        if isinstance(node, ast.Name):
            return self._variable(node.id)
        if isinstance(node, ast.Constant):
            return self._constant(node.value)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return self._comprehension(node)
        if isinstance(node, ast.Lambda):
            self.scopes.append({one.arg: "" for one in node.args.args})
            head = ",".join(self._variable(one.arg) for one in node.args.args)
            return self._closed(f"lambda({head})" + self.text(node.body))
        if isinstance(node, ast.keyword):
            return f"{node.arg}={self.text(node.value)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._call(node, node.func.id)
        if isinstance(node, ast.expr_context):
            return type(node).__name__
        inner = (self._field(getattr(node, name, None)) for name in node._fields)
        return f"{type(node).__name__}({','.join(inner)})"

    def _field(self, value: object) -> str:
        if isinstance(value, ast.AST):
            return self.text(value)
        return self._all(value) if isinstance(value, list) else repr(value)

    def _all(self, nodes: Sequence[object]) -> str:
        return "[" + ";".join(self._field(node) for node in nodes) + "]"

    def _constant(self, value: object) -> str:
        if self.numbers is None or type(value) not in (int, float):
            return repr(value)
        self.numbers.append(value)  # type: ignore[arg-type]  # one of the two, as asked above
        return f"<{type(value).__name__}>"

    def _call(self, node: ast.Call, called: str) -> str:
        """Arguments by their place where a helper of the policy takes them by name."""
        places = self.spelled.parameters.get(called, [])
        keywords = [
            (str(places.index(one.arg)) if one.arg in places else str(one.arg), one.value)
            for one in node.keywords
        ]
        given = ",".join(f"{name}={self.text(value)}" for name, value in keywords)
        return f"Call({self._variable(called)},{self._all(node.args)},{given})"

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> str:
        first = self.text(node.generators[0].iter)
        bound = {name for one in node.generators for name in _names(one.target)}
        self.scopes.append(dict.fromkeys(sorted(bound), ""))
        parts = []
        for number, one in enumerate(node.generators):
            source = self.text(one.iter) if number else first
            parts.append(f"for {self.text(one.target)} in {source}{self._all(one.ifs)}")
        return self._closed(f"{type(node).__name__}({parts},{self.text(node.elt)})")

    def _closed(self, text: str) -> str:
        self.scopes.pop()
        return text

    def _variable(self, name: str) -> str:
        for scope in reversed(self.scopes):
            if name in scope:
                if not scope[name]:
                    self.met += 1
                    scope[name] = f"v{self.met}"
                return scope[name]
        if name in self.helpers:
            return self.helpers[name]
        if name in self.spelled.derived:
            return self.spelled.derived[name]
        tunable = self.spelled.program.constants.get(name)
        # A whole number and one with a point are of different kinds, whatever their value.
        return name if tunable is None else f"{name}:{'int' if tunable.integer else 'float'}"
