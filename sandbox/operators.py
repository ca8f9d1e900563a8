"""Kinds of expressions: constants, names, fields, subscripts and operators."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox import calls
from sandbox.kinds import (
    BOOL,
    CONFLICT,
    FLOAT,
    INT,
    NOTHING,
    NUMBERS,
    SEQUENCES,
    TABLE,
    UNKNOWN,
    Kind,
    constants,
    fields,
    join,
    tools,
)  # fmt: skip
from sandbox.program import BUILTINS, closest

if TYPE_CHECKING:
    from sandbox.inference import Inference


def _constant(_inference: Inference, node: ast.Constant) -> Kind:
    if node.value is None:
        return NOTHING
    return {bool: BOOL, int: INT}.get(type(node.value), FLOAT)


def _name(inference: Inference, node: ast.Name) -> Kind:
    name = inference.variable(node.id)
    if name != node.id or node.id in inference.locals_of(inference.function):
        return inference.variables.get((inference.function, name), UNKNOWN)
    if node.id in inference.program.constants:
        return INT if inference.program.constants[node.id].integer else FLOAT
    if node.id in constants():
        return INT if isinstance(constants()[node.id], int) else FLOAT
    known = [*inference.locals_of(inference.function), *inference.program.constants, *constants()]
    if node.id in BUILTINS or node.id in tools() or node.id in inference.program.functions:
        return inference.refuse(node, "function-value", f"{node.id} is a function.", "Call it.")
    mend = closest(node.id, known) or "Define it, or use a record's field."
    return inference.refuse(node, "unknown-name", f"There is no {node.id}.", mend)


def _attribute(inference: Inference, node: ast.Attribute) -> Kind:
    owner = inference.infer(node.value)
    if owner in (UNKNOWN, CONFLICT):
        return owner
    if owner.name != "record":
        return inference.refuse(
            node, "attribute", f"{owner} has no fields.", "Only records have fields."
        )
    known = fields()[owner.record]
    if node.attr not in known:
        mend = closest(node.attr, list(known)) or f"See {owner.record} in the contract."
        return inference.refuse(
            node, "unknown-field", f"{owner.record} has no field {node.attr}.", mend
        )
    inference.fields_read[inference.function].add(f"{owner.record.removeprefix('New')}.{node.attr}")
    return known[node.attr]


def _subscript(inference: Inference, node: ast.Subscript) -> Kind:
    owner = inference.infer(node.value)
    index = node.slice
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    for part in parts:
        inference.integer(part, "The index")
        if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.USub):
            inference.refuse(
                part, "negative-index", "Negative indices are not allowed.",
                "Count from the start: rows[len(rows) - 1].",
            )  # fmt: skip
    if owner in (UNKNOWN, CONFLICT):
        return owner
    if len(parts) == (2 if owner == TABLE else 1):
        if owner.name == "rows":
            return Kind("record", owner.record)
        if owner in SEQUENCES or owner == TABLE:
            return FLOAT
    return inference.refuse(
        node, "subscript", f"{owner} cannot be indexed like this.",
        "Write rows[i], memory[i], or a[i, j] of zeros(n, m).",
    )  # fmt: skip


def _bin_op(inference: Inference, node: ast.BinOp) -> Kind:
    left, right = inference.infer(node.left), inference.infer(node.right)
    kind = arithmetic(inference, node, node.op, left, right)
    if isinstance(node.op, ast.Pow):
        exponent(inference, node, node.right)
    return kind


def exponent(inference: Inference, node: ast.AST, power: ast.expr) -> None:
    """Check the exponent of `**`."""
    value = power.value if isinstance(power, ast.Constant) else None
    if type(value) is not int or not 0 <= value <= 8:
        mend = "Write sqrt(x)." if value == 0.5 else "Use exp(b * log(a)), or 0 .. 8."
        inference.refuse(node, "power", "** needs a constant exponent 0 .. 8.", mend)


def arithmetic(
    inference: Inference, node: ast.AST, operator: ast.operator, left: Kind, right: Kind
) -> Kind:
    """Kind of `left operator right`."""
    for kind in (left, right):
        if kind not in NUMBERS | {UNKNOWN, CONFLICT}:
            return inference.refuse(
                node, "kind", f"There is no arithmetic on {kind}.", "Use its numeric fields."
            )
    if CONFLICT in (left, right):
        return CONFLICT
    if isinstance(operator, ast.Div):
        return FLOAT
    if UNKNOWN in (left, right):
        return UNKNOWN
    if isinstance(operator, ast.Pow):
        return FLOAT if left == FLOAT else INT
    return FLOAT if FLOAT in (left, right) else INT


def _unary_op(inference: Inference, node: ast.UnaryOp) -> Kind:
    if isinstance(node.op, ast.Not):
        inference.condition(node.operand)
        return BOOL
    kind = inference.number(node.operand)
    return INT if kind == BOOL else kind


def _bool_op(inference: Inference, node: ast.BoolOp) -> Kind:
    result = UNKNOWN
    for value in node.values:
        inference.condition(value)
        result = join(result, inference.infer(value))
    return result


def _compare(inference: Inference, node: ast.Compare) -> Kind:
    operands = [node.left, *node.comparators]
    for operator, operand in zip(node.ops, node.comparators, strict=True):
        if isinstance(operator, ast.In | ast.NotIn):
            if len(node.ops) > 1 or not isinstance(operand, ast.Tuple | ast.List):
                return inference.refuse(
                    node, "in", "in needs a tuple of numbers.", "Write x in (MIXED, DECODE)."
                )
            operands = [node.left, *operand.elts]
        elif isinstance(operator, ast.Is | ast.IsNot):
            return inference.refuse(
                node, "none", "is compares objects.", "Compare numbers with == or is_missing."
            )
    for operand in operands:
        inference.number(operand)
    return BOOL


def _if_exp(inference: Inference, node: ast.IfExp) -> Kind:
    inference.condition(node.test)
    first, second = inference.infer(node.body), inference.infer(node.orelse)
    kind = join(first, second)
    if kind == CONFLICT and CONFLICT not in (first, second):
        inference.refuse(
            node, "mixed-kinds", f"This is {first} or {second}.", "Give both the same kind."
        )
    return kind


HANDLERS: dict[type[ast.expr], Callable[..., Kind]] = {
    ast.Constant: _constant, ast.Name: _name,
    ast.Attribute: _attribute, ast.Subscript: _subscript,
    ast.BinOp: _bin_op, ast.UnaryOp: _unary_op,
    ast.BoolOp: _bool_op, ast.Compare: _compare, ast.IfExp: _if_exp,
    ast.Call: calls.call,
}  # fmt: skip
