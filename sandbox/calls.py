"""Kinds of calls and of what can be looped over: toolkit, helpers and Python's own functions."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sandbox.kinds import (
    BOOL,
    CONFLICT,
    FLOAT,
    INT,
    NUMBERS,
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
from sandbox.program import BUILTINS, closest
from sandbox.reads import fields_read_by

if TYPE_CHECKING:
    from sandbox.inference import Element, Inference

Comprehension = ast.GeneratorExp | ast.ListComp


def call(inference: Inference, node: ast.Call) -> Kind:
    """Kind of a call's value."""
    program = inference.program
    if not isinstance(node.func, ast.Name):
        return inference.refuse(
            node, "method", "Only functions can be called.", "Use a function of the toolkit."
        )
    name = node.func.id
    if name in inference.variables_here():
        return inference.refuse(
            node, "not-a-function", f"{name} is a variable here.", "Give the variable another name."
        )
    if name in program.functions:
        return _own(inference, node, name)
    if name in tools():
        return _tool(inference, node, tools()[name])
    if name in _HANDLERS:
        if node.keywords and name not in ("min", "max"):
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
        inference.pass_argument(name, parameter, argument)
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
    if signature.name == "clip" and FLOAT not in given and CONFLICT not in given:
        return UNKNOWN if UNKNOWN in given else INT
    return signature.result


def _positional(inference: Inference, node: ast.Call, least: int, most: int) -> bool:
    if least <= len(node.args) <= most and not node.keywords:
        return True
    name = node.func.id if isinstance(node.func, ast.Name) else "it"
    inference.refuse(
        node, "arguments", f"{name} takes {least} to {most} arguments here.", "Pass as many."
    )
    return False


def _conversion(result: Kind) -> Callable[[Inference, ast.Call], Kind]:
    def handler(inference: Inference, node: ast.Call) -> Kind:
        if _positional(inference, node, 1, 1):
            inference.number(node.args[0])
        return result

    return handler


def _abs(inference: Inference, node: ast.Call) -> Kind:
    if not _positional(inference, node, 1, 1):
        return CONFLICT
    kind = inference.number(node.args[0])
    return INT if kind == BOOL else kind


def _len(inference: Inference, node: ast.Call) -> Kind:
    if _positional(inference, node, 1, 1):
        argument = node.args[0]
        if isinstance(argument, Comprehension):
            comprehension(inference, argument)
            return INT
        kind = inference.infer(argument)
        known = kind.name == "rows" or kind in SEQUENCES or kind in (TABLE, UNKNOWN, CONFLICT)
        if not known:
            inference.refuse(argument, "kind", f"{kind} has no length.", "Use len(rows).")
    return INT


def _extreme(inference: Inference, node: ast.Call) -> Kind:
    """min and max: numbers; numbers of an iterable; rows by a key."""
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if len(node.args) == 1:
        if "key" in keywords and set(keywords) == {"key"}:
            return keyed_element(inference, node.args[0], keywords["key"])
        if set(keywords) <= {"default"}:
            kind = numbers(inference, node.args[0])
            for value in keywords.values():
                kind = join(kind, inference.number(value))
            return INT if kind == BOOL else kind
    elif len(node.args) > 1 and not keywords:
        kind = UNKNOWN
        for argument in node.args:
            kind = join(kind, inference.number(argument))
        return kind
    return inference.refuse(
        node, "arguments", "min and max take numbers, or one iterable.",
        "Write min(a, b), min(x for ...) or min(rows, key=lambda row: ...).",
    )  # fmt: skip


def _sum(inference: Inference, node: ast.Call) -> Kind:
    if not _positional(inference, node, 1, 1):
        return CONFLICT
    kind = numbers(inference, node.args[0])
    return INT if kind == BOOL else kind


def _any_all(inference: Inference, node: ast.Call) -> Kind:
    if _positional(inference, node, 1, 1):
        numbers(inference, node.args[0])
    return BOOL


def _zeros(inference: Inference, node: ast.Call) -> Kind:
    if not _positional(inference, node, 1, 2):
        return CONFLICT
    for argument in node.args:
        inference.integer(argument, "A size of zeros")
    return VECTOR if len(node.args) == 1 else TABLE


def numbers(inference: Inference, node: ast.expr) -> Kind:
    """Kind of the numbers that an iterable or comprehension yields."""
    if isinstance(node, Comprehension):
        kind: Element = comprehension(inference, node)
    else:
        kind = element(inference, node)
    if isinstance(kind, Kind) and (kind in NUMBERS or kind in (UNKNOWN, CONFLICT)):
        return kind
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
    inference.open_scope(node, names)
    for number, generator in enumerate(node.generators):
        yielded = first if number == 0 else element(inference, generator.iter)
        inference.store_element(generator.target, yielded)
        for test in generator.ifs:
            inference.condition(test)
    kind = inference.infer(node.elt)
    inference.close_scope()
    return kind


def keyed_element(inference: Inference, iterable: ast.expr, key: ast.expr) -> Kind:
    """Kind of an iterable's element, when a key function of it gives numbers."""
    kind = element(inference, iterable)
    if not isinstance(kind, Kind):
        return inference.refuse(iterable, "kind", "A key needs plain rows.", "Pass the rows.")
    if isinstance(key, ast.Lambda) and len(key.args.args) == 1:
        inference.open_scope(key, [key.args.args[0].arg])
        inference.store_variable(key.args.args[0].arg, kind)
        inference.number(key.body)
        inference.close_scope()
        return kind
    if isinstance(key, ast.Name) and key.id in inference.program.functions:
        function = inference.program.functions[key.id]
        if len(function.args.args) == 1 and key.id not in hooks():
            inference.pass_kind(key.id, function.args.args[0].arg, kind, key)
            return kind
    return inference.refuse(
        key, "key", "A key is a lambda or helper of one row.", "Write key=lambda row: number."
    )


def element(inference: Inference, node: ast.expr) -> Element:
    """What a loop over an expression yields."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        if name in _ITERATORS and name not in inference.variables_here():
            return _ITERATORS[name](inference, node)
    kind = inference.infer(node)
    if kind.name == "rows":
        return Kind("record", kind.record)
    if kind in SEQUENCES:
        return FLOAT
    if kind in (UNKNOWN, CONFLICT):
        return kind
    return inference.refuse(
        node, "not-iterable", f"{kind} cannot be looped over.", "Loop over rows or range(n)."
    )


def _range(inference: Inference, node: ast.Call) -> Element:
    if _positional(inference, node, 1, 3):
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


def _enumerate(inference: Inference, node: ast.Call) -> Element:
    if not _positional(inference, node, 1, 1):
        return CONFLICT
    return INT, element(inference, node.args[0])


def _zip(inference: Inference, node: ast.Call) -> Element:
    if not _positional(inference, node, 2, 4):
        return CONFLICT
    return tuple(element(inference, argument) for argument in node.args)


def _reversed(inference: Inference, node: ast.Call) -> Element:
    if not _positional(inference, node, 1, 1):
        return CONFLICT
    return element(inference, node.args[0])


def _sorted(inference: Inference, node: ast.Call) -> Element:
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if len(node.args) == 1 and set(keywords) == {"key"}:
        return keyed_element(inference, node.args[0], keywords["key"])
    return inference.refuse(
        node, "arguments", "sorted needs rows and a key here.",
        "Write sorted(rows, key=lambda row: number).",
    )  # fmt: skip


_ITERATORS: dict[str, Callable[[Inference, ast.Call], Element]] = {
    "range": _range, "enumerate": _enumerate, "zip": _zip, "reversed": _reversed,
    "sorted": _sorted,
}  # fmt: skip

_HANDLERS: dict[str, Callable[[Inference, ast.Call], Kind]] = {
    "abs": _abs, "min": _extreme, "max": _extreme, "len": _len, "sum": _sum, "any": _any_all,
    "all": _any_all, "zeros": _zeros, "int": _conversion(INT), "float": _conversion(FLOAT),
    "bool": _conversion(BOOL), "round": _conversion(INT),
}  # fmt: skip
