"""A policy's source as lines of HTML: coloured by classes, numbered, nothing in it hidden."""

from __future__ import annotations

import functools
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from pygments.lexers.python import PythonLexer  # type: ignore[import-untyped]  # ships no types
from pygments.token import (  # type: ignore[import-untyped]  # ships no types
    Comment,
    Keyword,
    Name,
    Number,
    Operator,
    String,
)

from policy_store.review.visible import LONGEST_LINE, characters, left_out

MOST_LINES = 2_000  # of one source on a page
MOST_COLOURED = 65_536  # characters; a longer text is shown plain
_CLASSES = ((Comment, "c"), (String, "s"), (Keyword, "k"), (Number, "m"), (Operator.Word, "k"),
            (Name.Function, "nf"), (Name.Builtin, "nb"))  # fmt: skip
Spans = Sequence[tuple[int, int]]
_LAYOUT = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
           tokenize.ENDMARKER)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters of one line in one colour; `kind` is empty for plain ones."""

    kind: str
    text: str


@functools.lru_cache(maxsize=32)
def lines_of(text: str) -> tuple[tuple[Piece, ...], ...]:
    """The lines of a source, each in pieces; what a lexer thinks of them changes no character."""
    plain = text.removesuffix("\n").split("\n")
    if len(text) > MOST_COLOURED or any(len(line) > 10 * LONGEST_LINE for line in plain):
        return tuple((Piece("", line),) for line in plain)
    lines: list[list[Piece]] = [[]]
    for kind, value in PythonLexer(stripnl=False, ensurenl=False).get_tokens(text):
        name = _class_of(kind)
        first, *others = value.split("\n")
        lines[-1].append(Piece(name, first))
        lines += [[Piece(name, part)] for part in others]
    found = tuple(tuple(piece for piece in line if piece.text) for line in lines)
    joined = ["".join(piece.text for piece in line) for line in found[: len(plain)]]
    return found[: len(plain)] if joined == plain else tuple((Piece("", one),) for one in plain)


def html_of(line: Sequence[Piece], changed: Spans = ()) -> Markup:
    """One line; the characters in `changed` are marked as what differs."""
    parts, at = [], 0
    for piece in line:
        for start, stop, marked in _cuts(at, at + len(piece.text), changed):
            shown = piece.text[start - at : max(min(stop, LONGEST_LINE) - at, 0)]
            if shown:
                parts.append(_span(piece.kind, characters(shown, code=True), marked))
        at += len(piece.text)
    if at > LONGEST_LINE:
        parts.append(left_out(at - LONGEST_LINE))
    return Markup("").join(parts)


def bare_lines(text: str) -> tuple[str, ...]:
    """Its lines without comments, docstrings and blank space at their ends.

    A text that Python cannot read stays as it is.
    """
    lines = text.removesuffix("\n").split("\n")
    drop: list[list[tuple[int, int]]] = [[] for _ in lines]
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return tuple(lines)
    alone = True  # at the start of a statement, where a string is no value
    for token in tokens:
        remark = token.type == tokenize.STRING and alone
        if token.type == tokenize.COMMENT or remark:
            for row in range(token.start[0], min(token.end[0], len(lines)) + 1):
                first = token.start[1] if row == token.start[0] else 0
                last = token.end[1] if row == token.end[0] else len(lines[row - 1])
                drop[row - 1].append((first, last))
        alone = token.type in _LAYOUT or (alone and token.type == tokenize.COMMENT)
    return tuple(_without(line, spans) for line, spans in zip(lines, drop, strict=True))


def _without(line: str, spans: Spans) -> str:
    for first, last in reversed(spans):
        line = line[:first] + line[last:]
    return line.rstrip()


def _cuts(start: int, stop: int, changed: Spans) -> Iterator[tuple[int, int, bool]]:
    """A range cut where what is changed begins and ends."""
    at = start
    for first, last in changed:
        first, last = max(first, at), min(last, stop)
        if first < last:
            if at < first:
                yield at, first, False
            yield first, last, True
            at = last
    if at < stop:
        yield at, stop, False


def _span(kind: str, text: Markup, marked: bool) -> Markup:
    shown = Markup('<span class="{}">{}</span>').format(kind, text) if kind else text
    return Markup("<mark>{}</mark>").format(shown) if marked else shown


@functools.cache
def _class_of(kind: tuple[str, ...]) -> str:
    for parent, name in _CLASSES:
        if kind in parent:
            return name
    return ""
