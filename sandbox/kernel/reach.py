"""What the machine code of one kernel entry depends on, as a digest.

An entry inlines every kernel function it reaches; other entries it calls by address. So the code
of those functions, the constants they name and the layout of the rows are all there is to it, and
a change elsewhere leaves its machine code good.

Functions of `SHARED` modules carry no mark: hosts call them as they stand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import numpy as np

_SCALARS = (bool, int, float, str)
SHARED = frozenset({"sandbox.summary", "sandbox.summary_forecast", "sandbox.summary_window"})


def reach_digest(function: Callable[..., Any], base: str) -> str:
    """Digest over all a function reaches; `base` stands for toolchain and layouts."""
    digest = hashlib.sha256(base.encode())
    seen: set[str] = set()
    waiting = [function]
    while waiting:
        plain = waiting.pop()
        name = f"{plain.__module__}.{plain.__qualname__}"
        if name in seen:
            continue
        seen.add(name)
        digest.update(f"{name}\0{_text(plain.__code__)}\0".encode())
        for used, value in _named(plain):
            inner = value if is_shared(value) else getattr(value, "py_func", None)
            if isinstance(inner, FunctionType):
                waiting.append(inner)
            elif isinstance(value, np.ndarray):
                digest.update(f"{used}={value.dtype}{value.tolist()!r}\0".encode())
            elif isinstance(value, (*_SCALARS, tuple)):
                digest.update(f"{used}={value!r}\0".encode())
            else:
                digest.update(f"{used}:{getattr(value, '__name__', type(value))}\0".encode())
    return digest.hexdigest()


def is_shared(value: object) -> bool:
    """A plain function that kernel functions may call."""
    return isinstance(value, FunctionType) and value.__module__ in SHARED


def _named(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Globals a function names, in the order of its code."""
    scope = function.__globals__
    names = dict.fromkeys(name for code in _codes(function.__code__) for name in code.co_names)
    return ((name, scope[name]) for name in names if name in scope)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from _codes(value)


def _text(code: CodeType) -> str:
    """The instructions and constants, without line numbers or names of files."""
    parts = []
    for part in _codes(code):
        constants = [c for c in part.co_consts if not isinstance(c, CodeType)]
        names = (part.co_names, part.co_varnames, part.co_freevars)
        parts.append(f"{part.co_code.hex()} {constants!r} {names!r}")
    return "\n".join(parts)
