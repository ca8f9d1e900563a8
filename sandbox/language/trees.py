"""Parses Python text, one text at a time.

CPython 3.11 counts how deep a tree is that it builds for the whole process, not for the thread:
when another thread builds one meanwhile, either may end with a `SystemError`.
"""

from __future__ import annotations

import ast
import threading
import warnings

_one_at_a_time = threading.RLock()


def tree_of(text: str, *, foreign: bool = False) -> ast.Module:
    """The syntax tree of a text; what the compiler thinks of `foreign` escapes is not said.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: it is no Python, or too much of it.
    """
    with _one_at_a_time:
        if not foreign:
            return ast.parse(text)
        with warnings.catch_warnings():  # one thread at a time: filters are the process's, too
            warnings.simplefilter("ignore")
            return ast.parse(text)


def expression_of(text: str) -> ast.expr:
    """The tree of one expression.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: it is none.
    """
    with _one_at_a_time:
        return ast.parse(text, mode="eval").body
