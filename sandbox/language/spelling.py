"""One spelling for each idiom: `math.` functions, annotations, strings that say nothing.

Authors write `import math` and `float("inf")` out of habit. The canonical text has the
toolkit's word instead, so that what is reviewed is what runs.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable

from sandbox.language.nodes import walk

MAX_WRITTEN_OUT = 64  # numbers of a constant range

_SAME = frozenset({"sqrt", "exp", "floor", "ceil"})
_RENAMED = {"isnan": "is_missing", "fabs": "abs", "trunc": "int"}
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}
_DROPPED_MODULES = frozenset({"math", "typing", "__future__", "collections.abc", "numbers"})
_SCALED_LOGS = {"log2": math.log(2.0), "log10": math.log(10.0)}


def respelled(tree: ast.Module) -> ast.Module:
    """The tree with every idiom in its one spelling; changes the tree that is given."""
    _Speller(tree).visit(tree)
    return tree


class _Speller(ast.NodeTransformer):
    def __init__(self, tree: ast.Module) -> None:
        self.from_math = {
            alias.name
            for node in walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "math"
            for alias in node.names
        }
        self.bound = {
            node.id for node in walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        } | {node.arg for node in walk(tree) if isinstance(node, ast.arg)}  # fmt: skip

    def visit_Module(self, node: ast.Module) -> ast.AST:
        self.generic_visit(node)
        node.body = [part for one in node.body for part in _split(one)]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        return _filled(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        return _filled(node)

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        return _filled(node)

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        fine = all(one.name in _DROPPED_MODULES and one.asname is None for one in node.names)
        return None if fine else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        fine = node.module in _DROPPED_MODULES and not node.level
        return None if fine and all(_is_plain(one) for one in node.names) else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None if isinstance(node.target, ast.Name) else node
        node.target, node.value = self.visit(node.target), self.visit(node.value)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        infinite = _written_float(node)
        if infinite is not None:
            return ast.copy_location(infinite, node)
        name = self._math_name(node.func)
        self.generic_visit(node)
        if name in _CALLS and not node.keywords:
            return _located(_CALLS[name](node), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        value = _value(self._math_name(node))
        if value is not None:
            return _located(value, node)
        self.generic_visit(node)
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        value = _value(self._math_name(node)) if isinstance(node.ctx, ast.Load) else None
        return _located(value, node) if value is not None else node

    def _math_name(self, node: ast.expr) -> str:
        """What `math` calls it, empty when it is nothing of `math`."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return node.attr if node.value.id == "math" and "math" not in self.bound else ""
        if isinstance(node, ast.Name) and node.id not in self.bound:
            return node.id if node.id in self.from_math else ""
        return ""


def _is_plain(alias: ast.alias) -> bool:
    return alias.asname is None and alias.name.isidentifier() and not alias.name.startswith("_")


def _value(name: str) -> ast.expr | None:
    """The toolkit's word for a function or constant of `math`."""
    if name in _SAME or name == "log":
        return ast.Name(name, ast.Load())
    if name in _RENAMED:
        return ast.Name(_RENAMED[name], ast.Load())
    if name in _CONSTANTS:
        return ast.Constant(_CONSTANTS[name])
    return {"inf": _infinity(), "nan": _no_number()}.get(name)


def _infinity() -> ast.expr:
    return ast.Name("INF", ast.Load())


def _no_number() -> ast.expr:
    return ast.BinOp(_infinity(), ast.Sub(), _infinity())


def _scaled_log(name: str) -> Callable[[ast.Call], ast.expr]:
    def write(node: ast.Call) -> ast.expr:
        log = ast.Call(ast.Name("log", ast.Load()), node.args, [])
        return ast.BinOp(log, ast.Div(), ast.Constant(_SCALED_LOGS[name]))

    return write


def _log(node: ast.Call) -> ast.expr:
    if len(node.args) != 2:
        return node
    first, base = (ast.Call(ast.Name("log", ast.Load()), [x], []) for x in node.args)
    return ast.BinOp(first, ast.Div(), base)


def _log1p(node: ast.Call) -> ast.expr:
    more: list[ast.expr] = [ast.BinOp(ast.Constant(1.0), ast.Add(), x) for x in node.args]
    return ast.Call(ast.Name("log", ast.Load()), more, [])


def _magnitude(operator: ast.cmpop) -> Callable[[ast.Call], ast.expr]:
    def write(node: ast.Call) -> ast.expr:
        size = ast.Call(ast.Name("abs", ast.Load()), node.args, [])
        return ast.Compare(size, [operator], [_infinity()])

    return write


_CALLS: dict[str, Callable[[ast.Call], ast.expr]] = {
    "log": _log, "log1p": _log1p, "log2": _scaled_log("log2"), "log10": _scaled_log("log10"),
    "isinf": _magnitude(ast.Eq()), "isfinite": _magnitude(ast.Lt()),
}  # fmt: skip


def _written_float(node: ast.Call) -> ast.expr | None:
    """`float("inf")` and its like as what they are."""
    if not (isinstance(node.func, ast.Name) and node.func.id == "float" and len(node.args) == 1):
        return None
    given = node.args[0]
    word = given.value if isinstance(given, ast.Constant) else None
    if not isinstance(word, str) or node.keywords:
        return None
    size = word.lower().removeprefix("-").removeprefix("+")
    value = {"inf": _infinity(), "infinity": _infinity(), "nan": _no_number()}.get(size)
    if value is None:
        return None
    return _located(ast.UnaryOp(ast.USub(), value) if word.startswith("-") else value, node)


def _located(node: ast.expr, where: ast.expr) -> ast.expr:
    for part in walk(node):
        if isinstance(part, ast.expr) and not hasattr(part, "lineno"):
            ast.copy_location(part, where)
    return node


def _filled(node: ast.FunctionDef | ast.If | ast.For) -> ast.AST:
    """A block that lost its last statement says pass."""
    if not node.body:
        node.body = [ast.copy_location(ast.Pass(), node)]
    return node


def _written_out(node: ast.expr) -> ast.expr:
    """`range(3)`, or `tuple(range(3))`, of few and constant numbers as the tuple it is."""
    inner = node
    if isinstance(node, ast.Call) and _called(node) in ("tuple", "list") and len(node.args) == 1:
        inner = node.args[0]
    if not isinstance(inner, ast.Call) or _called(inner) != "range" or inner.keywords:
        return node
    bounds = [part.value for part in inner.args if isinstance(part, ast.Constant)]
    numbers = [bound for bound in bounds if type(bound) is int]
    if not 1 <= len(numbers) == len(inner.args) <= 3 or numbers[2:] == [0]:
        return node
    found = range(*numbers)
    if not 0 < len(found) <= MAX_WRITTEN_OUT:
        return node
    return _located(ast.Tuple([ast.Constant(one) for one in found], ast.Load()), node)


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) and not node.keywords else ""


def _split(node: ast.stmt) -> list[ast.stmt]:
    """`A, B = 1, 2` as one constant a line; a list or range of constants as a tuple."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return [node]
    node.value = _written_out(node.value)
    target, value = node.targets[0], node.value
    if isinstance(value, ast.List):  # nobody can change a constant
        node.value = ast.copy_location(ast.Tuple(value.elts, ast.Load()), value)
    if not isinstance(target, ast.Tuple) or not isinstance(value, ast.Tuple | ast.List):
        return [node]
    if len(target.elts) != len(value.elts):
        return [node]
    return [
        ast.copy_location(ast.Assign([name], number), node)
        for name, number in zip(target.elts, value.elts, strict=True)
    ]
