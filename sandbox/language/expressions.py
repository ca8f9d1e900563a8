"""Lowering of expressions: each construct's plain checked form, as text."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.language import comparisons, cost, list_code, reductions
from sandbox.language.calls import arranged
from sandbox.language.conversions import (
    converted,
    item,
    less,
    part_of,
    tuple_text,
    unpacked,
)  # fmt: skip
from sandbox.language.iterables import Comprehension
from sandbox.language.kinds import BOOL, FLOAT, FLOATS, INT, Kind, capacities, tools
from sandbox.language.lattice import all_of, tuple_of
from sandbox.language.operators import place_of

if TYPE_CHECKING:
    from sandbox.language.lowering import Lowering

Typed = tuple[str, Kind]

_INTEGER = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "floordiv_int",
    ast.Mod: "mod_int", ast.LShift: "shift_left", ast.RShift: "shift_right",
    ast.BitAnd: "bit_and", ast.BitOr: "bit_or", ast.BitXor: "bit_xor",
}  # fmt: skip
_ON_FLAGS = (ast.BitAnd, ast.BitOr, ast.BitXor)  # of two flags a flag
_FLOAT = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}


def lowered(writer: Lowering, node: ast.expr) -> str:
    """Text of an expression in its own kind."""
    return _HANDLERS[type(node)](writer, node)


def _constant(_writer: Lowering, node: ast.Constant) -> str:
    return "0" if node.value is None else repr(node.value)


def _name(writer: Lowering, node: ast.Name) -> str:
    name = writer.variable(node.id)
    if name != node.id or node.id in writer.inference.locals_of(writer.name):
        kind, known = writer.variable_kind(name), writer.kind(node)
        narrowed = kind.name == "optional" and known.name != "optional"
        return converted(writer, f"v_{name}", kind, known) if narrowed else f"v_{name}"
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
        text = f"{_INTEGER[type(operator)]}(frame, {a}, {b})"
        flags = left[1] == right[1] == BOOL and isinstance(operator, _ON_FLAGS)
        return (f"({text} != 0)", BOOL) if flags else (text, INT)
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


def _round(writer: Lowering, node: ast.Call) -> str:
    if len(node.args) == 1 or writer.present(node.args[0]) != FLOAT:
        return _to_int("round_int")(writer, node)
    text = writer.value(node.args[0], FLOAT)
    return f"round_to(frame, {text}, {10.0 ** (place_of(node.args[1]) or 0)})"


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
    "abs": _abs, "len": _len, "int": _to_int("to_int"), "round": _round,
    "float": _to_float, "bool": _to_bool, "min": _extreme, "max": _extreme, "zeros": _zeros,
    "sum": reductions.total, "any": reductions.any_all, "all": reductions.any_all,
    "list": list_code.as_list, "tuple": list_code.as_list, "sorted": list_code.sorted_list,
}  # fmt: skip

_HANDLERS: dict[type[ast.expr], Callable[..., str]] = {
    ast.Constant: _constant, ast.Name: _name, ast.Attribute: _attribute,
    ast.Subscript: _subscript, ast.BinOp: _bin_op, ast.UnaryOp: _unary_op,
    ast.BoolOp: comparisons.bool_op, ast.Compare: comparisons.compare,
    ast.IfExp: _if_exp, ast.Call: _call,
    ast.Tuple: _tuple, ast.List: list_code.literal, ast.ListComp: list_code.comprehension,
}  # fmt: skip
