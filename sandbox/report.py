"""A result as blocks of text, tables, plots and code: shown in a terminal or as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Tone(StrEnum):
    """What a piece of text is to the reader."""

    PLAIN = "plain"
    DIM = "dim"
    STRONG = "strong"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Heading:
    """A title, with a sentence about it."""

    title: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """Sentences, one a line."""

    lines: tuple[str, ...]
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; columns whose name starts with `>` hold numbers and are set to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """A series of values over time; `span` says what its width is."""

    title: str
    values: tuple[float, ...]
    span: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """Source text, or a unified diff of it."""

    text: str
    language: str = "python"
    title: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: points (x, y) in order of x; a value holds until the next one.

    Attributes:
        dots: the points alone, without a line between them.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Curves:
    """Several series over one axis; `level` is a line to compare with.

    Attributes:
        unit: of the other axis; "%" shows shares, such as 0.05, in percent.
    """

    title: str
    across: str
    series: tuple[Series, ...]
    level: tuple[str, float] | None = None
    unit: str = "%"


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that a page shows when its summary is clicked; a terminal leaves them out."""

    summary: str
    blocks: tuple[Block, ...]


Block = Heading | Lines | Grid | Plot | Curves | Code | Fold


@dataclass(slots=True)
class Report:
    """Blocks in the order they are read; the methods return the report, so that they chain."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    def heading(self, title: str, about: str = "") -> Report:
        """Start a part."""
        self.blocks.append(Heading(title, about))
        return self

    def say(self, *lines: str, tone: Tone = Tone.PLAIN) -> Report:
        """Add sentences."""
        if lines:
            self.blocks.append(Lines(lines, tone))
        return self

    def grid(
        self, columns: Sequence[str], rows: Sequence[Sequence[str | Cell]], title: str = ""
    ) -> Report:
        """Add a table; plain strings become plain cells."""
        cells = tuple(
            tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows
        )
        self.blocks.append(Grid(tuple(columns), cells, title))
        return self

    def plot(self, title: str, values: Sequence[float], span: str = "") -> Report:
        """Add a series."""
        self.blocks.append(Plot(title, tuple(values), span))
        return self

    def curves(
        self,
        title: str,
        across: str,
        series: Sequence[Series],
        level: tuple[str, float] | None = None,
    ) -> Report:
        """Add curves of shares, such as 0.05 for 5 %, over the axis `across`."""
        self.blocks.append(Curves(title, across, tuple(series), level))
        return self

    def fold(self, summary: str, inside: Report) -> Report:
        """Add what another report holds, folded."""
        self.blocks.append(Fold(summary, tuple(inside.blocks)))
        return self

    def code(self, text: str, language: str = "python", title: str = "") -> Report:
        """Add source text."""
        self.blocks.append(Code(text, language, title))
        return self


def plain(text: str) -> str:
    """Foreign text made safe for a terminal: no control characters but line ends and tabs."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def diff_tone(line: str) -> Tone:
    """How a line of a unified diff is shown."""
    if line.startswith(("+++", "---", "@@")):
        return Tone.DIM
    return {"+": Tone.GOOD, "-": Tone.BAD}.get(line[:1], Tone.PLAIN)
