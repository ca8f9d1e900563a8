"""Lifts functions within functions to the module, and writes default arguments out at each call.

The names that an inner function takes from around it become parameters, given at each call; a
Python closure reads them at the call, too. What is analysed and run afterwards has functions of
the module only; the canonical text stays as the author wrote it.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.errors import PolicyRefused, Refusal
from sandbox.language.nodes import walk

MAX_CHOICES, MAX_DEPTH, MAX_INNER = 4, 3, 16
MAX_NODES = 12_000  # after calls and defaults are written out


_TOO_LONG = Refusal(
    1, "too-long", "There is too much code once defaults are written out.", "Shorten it."
)


@dataclass(slots=True)
class _Inner:
    """Functions of one name within a function, and what they take from around them.

    Where there are several, a variable of that name says which of them was defined last.
    """

    name: str
    nodes: list[ast.FunctionDef] = field(default_factory=list)
    lifted: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)


Defaults = dict[str, list[tuple[str, ast.expr | None]]]  # parameters and defaults, by function


def lifted(tree: ast.Module) -> ast.Module:
    """A copy of the tree whose functions are all of the module and have no defaults.

    Raises:
        PolicyRefused: an inner function cannot be lifted, or a default is no constant.
    """
    if not _has_inner(tree):
        return tree
    tree = copy.deepcopy(tree)
    body: list[ast.stmt] = []
    tree.body = [_NamedLambdas().visit(node) for node in tree.body]
    for node in tree.body:
        body += _lift(node, 0) if isinstance(node, ast.FunctionDef) else [node]
    tree.body = body
    defaults = {
        node.name: _defaults(node) for node in tree.body if isinstance(node, ast.FunctionDef)
    }
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            _Calls(defaults).visit(node)
    if sum(1 for _ in walk(tree)) > MAX_NODES:
        raise PolicyRefused([_TOO_LONG])
    return tree


def _has_inner(tree: ast.Module) -> bool:
    """Is there anything to lift or to write out?"""
    for outer in tree.body:
        for node in walk(outer):
            if isinstance(node, ast.arguments) and (node.defaults or node.kwonlyargs):
                return True
            if isinstance(node, ast.FunctionDef) and node is not outer:
                return True
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                return True
    return False


def _lift(outer: ast.FunctionDef, depth: int) -> list[ast.stmt]:
    """The inner functions of a function, then the function without them."""
    outer = _NamedLambdas().visit(outer)
    nodes = list(_inner(outer))
    if not nodes:
        return [outer]
    inner = {node.name: _Inner(node.name) for node in nodes}
    for node in nodes:
        inner[node.name].nodes.append(node)
    _check(outer, nodes, inner, depth)
    local = _bound(outer)
    _Remover(inner).visit(outer)
    for one in inner.values():
        free = set().union(*(_read(node) - _bound(node) for node in one.nodes))
        several = {one.name} if len(one.nodes) > 1 else set()
        one.taken = sorted((free | several) & (local - (set(inner) - several)))
    _close(inner)
    for one in inner.values():
        for number, node in enumerate(one.nodes):
            own = _bound(node)
            node.name = f"{outer.name}__{one.name}__{number}"
            one.lifted.append(node.name)
            node.args.args += [
                ast.copy_location(ast.arg(name), node) for name in one.taken if name not in own
            ]
    for function in [outer, *nodes]:
        _Renamer(inner).visit(function)
    return [*(part for node in nodes for part in _lift(node, depth + 1)), outer]


def _check(
    outer: ast.FunctionDef, nodes: list[ast.FunctionDef], inner: dict[str, _Inner], depth: int
) -> None:
    """Functions that share a name have to take the same parameters, and be few."""
    for one in inner.values():
        shapes = {tuple(a.arg for a in _parameters(node)) for node in one.nodes}
        if len(shapes) > 1 or len(one.nodes) > MAX_CHOICES:
            raise PolicyRefused([Refusal(
                one.nodes[-1].lineno, "redefined",
                f"{one.name} is defined several times, with other parameters.",
                "Define it once, and choose inside it with an if.",
            )])  # fmt: skip
    if depth > MAX_DEPTH or len(nodes) > MAX_INNER:
        raise PolicyRefused([Refusal(
            nodes[0].lineno, "too-deep", f"{outer.name} has too many functions within it.",
            "Move them to the module.",
        )])  # fmt: skip


def _close(inner: dict[str, _Inner]) -> None:
    """An inner function also takes what those that it calls take."""
    for _ in inner:
        for one in inner.values():
            called = set().union(*(_read(node) for node in one.nodes)) & set(inner)
            more = {name for other in called for name in inner[other].taken}
            own = set.intersection(*(_bound(node) for node in one.nodes))
            one.taken = sorted({*one.taken, *(more - own)})


def _inner(function: ast.FunctionDef) -> Iterator[ast.FunctionDef]:
    """Functions right inside this one, not those inside them."""
    pending: list[ast.AST] = list(reversed(function.body))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.stmt):
            pending.extend(reversed(list(ast.iter_child_nodes(node))))


def _bound(function: ast.FunctionDef) -> set[str]:
    """Parameters and names that a function assigns, its inner functions included by name."""
    names = {argument.arg for argument in _parameters(function)}
    inside = {id(node) for one in _inner(function) for node in walk(one)}
    for node in walk(function):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names | {one.name for one in _inner(function)}


def _read(function: ast.FunctionDef) -> set[str]:
    return {
        node.id
        for node in walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _parameters(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.args, *function.args.kwonlyargs]


class _NamedLambdas(ast.NodeTransformer):
    """`name = lambda x: ...` as the function that it is."""

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        target, value = node.targets[0], node.value
        if len(node.targets) > 1 or not isinstance(target, ast.Name):
            return node
        if not isinstance(value, ast.Lambda):
            return node
        body: list[ast.stmt] = [ast.copy_location(ast.Return(value.body), node)]
        return ast.copy_location(ast.FunctionDef(target.id, value.args, body, []), node)


class _Remover(ast.NodeTransformer):
    """Takes inner functions out; one of several leaves its number under its name."""

    def __init__(self, inner: dict[str, _Inner]) -> None:
        self.inner = inner

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        one = self.inner.get(node.name)
        if one is None or node not in one.nodes:
            self.generic_visit(node)
            return node
        if len(one.nodes) == 1:
            return ast.copy_location(ast.Pass(), node)
        name = ast.copy_location(ast.Name(one.name, ast.Store()), node)
        number = ast.copy_location(ast.Constant(one.nodes.index(node)), node)
        return ast.copy_location(ast.Assign([name], number), node)


class _Renamer(ast.NodeTransformer):
    """Calls of inner functions by their names in the module, what they take given by name."""

    def __init__(self, inner: dict[str, _Inner]) -> None:
        self.inner = inner

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called not in self.inner:
            self.generic_visit(node)
            return node
        node.args = [self.visit(argument) for argument in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        one = self.inner[called]
        node.keywords += [ast.keyword(name, _name(name, node)) for name in one.taken]
        if len(one.lifted) == 1:
            node.func = _name(one.lifted[0], node)
            return node
        return self._chosen(one, node)

    def _chosen(self, one: _Inner, node: ast.Call) -> ast.expr:
        """The call of the one that was defined last."""
        if any(isinstance(part, ast.Call) for given in node.args for part in walk(given)):
            raise PolicyRefused([Refusal(
                node.lineno, "too-deep", f"{one.name} is one of several functions here.",
                "Call it with plain names, or define it once.",
            )])  # fmt: skip
        calls = [
            ast.Call(_name(lifted, node), copy.deepcopy(node.args), copy.deepcopy(node.keywords))
            for lifted in one.lifted
        ]
        chosen: ast.expr = ast.copy_location(calls[-1], node)
        for number, call in enumerate(calls[:-1]):
            value = ast.copy_location(ast.Constant(number), node)
            test = ast.Compare(_name(one.name, node), [ast.Eq()], [value])
            ast.copy_location(test, node)
            ast.copy_location(call, node)
            chosen = ast.copy_location(ast.IfExp(test, call, chosen), node)
        return chosen

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """An inner function as a value, such as a key: a lambda that calls it."""
        if node.id not in self.inner or not isinstance(node.ctx, ast.Load):
            return node
        one = self.inner[node.id]
        own = [a.arg for a in one.nodes[0].args.args if a.arg not in one.taken]
        if len(own) != 1 or (not one.taken and len(one.lifted) == 1):
            return _name(one.lifted[0], node)
        call = ast.Call(_name(node.id, node), [_name(own[0], node)], [])
        parameter = ast.copy_location(ast.arg(own[0]), node)
        arguments = ast.arguments([], [parameter], None, [], [], None, [])
        body = self.visit(ast.copy_location(call, node))
        return ast.copy_location(ast.Lambda(arguments, body), node)


def _name(name: str, where: ast.expr) -> ast.Name:
    return ast.copy_location(ast.Name(name, ast.Load()), where)


def _defaults(node: ast.FunctionDef) -> list[tuple[str, ast.expr | None]]:
    """Parameters with their defaults; the function loses them."""
    given = node.args
    first = len(given.args) - len(given.defaults)
    found: list[tuple[str, ast.expr | None]] = [
        (argument.arg, given.defaults[place - first] if place >= first else None)
        for place, argument in enumerate(given.args)
    ]
    found += [
        (argument.arg, default)
        for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    for _, default in found:
        if default is not None and not _is_constant(default):
            raise PolicyRefused([Refusal(
                default.lineno, "parameters", "A default is no constant.",
                "Write a number, None or a constant's name.",
            )])  # fmt: skip
    given.args, given.kwonlyargs = [*given.args, *given.kwonlyargs], []
    given.defaults, given.kw_defaults = [], []
    return found


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _is_constant(node.operand)
    if isinstance(node, ast.Tuple):
        return all(_is_constant(part) for part in node.elts)
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.isupper())


class _Calls(ast.NodeTransformer):
    """Writes the defaults that a call leaves out into it."""

    def __init__(self, defaults: Defaults) -> None:
        self.defaults = defaults
        self.written = 0

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        given = {keyword.arg for keyword in node.keywords}
        for parameter, default in self.defaults.get(name, [])[len(node.args) :]:
            if parameter not in given and default is not None:
                value = copy.deepcopy(default)
                for part in walk(value):
                    self.written += 1
                    if isinstance(part, ast.expr):
                        ast.copy_location(part, node)
                if self.written > MAX_NODES:
                    raise PolicyRefused([_TOO_LONG])
                node.keywords.append(ast.keyword(parameter, value))
        return node
