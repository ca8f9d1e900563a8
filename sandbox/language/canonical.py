"""The canonical form of a policy: no comments, strings, annotations or misleading names.

Line numbers of the tree stay those of the text it came from, so refusals point at what the
author wrote.
"""

from __future__ import annotations

import ast
import re
import textwrap

from sandbox.language.nodes import walk
from sandbox.language.spelling import respelled
from sandbox.language.trees import tree_of

MAX_NAME, MAX_WORDS = 40, 5

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def claim_of(text: str) -> str:
    """The module's docstring: printable, at most 1,000 characters; empty without one."""
    claim = ast.get_docstring(tree_of(text)) or ""
    lines = "".join(c if c == "\n" or " " <= c <= "~" else " " for c in claim)[:1000].splitlines()
    wrapped = [part for line in lines for part in textwrap.wrap(line, 100) or [""]]
    return "\n".join(line.rstrip() for line in wrapped).strip()


def docstring(claim: str) -> str:
    """Source text of a docstring that reads back as the claim."""
    escaped = claim.replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{escaped}"""'


def stripped(tree: ast.Module) -> ast.Module:
    """The tree in one spelling, without docstrings, annotations and names that carry sentences."""
    tree = respelled(tree)
    _Stripper(tree).visit(tree)
    return tree


def carries_words(name: str) -> bool:
    """May a name be meant to be read as a sentence?"""
    return len(name) > MAX_NAME or len(_WORD.findall(name)) > MAX_WORDS


def shown(name: str) -> str:
    """A name as a refusal may repeat it."""
    return "that name" if carries_words(name) else name


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


class _Stripper(ast.NodeTransformer):
    def __init__(self, tree: ast.Module) -> None:
        self.used = {name for node in walk(tree) for name in _names_in(node)}
        self.shortened: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        node.name = self._short(node.name)
        self.generic_visit(node)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        node.arg = self._short(node.arg)
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        node.arg = self._short(node.arg) if node.arg else node.arg
        self.generic_visit(node)
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._short(node.id)
        return node

    def _short(self, name: str) -> str:
        if not carries_words(name):
            return name
        if name not in self.shortened:
            stem = "RENAMED" if name.isupper() else "renamed"
            number = len(self.shortened) + 1
            while f"{stem}_{number}" in self.used:
                number += 1
            self.used.add(f"{stem}_{number}")
            self.shortened[name] = f"{stem}_{number}"
        return self.shortened[name]


def _names_in(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    return [node.name] if isinstance(node, ast.FunctionDef) else []
