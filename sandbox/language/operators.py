"""Kinds of expressions: constants, names, fields, subscripts and operators."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.language import calls
from sandbox.language.canonical import shown
from sandbox.language.iterables import comprehension, yielded
from sandbox.language.kinds import (
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
from sandbox.language.lattice import all_of, element_of, is_ordered, present, tuple_of
from sandbox.language.narrowing import is_none_test, needed, not_none
from sandbox.language.program import BUILTINS, closest

if TYPE_CHECKING:
    from sandbox.language.inference import Inference

BIT_OPERATORS = (ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor)
MAX_CHAIN = 32  # operands of one `or` that has a value, or comparisons in one chain


def _constant(_inference: Inference, node: ast.Constant) -> Kind:
    if node.value is None:
        return NOTHING
    return {bool: BOOL, int: INT}.get(type(node.value), FLOAT)


def _name(inference: Inference, node: ast.Name) -> Kind:
    name = inference.variable(node.id)
    if name != node.id or node.id in inference.locals_of(inference.function):
        kind = inference.variables.get((inference.function, name), UNKNOWN)
        return present(kind) if name in inference.held and kind != NOTHING else kind
    if node.id in inference.program.derived:
        return inference.derived.get(node.id, UNKNOWN)
    if node.id in inference.program.constants:
        return INT if inference.program.constants[node.id].integer else FLOAT
    if node.id in constants():
        return INT if isinstance(constants()[node.id], int) else FLOAT
    known = [
        *inference.locals_of(inference.function), *inference.program.constants,
        *inference.program.derived, *constants(),
    ]  # fmt: skip
    if node.id in BUILTINS or node.id in tools() or node.id in inference.program.functions:
        return inference.refuse(node, "function-value", f"{node.id} is a function.", "Call it.")
    mend = closest(node.id, known) or "Define it, or use a record's field."
    return inference.refuse(node, "unknown-name", f"There is no {node.id}.", mend)


def _attribute(inference: Inference, node: ast.Attribute) -> Kind:
    owner = needed(inference, node.value)
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
            node, "unknown-field", f"{owner.record} has no field {shown(node.attr)}.", mend
        )
    inference.fields_read[inference.function].add(f"{owner.record.removeprefix('New')}.{node.attr}")
    return known[node.attr]


def _subscript(inference: Inference, node: ast.Subscript) -> Kind:
    owner = needed(inference, node.value)
    if isinstance(node.slice, ast.Slice):
        return _slice(inference, node, node.slice, owner)
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for part in parts:
        inference.integer(part, "The index")
    if owner in (UNKNOWN, CONFLICT):
        return owner
    paired = isinstance(node.slice, ast.Tuple)  # rows[i,] has one part, and is no rows[i]
    if paired == (owner == TABLE) and len(parts) == 1 + paired:
        if owner.name == "rows":
            return Kind("record", owner.record)
        if owner in SEQUENCES or owner == TABLE:
            return FLOAT
        if owner.name == "list":
            return element_of(owner)
        if owner.name == "tuple":
            return _part(inference, node, owner)
    return inference.refuse(
        node, "subscript", f"{owner} cannot be indexed like this.",
        "Write rows[i], memory[i], or a[i, j] of zeros(n, m).",
    )  # fmt: skip


def _slice(inference: Inference, node: ast.Subscript, cut: ast.Slice, owner: Kind) -> Kind:
    for bound in (cut.lower, cut.upper):
        if bound is not None:
            inference.integer(bound, "The bound of a slice")
    if cut.step is not None and not (place_of(cut.step) == -1 and not (cut.lower or cut.upper)):
        return inference.refuse(
            node, "slice", "A slice has no step here.", "Write xs[a:b], xs[::-1] or a range."
        )
    if owner in (UNKNOWN, CONFLICT):
        return owner
    kind = yielded(owner)
    if kind == CONFLICT or owner.name == "tuple":
        return inference.refuse(node, "slice", f"{owner} cannot be cut.", "Slice rows or a list.")
    return inference.new_list(node, kind)


def place_of(node: ast.expr) -> int | None:
    """The number that an index is, when it is a constant."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        place = place_of(node.operand)
        return None if place is None else -place
    value = node.value if isinstance(node, ast.Constant) else None
    return value if type(value) is int else None


def _part(inference: Inference, node: ast.Subscript, owner: Kind) -> Kind:
    place = place_of(node.slice)
    if place is None:
        kind = all_of(owner.parts)
        if kind == CONFLICT or not owner.parts:
            return inference.refuse(
                node, "subscript", "The parts of this tuple are not of one kind.",
                "Use a constant index, or a, b = pair.",
            )  # fmt: skip
        return kind
    if not -len(owner.parts) <= place < len(owner.parts):
        return inference.refuse(
            node, "subscript", f"{owner} has no place {place}.", "Count from 0."
        )
    return owner.parts[place]


def _tuple(inference: Inference, node: ast.Tuple) -> Kind:
    if not node.elts:
        return inference.refuse(node, "tuple", "An empty tuple holds nothing.", "Write [].")
    parts = [inference.infer(part) for part in node.elts]
    kind = tuple_of(parts)
    if kind == CONFLICT and CONFLICT not in parts:
        return inference.refuse(
            node, "tuple", "This tuple has too many parts.", "Use a list, or zeros(n)."
        )
    return kind


def _list(inference: Inference, node: ast.List) -> Kind:
    kind = UNKNOWN
    for part in node.elts:
        one = inference.infer(part)
        after = join(kind, one)
        if after == CONFLICT and CONFLICT not in (kind, one):
            inference.refuse(
                part, "mixed-kinds", f"The list holds {kind} and {one}.", "Keep one kind in a list."
            )
        kind = after
    return inference.new_list(node, kind) if kind != CONFLICT else kind


def _list_comp(inference: Inference, node: ast.ListComp) -> Kind:
    kind = comprehension(inference, node)
    return kind if kind == CONFLICT else inference.new_list(node, kind)


def _generator(inference: Inference, node: ast.GeneratorExp) -> Kind:
    return inference.refuse(
        node, "generator", "A generator cannot be kept.", "Write [...] around it."
    )


def _lambda(inference: Inference, node: ast.Lambda) -> Kind:
    return inference.refuse(
        node, "lambda", "A lambda can be a key or have a name.", "Write def f(row): return ..."
    )


def _bin_op(inference: Inference, node: ast.BinOp) -> Kind:
    left, right = inference.infer(node.left), inference.infer(node.right)
    if "list" in (left.name, right.name):
        return _list_op(inference, node, left, right)
    kind = arithmetic(inference, node, node.op, left, right)
    if isinstance(node.op, ast.Pow):
        exponent(inference, node, node.right)
    return kind


def _list_op(inference: Inference, node: ast.BinOp, left: Kind, right: Kind) -> Kind:
    if UNKNOWN in (left, right) or CONFLICT in (left, right):
        return left if left in (UNKNOWN, CONFLICT) else right
    if isinstance(node.op, ast.Mult):
        kind, times = (left, node.right) if left.name == "list" else (right, node.left)
        inference.integer(times, "How often a list is repeated")
        return inference.new_list(node, element_of(kind))
    if isinstance(node.op, ast.Add):
        kind = join(yielded(left), yielded(right))
        if kind != CONFLICT and "tuple" not in (left.name, right.name):
            return inference.new_list(node, kind)
    return inference.refuse(
        node, "list", f"{left} and {right} do not go together here.", "Add lists of one kind."
    )


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
    left = left if left == NOTHING else present(left)
    right = right if right == NOTHING else present(right)
    for kind in (left, right):
        if kind not in NUMBERS | {UNKNOWN, CONFLICT}:
            return inference.refuse(
                node, "kind", f"There is no arithmetic on {kind}.", "Use its numeric fields."
            )
    if CONFLICT in (left, right):
        return CONFLICT
    if isinstance(operator, BIT_OPERATORS):
        return _bits(inference, node, operator, left, right)
    if isinstance(operator, ast.Div):
        return FLOAT
    if UNKNOWN in (left, right):
        return UNKNOWN
    if isinstance(operator, ast.Pow):
        return FLOAT if left == FLOAT else INT
    return FLOAT if FLOAT in (left, right) else INT


def _bits(
    inference: Inference, node: ast.AST, operator: ast.operator, left: Kind, right: Kind
) -> Kind:
    """Of integers; &, | and ^ of two flags are a flag."""
    if FLOAT in (left, right):
        return inference.refuse(
            node, "integer", "Bits are those of integers, not of a float.", "Write int(...)."
        )
    if UNKNOWN in (left, right):
        return UNKNOWN
    shifts = isinstance(operator, ast.LShift | ast.RShift)
    return BOOL if left == right == BOOL and not shifts else INT


def _unary_op(inference: Inference, node: ast.UnaryOp) -> Kind:
    if isinstance(node.op, ast.Not):
        inference.condition(node.operand)
        return BOOL
    kind = inference.number(node.operand)
    return INT if kind == BOOL else kind


def _too_long(inference: Inference, node: ast.expr) -> Kind:
    return inference.refuse(node, "too-long", f"The chain is over {MAX_CHAIN} long.", "Split it.")


def _bool_op(inference: Inference, node: ast.BoolOp) -> Kind:
    result = UNKNOWN
    if len(node.values) > MAX_CHAIN:
        return _too_long(inference, node)
    for place, value in enumerate(node.values):
        inference.condition(value)
        kind = inference.infer(value)
        if isinstance(node.op, ast.Or) and place + 1 < len(node.values):
            kind = present(kind)  # None is false: `or` goes on to the next
        after = join(result, kind)
        if after == CONFLICT and CONFLICT not in (result, kind):
            return inference.refuse(
                node, "mixed-kinds", f"This is {result} or {kind}.", "Give both the same kind."
            )
        result = after
    return result


def _compare(inference: Inference, node: ast.Compare) -> Kind:
    operands = [node.left, *node.comparators]
    if len(node.ops) > MAX_CHAIN:
        return _too_long(inference, node)
    for place, operator in enumerate(node.ops):
        left, right = operands[place], operands[place + 1]
        if isinstance(operator, ast.In | ast.NotIn):
            _member(inference, node, left, right)
        elif is_none_test(operator, right):
            _none_test(inference, node, left)
        elif isinstance(operator, ast.Is | ast.IsNot):
            return inference.refuse(
                node, "none", "is compares objects.", "Compare numbers with ==, or with None."
            )
        else:
            _comparable(inference, node, left, right)
    return BOOL


def _none_test(inference: Inference, node: ast.Compare, left: ast.expr) -> None:
    kind = inference.infer(left)
    inference.infer(node.comparators[0])
    if len(node.ops) > 1:
        inference.refuse(node, "none", "None stands in a chain.", "Write and between the two.")
    if isinstance(left, ast.Attribute) and kind in NUMBERS:
        inference.refuse(
            node, "none", "A field is never None.",
            "A missing float is NaN: write is_missing(x). A missing integer is -1.",
        )  # fmt: skip


def _member(inference: Inference, node: ast.Compare, left: ast.expr, right: ast.expr) -> None:
    if len(node.ops) > 1:
        inference.refuse(node, "in", "in stands in a chain.", "Write and between the two.")
        return
    inference.number(left)
    if isinstance(right, ast.Tuple | ast.List):
        for choice in right.elts:
            inference.number(choice)
        return
    kind = yielded(needed(inference, right))
    if kind not in NUMBERS | {UNKNOWN}:
        inference.refuse(
            node, "in", "in needs a tuple or list of numbers.", "Write x in (MIXED, DECODE)."
        )


def _comparable(
    inference: Inference, node: ast.Compare, left: ast.expr, right: ast.expr
) -> None:
    one, other = (inference.infer(side) for side in (left, right))
    if "record" in (present(one).name, present(other).name):
        inference.refuse(node, "kind", "Records cannot be compared.", "Compare their id or index.")
    elif "tuple" in (present(one).name, present(other).name):
        whole = all_of((present(one), present(other)))
        if CONFLICT not in (one, other, whole) and is_ordered(whole):
            return
        inference.refuse(
            node, "tuple", "Tuples of numbers of one length can be compared.",
            "Compare the parts that matter.",
        )  # fmt: skip
    else:
        for side in (left, right):
            inference.number(side)


def _if_exp(inference: Inference, node: ast.IfExp) -> Kind:
    inference.condition(node.test)
    before = inference.held
    inference.held = before | not_none(inference, node.test, True)
    first = inference.infer(node.body)
    inference.held = before | not_none(inference, node.test, False)
    second = inference.infer(node.orelse)
    inference.held = before
    kind = join(first, second)
    if kind == CONFLICT and CONFLICT not in (first, second):
        inference.refuse(
            node, "mixed-kinds", f"This is {first} or {second}.", "Give both the same kind."
        )
    return kind


def misplaced(inference: Inference, node: ast.expr) -> Kind:
    """Refuse an expression that is no value."""
    what = type(node).__name__
    return inference.refuse(
        node, "not-allowed", f"{what} may not stand here.", "Use numbers and names."
    )


HANDLERS: dict[type[ast.expr], Callable[..., Kind]] = {
    ast.Constant: _constant, ast.Name: _name,
    ast.Attribute: _attribute, ast.Subscript: _subscript, ast.Tuple: _tuple,
    ast.List: _list, ast.ListComp: _list_comp, ast.GeneratorExp: _generator, ast.Lambda: _lambda,
    ast.BinOp: _bin_op, ast.UnaryOp: _unary_op,
    ast.BoolOp: _bool_op, ast.Compare: _compare, ast.IfExp: _if_exp,
    ast.Call: calls.call,
}  # fmt: skip
