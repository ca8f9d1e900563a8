"""Kinds of what can be looped over: rows, lists, comprehensions, range and its like."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.language.kinds import (
    CONFLICT,
    FLOAT,
    INT,
    NOTHING,
    NUMBERS,
    SEQUENCES,
    UNKNOWN,
    Kind,
    hooks,
)  # fmt: skip
from sandbox.language.lattice import all_of, element_of, is_ordered, present, tuple_of
from sandbox.language.narrowing import needed, not_none

if TYPE_CHECKING:
    from sandbox.language.inference import Inference

Comprehension = ast.GeneratorExp | ast.ListComp


def paired(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Names and values of `a, b = x, y`; empty when it is written in another way."""
    if not isinstance(target, ast.Tuple) or not isinstance(value, ast.Tuple):
        return []
    if len(target.elts) != len(value.elts):
        return []
    return list(zip(target.elts, value.elts, strict=True))


def positional(inference: Inference, node: ast.Call, least: int, most: int) -> bool:
    """Does a call have that many values and no keywords? Refused if not."""
    if least <= len(node.args) <= most and not node.keywords:
        return True
    name = node.func.id if isinstance(node.func, ast.Name) else "it"
    inference.refuse(
        node, "arguments", f"{name} takes {least} to {most} arguments here.", "Pass as many."
    )
    return False


def ordered(inference: Inference, node: ast.expr) -> Kind:
    """Kind of an iterable's elements, which have to be numbers or tuples of numbers."""
    kind = consumed(inference, node)
    if kind == CONFLICT or is_ordered(kind):
        return kind
    return inference.refuse(
        node, "key", f"{kind} has no order.", "Give key=lambda x: number."
    )


def numbers(inference: Inference, node: ast.expr) -> Kind:
    """Kind of the numbers that an iterable or comprehension yields."""
    kind = consumed(inference, node)
    if kind in NUMBERS or kind in (UNKNOWN, CONFLICT):
        return kind
    if present(kind) in NUMBERS:
        return present(kind)
    return inference.refuse(
        node, "kind", "Numbers are needed here.", "Write f(row) for row in rows."
    )


def comprehension(inference: Inference, node: Comprehension) -> Kind:
    """Kind of the element of a comprehension."""
    names = [
        name.id
        for generator in node.generators
        for name in ast.walk(generator.target)
        if isinstance(name, ast.Name)
    ]
    first = element(inference, node.generators[0].iter)
    before = inference.held
    inference.open_scope(node, names)
    for number, generator in enumerate(node.generators):
        yielded = first if number == 0 else element(inference, generator.iter)
        inference.store_element(generator.target, yielded)
        for test in generator.ifs:
            inference.condition(test)
            inference.held |= not_none(inference, test, True)
    kind = inference.infer(node.elt)
    inference.close_scope()
    inference.held = before
    return kind


def keyed_element(inference: Inference, iterable: ast.expr, key: ast.expr) -> Kind:
    """Kind of an iterable's element, when a key function of it gives what can be ordered."""
    kind = consumed(inference, iterable)
    if kind == CONFLICT:
        return kind
    given = NOTHING
    if isinstance(key, ast.Lambda) and len(key.args.args) == 1:
        inference.open_scope(key, [key.args.args[0].arg])
        inference.store_variable(key.args.args[0].arg, kind)
        given = inference.infer(key.body)
        inference.close_scope()
    elif isinstance(key, ast.Name) and _is_function(inference, key.id):
        function = inference.program.functions[key.id]
        if len(function.args.args) == 1 and key.id not in hooks():
            inference.pass_kind(key.id, function.args.args[0].arg, kind, key)
            given = inference.results.get(key.id, UNKNOWN)
    elif isinstance(key, ast.Constant) and key.value is None:
        return ordered(inference, iterable)
    if given == CONFLICT:
        return given
    if inference.reporting and _changes_lists(inference, key):
        return inference.refuse(
            key, "key", "A key changes a list.", "Give a key that only computes a number."
        )
    if given == NOTHING or not (given == UNKNOWN or is_ordered(present(given))):
        return inference.refuse(
            key, "key", "A key is a lambda or helper of one row that gives a number.",
            "Write key=lambda row: number, or a tuple of numbers.",
        )  # fmt: skip
    return kind


def _is_function(inference: Inference, name: str) -> bool:
    return name in inference.program.functions and name not in inference.variables_here()


def _changes_lists(inference: Inference, key: ast.expr) -> bool:
    """Does a key, or anything that it calls, change a list while it is put in order?"""
    program = inference.program
    called = {node.id for node in ast.walk(key) if isinstance(node, ast.Name)}
    bodies: list[ast.AST] = [key]
    for name in called & set(program.functions):
        bodies += [program.functions[other] for other in program.reached_from(name)]
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr not in ("index", "count", "copy")
        for body in bodies
        for node in ast.walk(body)
    )


def element(inference: Inference, node: ast.expr) -> Kind:
    """What a loop over an expression yields."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        if name in ITERATORS and name not in inference.variables_here():
            return ITERATORS[name](inference, node)
    kind = needed(inference, node)
    found = yielded(kind)
    if found == CONFLICT and kind != CONFLICT:
        return inference.refuse(
            node, "not-iterable", f"{kind} cannot be looped over.", "Loop over rows or range(n)."
        )
    return found


def consumed(inference: Inference, node: ast.expr) -> Kind:
    """What a function that takes all of an iterable at once meets, generators included."""
    if isinstance(node, Comprehension):
        kind = comprehension(inference, node)
    else:
        kind = element(inference, node)
    if inference.reporting:
        inference.yields[node] = kind
    return kind


def yielded(kind: Kind) -> Kind:
    """What a loop over a value of this kind yields; CONFLICT when there can be none."""
    if kind.name == "rows":
        return Kind("record", kind.record)
    if kind.name == "list":
        return element_of(kind)
    if kind.name == "tuple" and kind.parts:
        return all_of(kind.parts)
    if kind in SEQUENCES:
        return FLOAT
    return UNKNOWN if kind == UNKNOWN else CONFLICT


def _range(inference: Inference, node: ast.Call) -> Kind:
    if positional(inference, node, 1, 3):
        for argument in node.args:
            inference.integer(argument, "A bound of range")
        if len(node.args) == 3 and not step_of(node):
            inference.refuse(
                node.args[2], "range-step", "The step is no constant.", "Write 1, 2 or -1."
            )
    return INT


def step_of(node: ast.Call) -> int:
    """Step of a `range` call; 0 when it is no constant."""
    if len(node.args) < 3:
        return 1
    step, sign = node.args[2], 1
    if isinstance(step, ast.UnaryOp) and isinstance(step.op, ast.USub):
        step, sign = step.operand, -1
    value = step.value if isinstance(step, ast.Constant) else 0
    return sign * value if type(value) is int else 0


def _enumerate(inference: Inference, node: ast.Call) -> Kind:
    start = node.args[1:] + [keyword.value for keyword in node.keywords if keyword.arg == "start"]
    if not node.args or len(start) > 1 or len(node.args) + len(node.keywords) != 1 + len(start):
        return inference.refuse(
            node, "arguments", "enumerate takes one iterable.", "Write enumerate(rows)."
        )
    for one in start:
        inference.integer(one, "The start of enumerate")
    return _pair(INT, element(inference, node.args[0]))


def _zip(inference: Inference, node: ast.Call) -> Kind:
    node.keywords = [keyword for keyword in node.keywords if keyword.arg != "strict"]
    if not positional(inference, node, 2, 4):
        return CONFLICT
    return _pair(*(element(inference, argument) for argument in node.args))


def _pair(*parts: Kind) -> Kind:
    return CONFLICT if CONFLICT in parts else tuple_of(list(parts))


def _reversed(inference: Inference, node: ast.Call) -> Kind:
    if not positional(inference, node, 1, 1):
        return CONFLICT
    given = node.args[0]
    name = given.func.id if isinstance(given, ast.Call) and isinstance(given.func, ast.Name) else ""
    if name in ("enumerate", "zip", "reversed"):
        return inference.refuse(
            node, "iterator", f"Python reverses no {name}().", f"Write reversed(list({name}(...)))."
        )
    return element(inference, given)


def sorted_element(inference: Inference, node: ast.Call) -> Kind:
    """What sorted() yields."""
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if len(node.args) != 1 or not set(keywords) <= {"key", "reverse"}:
        return inference.refuse(
            node, "arguments", "sorted takes one iterable, a key and reverse.",
            "Write sorted(rows, key=lambda row: number).",
        )  # fmt: skip
    if "reverse" in keywords:
        inference.condition(keywords["reverse"])
    if "key" in keywords:
        return keyed_element(inference, node.args[0], keywords["key"])
    return ordered(inference, node.args[0])


ITERATORS: dict[str, Callable[[Inference, ast.Call], Kind]] = {
    "range": _range, "enumerate": _enumerate, "zip": _zip, "reversed": _reversed,
    "sorted": sorted_element,
}  # fmt: skip
