"""Lowering of comparisons and of `and` and `or`, which look no further than Python does."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from sandbox.language import list_code
from sandbox.language.conversions import converted, equal, less, truth_of
from sandbox.language.kinds import BOOL, NOTHING, Kind, join
from sandbox.language.narrowing import is_none_test
from sandbox.language.walks import along
from sandbox.language.writer import Block

if TYPE_CHECKING:
    from sandbox.language.lowering import Lowering

_COMPARISONS = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


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


def bool_op(writer: Lowering, node: ast.BoolOp) -> str:
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


def compare(writer: Lowering, node: ast.Compare) -> str:
    """Comparisons of numbers and tuples, with None, and with what a list or tuple holds."""
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
