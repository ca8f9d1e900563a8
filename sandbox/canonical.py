"""The canonical form of a policy: no comments, docstrings, annotations or misleading names.

Line numbers of the tree stay those of the text it came from, so refusals point at what the
author wrote.
"""

from __future__ import annotations

import ast
import textwrap

MAX_NAME = 40


def claim_of(text: str) -> str:
    """The module's docstring: printable, at most 1,000 characters; empty without one."""
    claim = ast.get_docstring(ast.parse(text)) or ""
    lines = "".join(c if c == "\n" or " " <= c <= "~" else " " for c in claim)[:1000].splitlines()
    wrapped = [part for line in lines for part in textwrap.wrap(line, 100) or [""]]
    return "\n".join(line.rstrip() for line in wrapped).strip()


def docstring(claim: str) -> str:
    """Source text of a docstring that reads back as the claim."""
    escaped = claim.replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{escaped}"""'


def stripped(tree: ast.Module) -> ast.Module:
    """The tree without docstrings and annotations, and with over-long names shortened."""
    stripper = _Stripper(tree)
    stripper.visit(tree)
    tree.body = _without_docstring(tree.body) if _starts_with_string(tree.body) else tree.body
    return tree


def text_of(tree: ast.Module) -> str:
    """Canonical text: one statement a line, ends with a newline."""
    return ast.unparse(tree).strip() + "\n"


def keep(tree: ast.Module, names: set[str]) -> ast.Module:
    """Only the definitions of these names, in their order."""
    return ast.Module([node for node in tree.body if _defined(node) in names], [])


def _defined(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def _starts_with_string(body: list[ast.stmt]) -> bool:
    first = body[0] if body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    return body[1:]


class _Stripper(ast.NodeTransformer):
    def __init__(self, tree: ast.Module) -> None:
        self.used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        self.shortened: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        node.name = self._short(node.name)
        if _starts_with_string(node.body):
            node.body = _without_docstring(node.body) or [ast.copy_location(ast.Pass(), node)]
        self.generic_visit(node)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        node.arg = self._short(node.arg)
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._short(node.id)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if node.value is None or not node.simple:
            return node
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def _short(self, name: str) -> str:
        if len(name) <= MAX_NAME:
            return name
        if name not in self.shortened:
            number = len(self.shortened) + 1
            while f"renamed_{number}" in self.used:
                number += 1
            self.used.add(f"renamed_{number}")
            self.shortened[name] = f"renamed_{number}"
        return self.shortened[name]
