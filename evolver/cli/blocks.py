"""The blocks of a report as rich draws them in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from evolver.cli.curves import drawn
from evolver.cli.screen import STYLES
from sandbox.report import (
    Block,
    Code,
    Curves,
    Fold,
    Grid,
    Heading,
    Lines,
    Plot,
    Report,
    diff_tone,
    plain,
)
from telemetry.sparkline import sparkline


def renderables(report: Report) -> Iterator[RenderableType]:
    """What to print, block by block."""
    for block in report.blocks:
        if not isinstance(block, Fold):
            yield _drawn(block)


def _drawn(block: Block) -> RenderableType:
    match block:
        case Heading(title, about):
            head = Text("\n") + Text(plain(title), style="bold")
            return Group(head, Text(plain(about), style="dim")) if about else head
        case Lines(lines, tone):
            return Text(plain("\n".join(lines)), style=STYLES[tone])
        case Grid():
            return _table(block)
        case Plot():
            return _spark(block)
        case Curves():
            return _curves(block)
        case Code():
            return _code(block)
        case Fold():
            return Text("")


def _table(grid: Grid) -> RenderableType:
    table = Table(
        box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0),
        show_header=any(name.strip(">") for name in grid.columns),
    )  # fmt: skip
    wide = len(grid.columns) > 6
    for place, name in enumerate(grid.columns):
        right = name.startswith(">")
        # where it is narrow, names are folded before numbers are cut
        table.add_column(
            plain(name.lstrip(">")), justify="right" if right else "left", no_wrap=right,
            overflow="ellipsis" if right else "fold", min_width=12 if wide and place == 0 else 0,
        )  # fmt: skip
    for row in grid.rows:
        table.add_row(*(Text(plain(cell.text), style=STYLES[cell.tone]) for cell in row))
    drawn = Padding(table, (0 if grid.title else 1, 0, 0, 0), expand=False)
    return Group(Text("\n" + plain(grid.title), style="dim"), drawn) if grid.title else drawn


def _spark(plot: Plot) -> RenderableType:
    known = [value for value in plot.values if math.isfinite(value)]
    if not known:
        return Text("")
    words = f"{plot.title}  0 .. {max(*known, 0.0):.3g}  {plot.span}".rstrip()
    return Group(Text(sparkline(plot.values), style="cyan"), Text(plain(words), style="dim"))


def _curves(curves: Curves) -> RenderableType:
    picture = Text(plain("\n".join(drawn(curves))), style="cyan", no_wrap=True, overflow="crop")
    return Group(Text("\n" + plain(curves.title), style="dim"), picture)


def _code(code: Code) -> RenderableType:
    """Source as it is, never broken into other lines: it may be piped into a file or into patch."""
    text = plain(code.text).rstrip("\n")
    if code.language == "diff":
        body = Text("\n").join(Text(x, style=STYLES[diff_tone(x)]) for x in text.split("\n"))
    else:
        colours = Syntax(text, code.language, theme="ansi_dark", background_color="default")
        body = colours.highlight(text)
        body.rstrip()
    body.no_wrap, body.overflow = True, "ignore"
    title = [Text(plain(code.title), style="dim")] if code.title else []
    return Group(*title, body)
