"""Lowering of expressions: each construct's plain checked form, as text."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox import cost, list_code, reductions
from sandbox.calls import arranged
from sandbox.conversions import (
    converted,
    equal,
    item,
    less,
    part_of,
    truth_of,
    tuple_text,
    unpacked,
)  # fmt: skip
from sandbox.iterables import Comprehension
from sandbox.kinds import BOOL, FLOAT, FLOATS, INT, NOTHING, Kind, capacities, join, tools
from sandbox.lattice import all_of, tuple_of
from sandbox.operators import is_none_test, place_of
from sandbox.walks import along
from sandbox.writer import Block

if TYPE_CHECKING:
    from sandbox.lowering import Lowering

Typed = tuple[str, Kind]

_INTEGER = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "floordiv_int",
    ast.Mod: "mod_int",
}  # fmt: skip
_FLOAT = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_COMPARISONS = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


def lowered(writer: Lowering, node: ast.expr) -> str:
    """Text of an expression in its own kind."""
    return _HANDLERS[type(node)](writer, node)


def _constant(_writer: Lowering, node: ast.Constant) -> str:
    return "0" if node.value is None else repr(node.value)


def _name(writer: Lowering, node: ast.Name) -> str:
    name = writer.variable(node.id)
    if name != node.id or node.id in writer.inference.locals_of(writer.name):
        return f"v_{name}"
    return writer.constant(node.id)


def _attribute(writer: Lowering, node: ast.Attribute) -> str:
    owner_kind = writer.present(node.value)
    owner = writer.value(node.value, owner_kind)
    if writer.kind(node).name == "rows":
        owner = writer.saved(owner)
        return f"filled({owner}.{node.attr}, {owner}.n_{node.attr})"
    if writer.kind(node) == FLOATS:
        # The compiler takes the field itself for another type than memory or zeros().
        record = owner_kind.record.removeprefix("New")
        return f"filled({owner}.{node.attr}, {capacities()[record, node.attr]})"
    return f"{owner}.{node.attr}"


def _subscript(writer: Lowering, node: ast.Subscript) -> str:
    if isinstance(node.slice, ast.Slice):
        return list_code.sliced(writer, node, node.slice)
    kind = writer.present(node.value)
    if kind.name == "tuple":
        return _part(writer, node, kind)
    if isinstance(node.slice, ast.Tuple):
        owner, *indices = writer.values([node.value, *node.slice.elts], [kind, INT, INT])
        return writer.item(owner, indices)
    if kind.name != "list" and (place_of(node.slice) or 0) >= 0:
        owner, index = writer.values([node.value, node.slice], [kind, INT])
    else:
        owner, (index,) = writer.place(node)
    if kind.name == "list":
        return item(writer, owner, kind, index)
    if kind == Kind("rows", "Instance"):
        return f"pick_turned(frame, {owner}, {index})"
    return writer.item(owner, [index])


def _part(writer: Lowering, node: ast.Subscript, kind: Kind) -> str:
    """A part of a tuple; one of any, where they are of one kind."""
    place = place_of(node.slice)
    if place is not None:
        held = writer.saved(writer.value(node.value, kind))
        return part_of(held, kind, place % len(kind.parts))
    part = all_of(kind.parts)
    alike = tuple_of([part] * len(kind.parts))
    owner, index = writer.values([node.value, node.slice], [alike, INT])
    return unpacked(f"pick(frame, {owner}, {index})", part)


def _tuple(writer: Lowering, node: ast.Tuple) -> str:
    kind = writer.kind(node)
    return tuple_text(writer.values(node.elts, kind.parts), kind.parts)


def _bin_op(writer: Lowering, node: ast.BinOp) -> str:
    if writer.kind(node).name == "list":
        make = list_code.added if isinstance(node.op, ast.Add) else list_code.repeated
        return make(writer, node)
    kinds = [writer.present(node.left), writer.present(node.right)]
    left, right = writer.values([node.left, node.right], kinds)
    text, _ = arithmetic(writer, node.op, (left, kinds[0]), (right, kinds[1]))
    return text


def arithmetic(writer: Lowering, operator: ast.operator, left: Typed, right: Typed) -> Typed:
    """`left operator right` and its kind."""
    if isinstance(operator, ast.Pow):
        return _power(writer, left, int(right[0]))
    if isinstance(operator, ast.Div):
        return f"div(frame, {_as(writer, left, FLOAT)}, {_as(writer, right, FLOAT)})", FLOAT
    kind = FLOAT if FLOAT in (left[1], right[1]) else INT
    a, b = _as(writer, left, kind), _as(writer, right, kind)
    if kind == INT:
        return f"{_INTEGER[type(operator)]}(frame, {a}, {b})", INT
    if isinstance(operator, ast.FloorDiv | ast.Mod):
        function = "floordiv_float" if isinstance(operator, ast.FloorDiv) else "mod_float"
        return f"{function}(frame, {a}, {b})", FLOAT
    return f"({a} {_FLOAT[type(operator)]} {b})", FLOAT


def _as(writer: Lowering, value: Typed, kind: Kind) -> str:
    return converted(writer, *value, kind)


def _power(writer: Lowering, base: Typed, exponent: int) -> Typed:
    kind = FLOAT if base[1] == FLOAT else INT
    writer.spend(exponent)
    factor = writer.saved(_as(writer, base, kind))
    if exponent == 0:
        return ("1.0" if kind == FLOAT else "1"), kind
    text = factor
    for _ in range(exponent - 1):
        text = f"({text} * {factor})" if kind == FLOAT else f"mul(frame, {text}, {factor})"
    return text, kind


def _unary_op(writer: Lowering, node: ast.UnaryOp) -> str:
    if isinstance(node.op, ast.Not):
        return f"(not {writer.truth(node.operand)})"
    kind = writer.kind(node)
    text = writer.value(node.operand, kind)
    if isinstance(node.op, ast.UAdd):
        return text
    if isinstance(node.operand, ast.Constant) or kind == FLOAT:
        return f"(-{text})"
    return f"sub(frame, 0, {text})"


def both(writer: Lowering, node: ast.BoolOp) -> str:
    """and, or as a test: plain when no later operand emits lines, else a chain of branches."""
    blocks: list[tuple[Block, str]] = []
    for value in node.values:
        with writer.nested() as block:
            text = writer.truth(value)
        blocks.append((block, text))
    head, first = blocks[0]
    writer.block.lines.extend(head.lines)
    writer.spend(head.units, head.extra)
    word = "and" if isinstance(node.op, ast.And) else "or"
    if not any(block.lines for block, _ in blocks[1:]):
        for block, _ in blocks[1:]:
            writer.spend(block.units, block.extra)
        return f"({f' {word} '.join(text for _, text in blocks)})"
    name = writer.temporary()
    writer.emit(f"{name} = {first}")
    for block, text in blocks[1:]:
        block.lines.append(f"{name} = {text}")
        writer.place_branches(name if word == "and" else f"not {name}", block, Block())
    return name


def _bool_op(writer: Lowering, node: ast.BoolOp) -> str:
    """and, or as a value: the first operand that decides."""
    kind = writer.kind(node)
    if kind == BOOL and all(writer.kind(value) == BOOL for value in node.values):
        return both(writer, node)
    name = writer.temporary()
    writer.spend(1)
    _decide(writer, node, 0, name, kind)
    return name


def _decide(writer: Lowering, node: ast.BoolOp, place: int, name: str, kind: Kind) -> None:
    value = node.values[place]
    given = writer.kind(value)
    if place + 1 == len(node.values):
        writer.emit(f"{name} = {writer.value(value, kind)}")
        return
    text = writer.saved(writer.value(value))
    test = truth_of(writer, text, given)
    with writer.nested() as decided:
        decided_text = converted(writer, text, given, kind)
        writer.emit(f"{name} = {decided_text}")
    with writer.nested() as open_:
        _decide(writer, node, place + 1, name, kind)
    if isinstance(node.op, ast.And):
        decided, open_ = open_, decided
    writer.place_branches(test, decided, open_)


def _compare(writer: Lowering, node: ast.Compare) -> str:
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        return _member(writer, node)
    if is_none_test(node.ops[0], node.comparators[0]):
        return _none_test(writer, node)
    operands = [node.left, *node.comparators]
    kind = writer.present(operands[0])
    for operand in operands[1:]:
        kind = join(kind, writer.present(operand))
    if kind.name == "tuple":
        texts = writer.values(operands, [kind] * len(operands))
        return _compare_tuples(writer, node, [writer.saved(text) for text in texts], kind)
    signs = [_COMPARISONS[type(operator)] for operator in node.ops]
    first, second = writer.values(operands[:2], [kind] * 2)
    rest = list(zip(signs[1:], operands[2:], strict=True))
    return _chain(writer, f"{first} {signs[0]}", second, rest, kind)


def _chain(
    writer: Lowering, start: str, last: str, rest: list[tuple[str, ast.expr]], kind: Kind
) -> str:
    """`start last < ...`: as in Python, what stands after a comparison that fails is not looked at.

    Plain when no later operand emits lines, else a chain of branches.
    """
    later: list[tuple[str, Block, str]] = []
    for sign, operand in rest:
        with writer.nested() as block:
            text = writer.value(operand, kind)
        later.append((sign, block, text))
    if not any(block.lines for _, block, _ in later):
        for _, block, _ in later:
            writer.spend(block.units, block.extra)
        return f"({start} {last}{''.join(f' {sign} {text}' for sign, _, text in later)})"
    names = [writer.saved(last), *(writer.temporary() for _ in later)]
    holds, inner = writer.temporary(), Block()
    # From the inside out: the compiler takes no name that only an earlier branch has set.
    for place, (sign, block, text) in reversed(list(enumerate(later))):
        name = names[place + 1]
        block.lines += [f"{name} = {text}", f"{holds} = {names[place]} {sign} {name}"]
        block.lines += [f"if {holds}:", inner.lines] if inner.lines else []
        block.units, block.extra = block.units + inner.units, block.extra + inner.extra
        inner = block
    writer.emit(f"{holds} = {start} {names[0]}")
    writer.place_branches(holds, inner, Block())
    return holds


def _compare_tuples(writer: Lowering, node: ast.Compare, texts: list[str], kind: Kind) -> str:
    tests = []
    for place, operator in enumerate(node.ops):
        a, b = texts[place], texts[place + 1]
        if isinstance(operator, ast.Eq | ast.NotEq):
            test = equal(writer, a, b, kind)
            tests.append(test if isinstance(operator, ast.Eq) else f"(not {test})")
        else:
            tests.append(less(writer, a, _COMPARISONS[type(operator)], b, kind))
    return f"({' and '.join(tests)})"


def _none_test(writer: Lowering, node: ast.Compare) -> str:
    kind = writer.kind(node.left)
    text = writer.saved(writer.value(node.left))
    absent = isinstance(node.ops[0], ast.Is | ast.Eq)
    if kind.name == "optional":
        return f"(not {text}[0])" if absent else f"{text}[0]"
    return str((kind == NOTHING) == absent)


def _member(writer: Lowering, node: ast.Compare) -> str:
    choices = node.comparators[0]
    inside = isinstance(node.ops[0], ast.In)
    if not isinstance(choices, ast.Tuple | ast.List):
        return _found(writer, node.left, choices, inside)
    kind = writer.present(node.left)
    for element in choices.elts:
        kind = join(kind, writer.present(element))
    texts = writer.values([node.left, *choices.elts], [kind] * (len(choices.elts) + 1))
    # Python makes the whole tuple before it compares: an element may stop the policy.
    subject, *texts = [writer.saved(text) for text in texts]
    if not texts:
        return "False" if inside else "True"
    operator, word = ("==", " or ") if inside else ("!=", " and ")
    return f"({word.join(f'{subject} {operator} {text}' for text in texts)})"


def _found(writer: Lowering, value: ast.expr, choices: ast.expr, inside: bool) -> str:
    """`value in xs`: a loop that stops where it is found."""
    kinds = [writer.present(value), writer.present(choices)]
    subject, owner = [writer.saved(text) for text in writer.values([value, choices], kinds)]
    name = writer.temporary()
    writer.emit(f"{name} = {not inside}")
    lines = [f"{name} = {inside}", "break"]
    most = writer.bounds.length(choices)
    list_code.seek(writer, along(writer, owner, kinds[1], most), subject, kinds[0], lambda _: lines)
    return name


def _if_exp(writer: Lowering, node: ast.IfExp) -> str:
    kind = writer.kind(node)
    test = writer.truth(node.test)
    with writer.nested() as body:
        first = writer.value(node.body, kind)
    with writer.nested() as orelse:
        second = writer.value(node.orelse, kind)
    if not body.lines and not orelse.lines:
        writer.spend(max(body.units, orelse.units), max(body.extra, orelse.extra))
        return f"({first} if {test} else {second})"
    name = writer.temporary()
    body.lines.append(f"{name} = {first}")
    orelse.lines.append(f"{name} = {second}")
    writer.place_branches(test, body, orelse)
    return name


def _call(writer: Lowering, node: ast.Call) -> str:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in writer.program.functions:
        return _own(writer, node, name)
    if name in tools():
        return _tool(writer, node, name)
    if isinstance(node.func, ast.Attribute):
        return list_code.method(writer, node)
    return _BUILTINS[name](writer, node)


def _own(writer: Lowering, node: ast.Call, name: str) -> str:
    names = [argument.arg for argument in writer.program.functions[name].args.args]
    arguments = arranged(node, names) or []
    kinds = [writer.inference.variables[name, parameter] for parameter in names]
    texts = writer.values(arguments, kinds)
    units, extra = writer.costs[f"f_{name}"]
    writer.spend(1 + units, extra)
    return f"f_{name}({', '.join(['frame', 'P', *texts])})"


def _tool(writer: Lowering, node: ast.Call, name: str) -> str:
    signature = tools()[name]
    arguments = arranged(node, [parameter for parameter, _ in signature.parameters]) or []
    kinds = [kind for _, kind in signature.parameters]
    if name == "clip":
        kinds = [writer.kind(node)] * 3
    texts = writer.values(arguments, kinds)
    extra = cost.AT_RUN_TIME.get(name, 0)
    if name == "order":
        texts[1], most = size(writer, arguments[1], texts[1])
        extra = cost.order_cost(most)
    writer.spend(cost.FIXED.get(name, 1), extra)
    return f"{name}({', '.join(['frame', *texts] if signature.framed else texts)})"


def size(writer: Lowering, node: ast.expr, text: str) -> tuple[str, int]:
    """A size and the most it can be; held to that where a hook's cost is limited."""
    most = writer.bounds.interval(node)[1]
    if most is not None:
        return text, max(most, 0)
    limit = cost.UNKNOWN_TURNS
    return (f"bounded(frame, {text}, {limit})" if writer.capped else text), limit


def _zeros(writer: Lowering, node: ast.Call) -> str:
    texts = writer.values(node.args, [INT] * len(node.args))
    most = 1
    for place, argument in enumerate(node.args):
        texts[place], limit = size(writer, argument, texts[place])
        most *= limit
    writer.spend(1, cost.scratch_cost(most))
    function = "vector" if len(texts) == 1 else "table"
    return f"{function}(frame, {', '.join(texts)})"


def _abs(writer: Lowering, node: ast.Call) -> str:
    kind = writer.kind(node)
    text = writer.value(node.args[0], kind)
    return f"abs({text})" if kind == FLOAT else f"absolute_int(frame, {text})"


def _len(writer: Lowering, node: ast.Call) -> str:
    argument = node.args[0]
    if isinstance(argument, Comprehension):
        return reductions.count(writer, argument)
    if isinstance(argument, ast.Attribute) and writer.kind(argument).name == "rows":
        owner = writer.value(argument.value, writer.present(argument.value))
        return f"{owner}.n_{argument.attr}"
    kind = writer.present(argument)
    text = writer.value(argument, kind)
    if kind.name == "tuple":
        return str(len(kind.parts))
    return f"size(frame, {text})" if kind.name == "list" else f"len({text})"


def _to_int(function: str) -> Callable[[Lowering, ast.Call], str]:
    def handler(writer: Lowering, node: ast.Call) -> str:
        argument = node.args[0]
        if writer.present(argument) == FLOAT:
            return f"{function}(frame, {writer.value(argument, FLOAT)})"
        return writer.value(argument, INT)

    return handler


def _to_float(writer: Lowering, node: ast.Call) -> str:
    return writer.value(node.args[0], FLOAT)


def _to_bool(writer: Lowering, node: ast.Call) -> str:
    return writer.truth(node.args[0])


def _extreme(writer: Lowering, node: ast.Call) -> str:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if len(node.args) == 1:
        return reductions.extreme(writer, node, name)
    kind = writer.kind(node)
    first, *others = writer.values(node.args, [kind] * len(node.args))
    if kind.name == "tuple":
        return _extreme_tuple(writer, [first, *others], "<" if name == "min" else ">", kind)
    for text in others:
        first = f"{name}2({first}, {text})"
    return first


def _extreme_tuple(writer: Lowering, texts: list[str], sign: str, kind: Kind) -> str:
    held = [writer.saved(text) for text in texts]
    best = writer.temporary()
    writer.emit(f"{best} = {held[0]}")
    for text in held[1:]:
        better = less(writer, text, sign, best, kind)
        writer.emit(f"if {better}:")
        writer.block.lines.append([f"{best} = {text}"])
        writer.spend(1)
    return best


_BUILTINS: dict[str, Callable[[Lowering, ast.Call], str]] = {
    "abs": _abs, "len": _len, "int": _to_int("to_int"), "round": _to_int("round_int"),
    "float": _to_float, "bool": _to_bool, "min": _extreme, "max": _extreme, "zeros": _zeros,
    "sum": reductions.total, "any": reductions.any_all, "all": reductions.any_all,
    "list": list_code.as_list, "tuple": list_code.as_list, "sorted": list_code.sorted_list,
}  # fmt: skip

_HANDLERS: dict[type[ast.expr], Callable[..., str]] = {
    ast.Constant: _constant, ast.Name: _name, ast.Attribute: _attribute,
    ast.Subscript: _subscript, ast.BinOp: _bin_op, ast.UnaryOp: _unary_op,
    ast.BoolOp: _bool_op, ast.Compare: _compare, ast.IfExp: _if_exp, ast.Call: _call,
    ast.Tuple: _tuple, ast.List: list_code.literal, ast.ListComp: list_code.comprehension,
}  # fmt: skip
