"""Parses Python text, one text at a time, and a long one in pieces.

Python's parser lets no other thread run: a text of ten thousand characters would hold up whoever
serves in this process for some 5 ms. CPython 3.11 counts how deep a tree is that it builds for the
whole process, not for the thread: when another thread builds one meanwhile, either may end with a
`SystemError`.
"""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Iterator

PIECE_CHARS = 1000
"""A piece is so long at least, unless it is the last, and ends before a function."""
MOST_CHARS = 100_000
"""Of a text that is parsed in pieces: each has the line ends of all before it, to be counted."""

_one_at_a_time = threading.RLock()
_function = re.compile(r"^(?=def )", re.MULTILINE)


def tree_of(text: str, *, foreign: bool = False) -> ast.Module:
    """The syntax tree of a text; what the compiler thinks of `foreign` escapes is not said.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: it is no Python, or too much of it.
    """
    with _one_at_a_time:
        if not foreign:
            return _parsed(text)
        with warnings.catch_warnings():  # one thread at a time: filters are the process's, too
            warnings.simplefilter("ignore")
            return _parsed(text)


def _parsed(text: str) -> ast.Module:
    """What `ast.parse` makes of it: the tree, or the exception.

    Whatever is open where a piece ends, a string or a bracket, is an error of that piece; then the
    text is parsed as a whole, and so is one with line ends of another kind, or a very long one.
    """
    body: list[ast.stmt] = []
    if "\r" in text or len(text) > MOST_CHARS:
        return ast.parse(text)
    try:
        for lines_before, piece in _pieces(text):
            body += ast.parse("\n" * lines_before + piece).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return ast.parse(text)
    return ast.Module(body, type_ignores=[])


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    begin = 0
    for found in _function.finditer(text):
        if found.start() - begin >= PIECE_CHARS:
            yield text.count("\n", 0, begin), text[begin : found.start()]
            begin = found.start()
    yield text.count("\n", 0, begin), text[begin:]


def single_statements(tree: ast.Module) -> Iterator[ast.Module]:
    """Each statement as a module by itself, for compilers that let no other thread run meanwhile.

    They say the same of it, as no statement of the language changes what another one means.
    """
    return (ast.Module([statement], type_ignores=[]) for statement in tree.body)


def expression_of(text: str) -> ast.expr:
    """The tree of one expression.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: it is none.
    """
    with _one_at_a_time:
        return ast.parse(text, mode="eval").body
