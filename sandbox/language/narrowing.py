"""Which variables are surely not None, from the tests that stand around a place.

Lowered code still looks where such a variable is read: a mistake here would stop a policy, and
never let it read what is not there.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from sandbox.language.kinds import NOTHING, Kind
from sandbox.language.lattice import present
from sandbox.language.program import stored_names

if TYPE_CHECKING:
    from sandbox.language.inference import Inference


def branches(inference: Inference, node: ast.If) -> None:
    """Infer an `if`; a branch that never comes to its end says what holds after the other."""
    inference.condition(node.test)
    before, ends = inference.held, []
    for body, truth in ((node.body, True), (node.orelse, False)):
        inference.held = before | not_none(inference, node.test, truth)
        inference.block(body)
        if not _leaves(body):
            ends.append(inference.held)
    inference.held = frozenset.intersection(*ends) if ends else before


def not_none(inference: Inference, test: ast.expr, truth: bool) -> set[str]:
    """Variables that are surely not None where a test has come out like this."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return not_none(inference, test.operand, not truth)
    if isinstance(test, ast.BoolOp):
        known = [not_none(inference, value, truth) for value in test.values]
        return set().union(*known) if isinstance(test.op, ast.And) == truth else set()
    if isinstance(test, ast.Compare) and is_none_test(test.ops[0], test.comparators[0]):
        absent = isinstance(test.ops[0], ast.Is | ast.Eq)
        test, truth = test.left, truth != absent
    return {inference.variable(test.id)} if isinstance(test, ast.Name) and truth else set()


def is_none_test(operator: ast.cmpop, right: ast.expr) -> bool:
    """Is it `... is None`, `... is not None` or the same with ==?"""
    none = isinstance(right, ast.Constant) and right.value is None
    return none and isinstance(operator, ast.Is | ast.IsNot | ast.Eq | ast.NotEq)


def needed(inference: Inference, node: ast.expr) -> Kind:
    """Kind of a value whose field, element or length is asked for: None has none of these.

    What may be None stops the policy when it runs; what can only be None is kept to be refused.
    """
    kind = inference.infer(node)
    if kind == NOTHING and inference.reporting:
        inference.absent.append(node)
    return present(kind)


def assigned_in(inference: Inference, node: ast.For) -> set[str]:
    """Names that a loop assigns: what was known of them before it, is not in its body."""
    if node not in inference.assigned_in:
        inference.assigned_in[node] = stored_names(node)
    return inference.assigned_in[node]


def _leaves(body: list[ast.stmt]) -> bool:
    """Is the end of a block never reached?"""
    return any(
        isinstance(node, ast.Return | ast.Break | ast.Continue)
        or (isinstance(node, ast.If) and _leaves(node.body) and _leaves(node.orelse))
        for node in body
    )
