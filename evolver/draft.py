"""A policy opened for editing: its constants, functions and what kind of record each name holds."""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sandbox import contract
from sandbox.language.program import literal
from sandbox.language.syntax import tune_ranges
from sandbox.language.trees import expression_of, tree_of

Kinds = dict[str, str]
"""Kind of record behind a name: `Instance`, or `Rows[Instance]` for a sequence of them."""

_STUBS = tree_of(inspect.getsource(contract)).body
HOOKS: Mapping[str, tuple[tuple[str, str], ...]] = {
    node.name: tuple((a.arg, ast.unparse(a.annotation)) for a in node.args.args if a.annotation)
    for node in _STUBS
    if isinstance(node, ast.FunctionDef)
}
"""Parameters of each hook with their kinds, from the contract."""

FIELDS: Mapping[str, Mapping[str, str]] = {
    node.name: {
        item.target.id: ast.unparse(item.annotation)
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    for node in _STUBS
    if isinstance(node, ast.ClassDef) and node.name != "Record"
}
"""Fields of each record with their types, from the contract."""

MAX_CLAIM_WORDS = 60
COLUMNS = 96


@dataclass(slots=True)
class Constant:
    """A module constant with the range a tuner may use, None when the text gives none."""

    value: ast.expr
    low: str | None = None
    high: str | None = None

    def line(self, name: str) -> str:
        """The definition as a line of source."""
        tune = f"  # tune: {self.low} .. {self.high}" if self.low is not None else ""
        return f"{name} = {ast.unparse(self.value)}{tune}"


@dataclass(slots=True)
class Draft:
    """A policy as parts; edit freely, then `text()` and verify.

    `wanted` are the hooks that may be written anew; None is any.
    """

    claim: str = ""
    constants: dict[str, Constant] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    wanted: frozenset[str] | None = None

    @classmethod
    def read(cls, text: str, parameters: Mapping[str, float] | None = None) -> Draft:
        """Open a verified text; `parameters` replace the constants they name."""
        tree, ranges = tree_of(text), tune_ranges(text)
        draft = cls(ast.get_docstring(tree) or "")
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                draft.functions[node.name] = _without_docstring(node)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                low, high = ranges.get(node.lineno) or (None, None)
                value = _written(node.value, (parameters or {}).get(name))
                draft.constants[name] = Constant(value, low, high)
        return draft

    def copy(self) -> Draft:
        """An independent copy."""
        return copy.deepcopy(self)

    def text(self) -> str:
        """The source, without constants and helpers that nothing uses."""
        used = self.reachable(set(self.hooks))
        lines = ['"""' + _shortened(self.claim) + '"""', ""]
        lines += [c.line(name) for name, c in self.constants.items() if name in used]
        for name, function in self.functions.items():
            if name in used:
                lines += ["", "", ast.unparse(ast.fix_missing_locations(function))]
        return "\n".join(lines) + "\n"

    @property
    def hooks(self) -> list[str]:
        """The hooks it defines."""
        return [name for name in self.functions if name in HOOKS]

    def reachable(self, roots: set[str]) -> set[str]:
        """Constants and functions that the roots need, themselves included."""
        found, pending = set[str](), list(roots)
        while pending:
            name = pending.pop()
            if name in found:
                continue
            found.add(name)
            pending.extend(self.needs(name))
        return found

    def needs(self, name: str) -> set[str]:
        """Constants and functions that one definition refers to."""
        if name in self.functions:
            node: ast.AST = self.functions[name]
        elif name in self.constants:
            node = self.constants[name].value
        else:
            return set()
        local = locals_of(node) if isinstance(node, ast.FunctionDef) else set()
        return (names_in(node) - local) & (self.functions.keys() | self.constants.keys())

    def taken(self) -> set[str]:
        """Every name in use at module level or inside a function."""
        inner = (names_in(f) | locals_of(f) for f in self.functions.values())
        return set(self.constants).union(self.functions, *inner)

    def fresh(self, wanted: str) -> str:
        """`wanted`, or with the first number that makes it new."""
        taken = self.taken()
        names = (wanted, *(f"{wanted}_{i}" for i in range(2, 1000)))
        return next(name for name in names if name not in taken)

    def add_constant(self, wanted: str, value: float, low: float, high: float) -> ast.Name:
        """Define a new tunable and give a reference to it."""
        name = self.fresh(wanted)
        texts = [f"{x:.4g}" for x in (value, low, high)]
        texts = [t if any(c in t for c in ".e") else f"{t}.0" for t in texts]
        self.constants[name] = Constant(expression(texts[0]), texts[1], texts[2])
        return ast.Name(name, ast.Load())

    def kinds(self) -> dict[str, Kinds]:
        """Kinds of the names in each function that a hook reaches."""
        known: dict[str, Kinds] = {}
        pending = [
            (hook, dict(zip(parameters_of(self.functions[hook]), _kinds_of(hook), strict=False)))
            for hook in self.hooks
        ]
        while pending:
            name, kinds = pending.pop()
            if name not in known:
                known[name] = _with_loops(self.functions[name], kinds)
                pending.extend(self._calls(self.functions[name], known[name]))
        return known

    def _calls(self, function: ast.FunctionDef, kinds: Kinds) -> Iterator[tuple[str, Kinds]]:
        """Helpers that the function calls, with the kinds of what it hands over."""
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                helper = self.functions.get(node.func.id)
                if helper is not None:
                    given = (kind_of(argument, kinds) for argument in node.args)
                    pairs = zip(parameters_of(helper), given, strict=False)
                    yield node.func.id, {name: kind for name, kind in pairs if kind}


def expression(text: str) -> ast.expr:
    """The tree of one expression."""
    return expression_of(text)


def parsed_function(text: str) -> ast.FunctionDef:
    """The tree of one function.

    Raises:
        TypeError: the text is something else.
    """
    node = tree_of(text).body[0]
    if not isinstance(node, ast.FunctionDef):
        raise TypeError("The text is no function definition: correct the template.")
    return node


def parameters_of(function: ast.FunctionDef) -> list[str]:
    """Names of the parameters."""
    return [argument.arg for argument in function.args.args]


def names_in(node: ast.AST) -> set[str]:
    """Every name that is read or written."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def locals_of(function: ast.FunctionDef) -> set[str]:
    """Parameters and names the function assigns."""
    stored = {
        n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    return stored | set(parameters_of(function))


def kind_of(node: ast.expr, kinds: Kinds) -> str | None:
    """Kind of record (or rows of records) that an expression is; None for numbers."""
    if isinstance(node, ast.Name):
        return kinds.get(node.id)
    inner = kind_of(node.value, kinds) if isinstance(node, ast.Attribute | ast.Subscript) else None
    if inner is None:
        return None
    if isinstance(node, ast.Subscript):
        return inner[5:-1] if inner.startswith("Rows[") else None
    declared = FIELDS.get(inner, {}).get(node.attr, "") if isinstance(node, ast.Attribute) else ""
    return declared[10:].split(",")[0] if declared.startswith("Annotated[Rows") else None


def _with_loops(function: ast.FunctionDef, kinds: Kinds) -> Kinds:
    """The kinds of parameters and of the variables of loops over rows."""
    known = dict(kinds)
    for node in ast.walk(function):
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            rows = kind_of(node.iter, known)
            if rows is not None and rows.startswith("Rows["):
                known[node.target.id] = rows[5:-1]
    return known


def _kinds_of(hook: str) -> tuple[str, ...]:
    return tuple(kind for _, kind in HOOKS[hook])


def _written(value: ast.expr, replacement: float | None) -> ast.expr:
    """The value with a number put in its place, whole where it was whole."""
    if replacement is None:
        return value
    whole = isinstance(literal(value), int) and float(replacement).is_integer()
    return expression(repr(int(replacement) if whole else float(replacement)))


def _without_docstring(function: ast.FunctionDef) -> ast.FunctionDef:
    if ast.get_docstring(function) is not None and len(function.body) > 1:
        function.body = function.body[1:]
    return function


def _shortened(claim: str) -> str:
    """The claim as it can stand in a docstring: plain characters, short lines, not too long."""
    plain = claim.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
    words = plain.split()
    kept = " ".join(words[:MAX_CLAIM_WORDS]) + (" ..." if len(words) > MAX_CLAIM_WORDS else "")
    return textwrap.fill(kept, COLUMNS)
