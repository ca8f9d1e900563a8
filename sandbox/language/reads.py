"""Which record fields the toolkit's functions read on behalf of a policy.

Found in the toolkit's own source, calls between its functions included, so that the fields a
policy is said to read are the fields its decision depends on.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator

from sandbox import toolkit
from sandbox.language.kinds import tools
from sandbox.language.trees import tree_of


@functools.cache
def fields_read_by(tool: str) -> frozenset[str]:
    """Fields of its record arguments that a toolkit function reads, as `Instance.role`."""
    found: set[str] = set()
    for name, kind in tools()[tool].parameters:
        if kind.name == "record":
            record = kind.record.removeprefix("New")
            found |= {f"{record}.{field}" for field in _fields_of(tool, name)}
    return frozenset(field for field in found if not field.split(".")[1].startswith("n_"))


@functools.cache
def _functions() -> dict[str, ast.FunctionDef]:
    tree = tree_of(inspect.getsource(toolkit))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _fields_of(function: str, parameter: str) -> Iterator[str]:
    """Fields of one parameter that a function or one it passes it to reads."""
    for node in ast.walk(_functions()[function]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == parameter and isinstance(node.ctx, ast.Load):
                yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from _passed_on(node, node.func.id, parameter)


def _passed_on(call: ast.Call, function: str, parameter: str) -> Iterator[str]:
    if function not in _functions():
        return
    names = [argument.arg for argument in _functions()[function].args.args]
    for name, argument in zip(names, call.args, strict=False):
        if isinstance(argument, ast.Name) and argument.id == parameter:
            yield from _fields_of(function, name)
