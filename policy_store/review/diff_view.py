"""What differs between two sources, line by line, for one column or two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from functools import lru_cache

from markupsafe import Markup

from policy_store.review.code import (
    MOST_LINES,
    Piece,
    Spans,
    bare_lines,
    html_of,
    lines_of,
)

CONTEXT = 3  # lines shown around a change
ALIKE = 0.4  # lines less alike are replaced as a whole
Numbered = tuple[int, str]  # a line's place from 0, and its text
Lines = Sequence[Sequence[Piece]]
_WORDS = re.compile(r"\w+|\s+|.", re.S)


class Layout(StrEnum):
    """How a diff is laid out."""

    UNIFIED = "unified"
    SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a source: its number from 1, and its HTML."""

    number: int
    html: Markup


@dataclass(frozen=True, slots=True)
class Row:
    """Lines that stand side by side; one that is missing was added or removed.

    Attributes:
        kind: "same", "changed", "added", "removed", or "gap" for lines left out.
        skipped: in a gap.
    """

    kind: str
    old: Line | None = None
    new: Line | None = None
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Diff:
    """Two sources side by side.

    Attributes:
        added, removed: lines.
        cut: a source is longer than a page shows.
    """

    rows: tuple[Row, ...]
    added: int
    removed: int
    cut: bool = False

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.added and not self.removed

    def unified(self) -> Iterator[Row]:
        """Its rows for one column: of a changed stretch, first what went, then what came."""
        new: list[Row] = []
        for row in self.rows:
            if row.kind in ("same", "gap"):
                yield from new
                new = []
                yield row
                continue
            if row.old is not None:
                yield Row("removed", old=row.old)
            if row.new is not None:
                new.append(Row("added", new=row.new))
        yield from new


@lru_cache(maxsize=32)
def diff_of(old: str, new: str, *, bare: bool = False) -> Diff:
    """The lines that differ, with some around them; `bare` looks past comments and docstrings."""
    before, after = lines_of(old)[:MOST_LINES], lines_of(new)[:MOST_LINES]
    cut = len(before) < len(lines_of(old)) or len(after) < len(lines_of(new))
    left, right = _numbered(old, bare)[:MOST_LINES], _numbered(new, bare)[:MOST_LINES]
    matcher = SequenceMatcher(None, [text for _, text in left], [text for _, text in right])
    rows: list[Row] = []
    added = removed = 0
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            rows += [
                Row("same", Line(a + 1, html_of(before[a])), Line(b + 1, html_of(after[b])))
                for (a, _), (b, _) in zip(left[i:j], right[k:m], strict=True)
            ]
            continue
        added, removed = added + m - k, removed + j - i
        for old_line, new_line in _paired(left[i:j], right[k:m]):
            rows.append(_changed(old_line, new_line, before, after))
    return Diff(tuple(_folded(rows)), added, removed, cut)


def _numbered(text: str, bare: bool) -> list[tuple[int, str]]:
    """Lines by place; without comments, those that hold nothing else are gone."""
    if not bare:
        return list(enumerate(text.removesuffix("\n").split("\n")))
    return [(place, line) for place, line in enumerate(bare_lines(text)) if line]


def _paired(
    old: Sequence[Numbered], new: Sequence[Numbered]
) -> Iterator[tuple[Numbered | None, Numbered | None]]:
    """Changed lines opposite to what became of them, in order."""
    both = min(len(old), len(new))
    yield from zip(old[:both], new[:both], strict=True)
    yield from ((line, None) for line in old[both:])
    yield from ((None, line) for line in new[both:])


def _changed(old: Numbered | None, new: Numbered | None, before: Lines, after: Lines) -> Row:
    gone: Spans = ()
    come: Spans = ()
    if old is not None and new is not None:
        gone, come = _differences(_text(before[old[0]]), _text(after[new[0]]))
    kind = "added" if old is None else "removed" if new is None else "changed"
    return Row(kind, _line(old, before, gone), _line(new, after, come))


def _line(numbered: Numbered | None, lines: Lines, marked: Spans) -> Line | None:
    if numbered is None:
        return None
    place, _ = numbered
    return Line(place + 1, html_of(lines[place], marked))


def _text(line: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in line)


def _differences(old: str, new: str) -> tuple[Spans, Spans]:
    """The middle of each of two lines that begin and end alike; none where little is alike."""
    left, right = _WORDS.findall(old), _WORDS.findall(new)
    ahead = _alike(left, right)
    behind = _alike(left[ahead:][::-1], right[ahead:][::-1])
    start, stops = len("".join(left[:ahead])), (len(old), len(new))
    tail = len("".join(left[len(left) - behind :]))
    if start + tail < ALIKE * max(stops):
        return (), ()
    return ((start, stops[0] - tail),), ((start, stops[1] - tail),)


def _alike(left: Sequence[str], right: Sequence[str]) -> int:
    """How many words both begin with."""
    pairs = zip(left, right, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def _folded(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows near a change; a gap stands for the others."""
    near = {
        place + step
        for place, row in enumerate(rows)
        if row.kind != "same"
        for step in range(-CONTEXT, CONTEXT + 1)
    }
    skipped = 0
    for place, row in enumerate(rows):
        if place in near:
            if skipped:
                yield Row("gap", skipped=skipped)
            skipped = 0
            yield row
        else:
            skipped += 1
    if skipped:
        yield Row("gap", skipped=skipped)
