"""Kinds of the methods of a list."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.language import iterables
from sandbox.language.kinds import CONFLICT, INT, NOTHING, NUMBERS, UNKNOWN, Kind
from sandbox.language.lattice import element_of
from sandbox.language.narrowing import needed

if TYPE_CHECKING:
    from sandbox.language.inference import Inference


def method(
    inference: Inference, node: ast.Call, function: ast.Attribute, as_statement: bool
) -> Kind:
    """Kind of `xs.method(...)`, whose receiver has to be a list."""
    if isinstance(function.value, ast.Name) and function.value.id in ("math", "np", "random"):
        return inference.refuse(
            node, "method", f"{function.value.id} is not in scope.",
            "Use the toolkit's functions, or write it out.",
        )  # fmt: skip
    owner = needed(inference, function.value)
    if owner in (UNKNOWN, CONFLICT):
        return owner
    if owner.name != "list" or function.attr not in _METHODS:
        return inference.refuse(
            node, "method", f"{owner} has no function of that name.",
            "A list has append, extend, insert, pop, sort, reverse, index, count, copy and clear.",
        )  # fmt: skip
    least, most, handler = _METHODS[function.attr]
    keywords = {keyword.arg for keyword in node.keywords}
    allowed = {"key", "reverse"} if function.attr == "sort" else set()
    if not least <= len(node.args) <= most or not keywords <= allowed:
        return inference.refuse(
            node, "arguments", f"{function.attr} takes {least} to {most} values here.",
            "Pass as many.",
        )  # fmt: skip
    kind = handler(inference, node, owner)
    if kind == NOTHING and not as_statement:
        return inference.refuse(
            node, "none", f"{function.attr} changes the list and has no value.",
            "Write it on a line of its own.",
        )  # fmt: skip
    return kind


def _append(inference: Inference, node: ast.Call, owner: Kind) -> Kind:
    _grow(owner)
    inference.put_in(node, owner, inference.infer(node.args[-1]))
    return NOTHING


def _insert(inference: Inference, node: ast.Call, owner: Kind) -> Kind:
    inference.integer(node.args[0], "The place")
    return _append(inference, node, owner)


def _extend(inference: Inference, node: ast.Call, owner: Kind) -> Kind:
    extend(inference, node, owner, node.args[0])
    return NOTHING


def extend(inference: Inference, node: ast.AST, owner: Kind, more: ast.expr) -> None:
    """Check what `xs.extend(more)` and `xs += more` append."""
    _grow(owner)
    inference.put_in(node, owner, iterables.consumed(inference, more))


def _pop(inference: Inference, node: ast.Call, owner: Kind) -> Kind:
    _grow(owner)
    for place in node.args:
        inference.integer(place, "The place")
    return element_of(owner)


def _sort(inference: Inference, node: ast.Call, _owner: Kind) -> Kind:
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    if "reverse" in keywords:
        inference.condition(keywords["reverse"])
    function = node.func
    receiver = function.value if isinstance(function, ast.Attribute) else node
    if "key" in keywords:
        iterables.keyed_element(inference, receiver, keywords["key"])
    else:
        iterables.ordered(inference, receiver)
    return NOTHING


def _nothing(_inference: Inference, _node: ast.Call, _owner: Kind) -> Kind:
    return NOTHING


def _clear(_inference: Inference, _node: ast.Call, owner: Kind) -> Kind:
    _grow(owner)
    return NOTHING


def _find(inference: Inference, node: ast.Call, owner: Kind) -> Kind:
    inference.number(node.args[0])
    if element_of(owner) not in NUMBERS | {UNKNOWN}:
        return inference.refuse(
            node, "kind", "Only numbers can be found in a list.", "Compare fields in a loop."
        )
    return INT


def _copy(inference: Inference, node: ast.Call, owner: Kind) -> Kind:
    return inference.new_list(node, element_of(owner))


def _grow(owner: Kind) -> None:
    if owner.cell is not None:
        owner.cell.grow()


_Handler = Callable[["Inference", ast.Call, Kind], Kind]
_METHODS: dict[str, tuple[int, int, _Handler]] = {
    "append": (1, 1, _append), "extend": (1, 1, _extend), "insert": (2, 2, _insert),
    "pop": (0, 1, _pop), "sort": (0, 0, _sort), "reverse": (0, 0, _nothing),
    "clear": (0, 0, _clear), "index": (1, 1, _find), "count": (1, 1, _find),
    "copy": (0, 0, _copy),
}  # fmt: skip
