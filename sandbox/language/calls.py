"""Kinds of calls and of what can be looped over: toolkit, helpers and Python's own functions."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sandbox.language import list_kinds
from sandbox.language.iterables import (
    Comprehension,
    comprehension,
    consumed,
    keyed_element,
    numbers,
    ordered,
    positional,
    sorted_element,
)  # fmt: skip
from sandbox.language.kinds import (
    BOOL,
    CONFLICT,
    FLOAT,
    INT,
    NOTHING,
    SEQUENCES,
    TABLE,
    UNKNOWN,
    VECTOR,
    Kind,
    Signature,
    fits,
    hooks,
    join,
    tools,
)  # fmt: skip
from sandbox.language.lattice import is_ordered, present
from sandbox.language.narrowing import needed
from sandbox.language.program import BUILTINS, closest
from sandbox.language.reads import fields_read_by

if TYPE_CHECKING:
    from sandbox.language.inference import Inference

MAX_PLACES = 6  # of round(x, places)


def call(inference: Inference, node: ast.Call, as_statement: bool = False) -> Kind:
    """Kind of a call's value; as a statement its value is not used."""
    if isinstance(node.func, ast.Attribute):
        kind = list_kinds.method(inference, node, node.func, as_statement)
        if inference.reporting:
            inference.expressions[node] = kind
        return kind
    if not isinstance(node.func, ast.Name):
        return inference.refuse(
            node, "method", "Only functions can be called.", "Use a function of the toolkit."
        )
    kind = _named(inference, node, node.func.id)
    if inference.reporting:
        inference.expressions[node] = kind
    return kind


def _named(inference: Inference, node: ast.Call, name: str) -> Kind:
    program = inference.program
    if name in inference.variables_here():
        return inference.refuse(
            node, "not-a-function", f"{name} is a variable here.", "Give the variable another name."
        )
    if name in program.functions:
        return _own(inference, node, name)
    if name in tools():
        return _tool(inference, node, tools()[name])
    if name in _HANDLERS:
        if node.keywords and name not in ("min", "max", "sorted"):
            return inference.refuse(
                node, "keyword", f"{name} takes no keywords here.", "Pass values by position."
            )
        return _HANDLERS[name](inference, node)
    if name in BUILTINS:
        return inference.refuse(
            node, "iterator", f"{name}() is only for loops.", f"Write for ... in {name}(...)."
        )
    known = [*program.functions, *tools(), *_HANDLERS]
    mend = closest(name, known) or "Use the toolkit's functions."
    return inference.refuse(node, "unknown-function", f"There is no function {name}.", mend)


def arranged(node: ast.Call, names: Sequence[str]) -> list[ast.expr] | None:
    """A call's arguments in parameter order, keywords put in place; None if they do not fit."""
    places: dict[str, ast.expr] = dict(zip(names, node.args, strict=False))
    if len(node.args) > len(names):
        return None
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg not in names or keyword.arg in places:
            return None
        places[keyword.arg] = keyword.value
    return [places[name] for name in names] if len(places) == len(names) else None


def _arguments(
    inference: Inference, node: ast.Call, name: str, names: Sequence[str]
) -> list[ast.expr]:
    arguments = arranged(node, names)
    if arguments is None:
        inference.refuse(
            node, "arguments", f"{name} takes {len(names)} arguments.",
            f"Write {name}({', '.join(names)}).",
        )  # fmt: skip
        return []
    return arguments


def _own(inference: Inference, node: ast.Call, name: str) -> Kind:
    function = inference.program.functions[name]
    names = [argument.arg for argument in function.args.args]
    arguments = _arguments(inference, node, name, names)
    if len(arguments) != len(names):
        return CONFLICT
    if name in hooks():
        return _tool(inference, node, hooks()[name])
    for parameter, argument in zip(names, arguments, strict=True):
        inference.pass_kind(name, parameter, inference.infer(argument), argument)
    return inference.results.get(name, UNKNOWN)


def _tool(inference: Inference, node: ast.Call, signature: Signature) -> Kind:
    names = [parameter for parameter, _ in signature.parameters]
    arguments = _arguments(inference, node, signature.name, names)
    if len(arguments) != len(names):
        return CONFLICT
    if inference.reporting and signature.name in tools():
        inference.fields_read[inference.function] |= fields_read_by(signature.name)
    given = []
    for (parameter, wanted), argument in zip(signature.parameters, arguments, strict=True):
        kind = inference.infer(argument)
        given.append(kind)
        if not fits(kind, wanted) and kind != CONFLICT:
            mend = "Write int(...)." if (kind, wanted) == (FLOAT, INT) else f"Pass {wanted}."
            inference.refuse(
                argument, "argument-kind",
                f"{parameter} of {signature.name} is {wanted}, not {kind}.", mend,
            )  # fmt: skip
    given = [present(kind) for kind in given]
    if signature.name == "clip" and FLOAT not in given and CONFLICT not in given:
        return UNKNOWN if UNKNOWN in given else INT
    return signature.result


def _conversion(result: Kind) -> Callable[[Inference, ast.Call], Kind]:
    def handler(inference: Inference, node: ast.Call) -> Kind:
        if positional(inference, node, 1, 1):
            inference.number(node.args[0])
        return result

    return handler


def _round(inference: Inference, node: ast.Call) -> Kind:
    if not positional(inference, node, 1, 2):
        return CONFLICT
    kind = inference.number(node.args[0])
    if len(node.args) == 1:
        return INT
    places = node.args[1]
    value = places.value if isinstance(places, ast.Constant) else None
    if type(value) is not int or not 0 <= value <= MAX_PLACES:
        return inference.refuse(
            node, "arguments", f"round takes 0 to {MAX_PLACES} places, written as a number.",
            "Write round(x, 2), or round(x) for an integer.",
        )  # fmt: skip
    return INT if kind == BOOL else kind


def _abs(inference: Inference, node: ast.Call) -> Kind:
    if not positional(inference, node, 1, 1):
        return CONFLICT
    kind = inference.number(node.args[0])
    return INT if kind == BOOL else kind


def _len(inference: Inference, node: ast.Call) -> Kind:
    if positional(inference, node, 1, 1):
        argument = node.args[0]
        if isinstance(argument, Comprehension):
            comprehension(inference, argument)
            return INT
        kind = needed(inference, argument)
        sized = kind.name in ("rows", "list", "tuple") or kind in SEQUENCES
        if not sized and kind not in (TABLE, UNKNOWN, CONFLICT):
            inference.refuse(argument, "kind", f"{kind} has no length.", "Use len(rows).")
    return INT


def _extreme(inference: Inference, node: ast.Call) -> Kind:
    """min and max: numbers or tuples, of an iterable or side by side; anything by a key."""
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if len(node.args) == 1 and set(keywords) <= {"key", "default"}:
        if "key" in keywords:
            kind = keyed_element(inference, node.args[0], keywords["key"])
        else:
            kind = ordered(inference, node.args[0])
        if "default" in keywords:
            kind = _joined(inference, node, kind, inference.infer(keywords["default"]))
        return INT if kind == BOOL else kind
    if len(node.args) > 1 and not keywords:
        kind = UNKNOWN
        for argument in node.args:
            given = inference.infer(argument)
            kind = _joined(inference, node, kind, present(given) if given != NOTHING else given)
        if kind == CONFLICT or is_ordered(kind):
            return kind
    return inference.refuse(
        node, "arguments", "min and max take numbers, or one iterable.",
        "Write min(a, b), min(x for ...) or min(rows, key=lambda row: ...).",
    )  # fmt: skip


def _joined(inference: Inference, node: ast.expr, one: Kind, other: Kind) -> Kind:
    kind = join(one, other)
    if kind == CONFLICT and CONFLICT not in (one, other):
        return inference.refuse(
            node, "mixed-kinds", f"This is {one} or {other}.", "Give both the same kind."
        )
    return kind


def _sum(inference: Inference, node: ast.Call) -> Kind:
    if not positional(inference, node, 1, 2):
        return CONFLICT
    kind = numbers(inference, node.args[0])
    for start in node.args[1:]:
        kind = join(kind, inference.number(start))
    return INT if kind == BOOL else kind


def _any_all(inference: Inference, node: ast.Call) -> Kind:
    if positional(inference, node, 1, 1):
        numbers(inference, node.args[0])
    return BOOL


def _as_list(inference: Inference, node: ast.Call) -> Kind:
    if not positional(inference, node, 0, 1):
        return CONFLICT
    kind = consumed(inference, node.args[0]) if node.args else UNKNOWN
    return kind if kind == CONFLICT else inference.new_list(node, kind)


def _to_bool(inference: Inference, node: ast.Call) -> Kind:
    if positional(inference, node, 1, 1):
        inference.condition(node.args[0])
    return BOOL


def _zeros(inference: Inference, node: ast.Call) -> Kind:
    if not positional(inference, node, 1, 2):
        return CONFLICT
    for argument in node.args:
        inference.integer(argument, "A size of zeros")
    return VECTOR if len(node.args) == 1 else TABLE


def _sorted_list(inference: Inference, node: ast.Call) -> Kind:
    kind = sorted_element(inference, node)
    return kind if kind == CONFLICT else inference.new_list(node, kind)


_HANDLERS: dict[str, Callable[[Inference, ast.Call], Kind]] = {
    "abs": _abs, "min": _extreme, "max": _extreme, "len": _len, "sum": _sum, "any": _any_all,
    "all": _any_all, "zeros": _zeros, "int": _conversion(INT), "float": _conversion(FLOAT),
    "bool": _to_bool, "round": _round, "sorted": _sorted_list, "list": _as_list,
    "tuple": _as_list,
}  # fmt: skip
