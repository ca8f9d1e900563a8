"""Where a policy can be edited: the scores it compares and the conditions it tests."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

from evolver.draft import Draft, Kinds, expression, locals_of, names_in

SCORE_HOOKS = ("priority", "evict")  # they return a score
CONDITION_HOOKS = ("should_reschedule", "admit")  # they return a condition
SCORED_KINDS = frozenset({"Request", "Instance", "Entry", "Running", "Branch"})


@dataclass(frozen=True, slots=True)
class Site:
    """An expression in its place.

    `records` are the single records in scope there by name, with their kinds.
    """

    function: str
    statement: ast.Assign | ast.Return | ast.If
    block: list[ast.stmt]
    records: Kinds
    before: tuple[ast.stmt, ...]  # what surely ran before in this turn, oldest first
    loops: tuple[ast.For, ...]  # around it, outermost first

    @property
    def value(self) -> ast.expr:
        """The expression."""
        statement = self.statement
        found = statement.test if isinstance(statement, ast.If) else statement.value
        return found if found is not None else ast.Constant(0)

    def put(self, value: ast.expr) -> None:
        """Replace the expression."""
        if isinstance(self.statement, ast.If):
            self.statement.test = value
        else:
            self.statement.value = value

    def insert(self, statement: ast.stmt) -> None:
        """Put a statement on the line before."""
        place = next(i for i, other in enumerate(self.block) if other is self.statement)
        self.block.insert(place, statement)

    def name_before(self, name: str, value: ast.expr) -> ast.Name:
        """Assign a value to a local variable on the line before, and refer to it."""
        self.insert(ast.Assign([ast.Name(name, ast.Store())], value))
        return ast.Name(name, ast.Load())

    def of_kind(self, kind: str) -> list[str]:
        """Names of the records of one kind in scope."""
        return [name for name, found in self.records.items() if found == kind]


def score_sites(draft: Draft) -> list[Site]:
    """Numbers that decide by comparison: costs in loops, keys, and helpers that compute them."""
    return [site for site in _sites(draft) if _is_score(site)]


def condition_sites(draft: Draft) -> list[Site]:
    """Conditions: tests of `if`, and what trigger and admission answer."""
    return [site for site in _sites(draft) if _is_condition(site)]


def gate_sites(draft: Draft) -> list[Site]:
    """Conditions that are answered about a request: by admission, and by helpers."""
    return [site for site in _sites(draft) if _is_gate(site)]


def closed(draft: Draft, site: Site) -> ast.expr | None:
    """The site's expression with local variables written out, None when that is not possible.

    What remains refers to records, constants and functions only.
    """
    value = copy.deepcopy(site.value)
    assigned = [name for statement in site.before for name in _assigned(statement)]
    for statement in reversed(site.before):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name in names_in(value) and assigned.count(name) == 1:
                value = _Substitute({name: statement.value}).visit(value)
    unresolved = names_in(value) & locals_of(draft.functions[site.function])
    return None if unresolved - set(site.records) else value


class _Substitute(ast.NodeTransformer):
    """Puts expressions in the place of names."""

    def __init__(self, values: dict[str, ast.expr]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self._values.get(node.id)
        return node if value is None else copy.deepcopy(value)


def substituted(node: ast.expr, names: dict[str, str]) -> ast.expr:
    """A copy of the expression with names replaced."""
    values = {old: expression(new) for old, new in names.items()}
    changed: ast.expr = _Substitute(values).visit(copy.deepcopy(node))
    return changed


def _sites(draft: Draft) -> Iterator[Site]:
    for name, kinds in draft.kinds().items():
        function = draft.functions[name]
        records = {a.arg: kinds[a.arg] for a in function.args.args if a.arg in kinds}
        yield from _walk(function.body, kinds, Site(name, _NOWHERE, [], _single(records), (), ()))


_NOWHERE = ast.Return(None)


def _walk(body: list[ast.stmt], kinds: Kinds, here: Site) -> Iterator[Site]:
    """The statements of a block as sites; `here` says what is in scope where it begins."""
    for statement in body:
        if isinstance(statement, ast.Assign | ast.Return | ast.If):
            yield replace(here, statement=statement, block=body)
        if isinstance(statement, ast.For):
            names = _single({n: kinds[n] for n in names_in(statement.target) if n in kinds})
            inside = replace(
                here, records={**here.records, **names}, loops=(*here.loops, statement)
            )
            yield from _walk(statement.body, kinds, inside)
        elif isinstance(statement, ast.If):
            yield from _walk(statement.body, kinds, here)
            yield from _walk(statement.orelse, kinds, here)
        here = replace(here, before=(*here.before, statement))


def _single(kinds: Kinds) -> Kinds:
    return {n: k for n, k in kinds.items() if not k.startswith("Rows[") and k != "Memory"}


def _is_score(site: Site) -> bool:
    statement = site.statement
    if isinstance(statement, ast.If) or _is_logical(site.value) or not _per_request(site):
        return False
    if isinstance(site.value, ast.Name | ast.Tuple) or _is_identity(site.value):
        return False
    if isinstance(statement, ast.Return):
        helper = site.function not in HOOKS_WITHOUT_SCORE
        return helper and not isinstance(site.value, ast.Constant)
    target = statement.targets[0]
    return isinstance(target, ast.Name) and any(_compares(loop, target.id) for loop in site.loops)


def _is_condition(site: Site) -> bool:
    if isinstance(site.statement, ast.If):
        return True
    answers = isinstance(site.statement, ast.Return) and site.function in CONDITION_HOOKS
    return answers and not isinstance(site.value, ast.Constant)


def _is_gate(site: Site) -> bool:
    condition = isinstance(site.value, ast.Compare | ast.BoolOp)
    return isinstance(site.statement, ast.Return) and condition and _per_request(site)


def _is_logical(node: ast.expr) -> bool:
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    boolean = isinstance(node, ast.Constant) and isinstance(node.value, bool)
    return negated or boolean or isinstance(node, ast.Compare | ast.BoolOp | ast.Tuple)


def _is_identity(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "id"


def _per_request(site: Site) -> bool:
    kinds = set(site.records.values())
    return bool(kinds) and kinds <= SCORED_KINDS


def _compares(loop: ast.For, name: str) -> bool:
    tests = (n.test for n in ast.walk(loop) if isinstance(n, ast.If))
    return any(name in names_in(test) for test in tests)


def _assigned(statement: ast.stmt) -> set[str]:
    """Names that a statement may assign, itself and inside; a loop's own variable is a record."""
    holder = ast.FunctionDef("", ast.arguments([], [], None, [], [], None, []), [statement], [])
    return locals_of(holder)


HOOKS_WITHOUT_SCORE = frozenset(
    {"route", "route_decode", "branches", "migrate", "prewarm", "tune", *CONDITION_HOOKS}
)
