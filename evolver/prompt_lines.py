"""Numbers, tables and other people's lines, written so that they are safe to show to a model.

What is measured enters as numbers. Lines that others made (ideas, verifier's words, remarks) are
held to short printable ASCII without code fences, so that none can open a block or a heading.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

MAX_LINE_CHARACTERS = 800
MAX_LINES = 160

Cell = str | float | None


def number(value: float | None) -> str:
    """Four digits or a whole number; "-" where there is no finite number."""
    if value is None or not math.isfinite(value):
        return "-"
    if abs(value) < 1e7 and (float(value).is_integer() or abs(value) >= 1000):
        return str(round(value))
    return f"{value:.4g}"


def percent(share: float | None) -> str:
    """A share of one as whole percent, with a digit below ten."""
    if share is None or not math.isfinite(share):
        return "-"
    return f"{100 * share:.1f} %" if abs(share) < 0.0995 else f"{100 * share:.0f} %"


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> tuple[str, ...]:
    """Lines of a table; nothing when there are no rows. Numbers are written by `number`."""
    body = [_row([cell if isinstance(cell, str) else number(cell) for cell in row]) for row in rows]
    return (_row(heads), _row(["---"] * len(heads)), *body) if body else ()


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def listed(lines: Iterable[str], most: int = MAX_LINES) -> str:
    """Lines as a list, each made harmless; rows of tables stay rows, on their own."""
    shown = [line for line in lines if line.strip()]
    text, before = list[str](), False
    for line in shown[:most]:
        is_row = line.startswith("|")
        if is_row is not before and text:
            text.append("")
        text.append(harmless(line) if is_row else f"- {harmless(line)}")
        before = is_row
    if len(shown) > most:
        text.append(f"- ({len(shown) - most} more)")
    return "\n".join(text)


def harmless(line: str, most: int = MAX_LINE_CHARACTERS) -> str:
    """One line of printable ASCII without backticks, cut at a word when it is too long."""
    plain = "".join(c if " " <= c <= "~" and c != "`" else " " for c in line)
    return cut(" ".join(plain.split()), most)


def cut(line: str, most: int) -> str:
    """The line, or as many whole words of it as fit with three dots behind them."""
    if len(line) <= most:
        return line
    kept = line[: most - 3]
    if line[most - 3] != " ":
        whole = kept.rpartition(" ")[0]
        kept = whole or kept
    return f"{kept.rstrip()}..."


def fenced(text: str, language: str = "python") -> str:
    """A block whose fence is longer than any in the text, so that the text cannot end it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip()}\n{fence}"
