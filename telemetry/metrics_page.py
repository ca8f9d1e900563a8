"""Reads samples out of Prometheus text: the one reader of what engines expose, bounded and quick.

A page is hostile input. Only lines of wanted names are looked at, at most `MOST_SAMPLES` of them,
none over `MOST_LINE_CHARS`; text is cut at `MOST_PAGE_BYTES` by whoever fetches it. One malformed
line costs itself alone. `prometheus_client`'s parser knows no bounds, gives up a page for one bad
line and takes some thirty times as long as a gateway's look (`benchmarks/bench_scrape.py`), so the
tests hold this one to it instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator
from typing import NamedTuple

MOST_PAGE_BYTES = 4 * 2**20
MOST_LINE_CHARS = 8192
MOST_SAMPLES = 20_000

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
# Possessive, so that a line without an end is given up in one pass.
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_REST = re.compile(
    rf"(?:[ \t]*+(\{{(?:[^\"{{}}]|{_QUOTED})*+\}})[ \t]*+|[ \t]++)"
    r"([^\s#]++)(?:[ \t]++-?\d++(?:\.\d++)?)?(?:[ \t]++#.*+)?\s*\Z"
)
# A name begins where no name goes on, or a long one is tried from each of its letters.
_LABEL = re.compile(rf"(?<![a-zA-Z0-9_])([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*({_QUOTED})")
_ESCAPE = re.compile(r'\\([\\n"])')


class Sample(NamedTuple):
    """One line.

    Attributes:
        line: of the page, from 1.
        labels: as written, braces included; empty without any.
        value: NaN where the line does not parse, or says so.
    """

    line: int
    name: str
    labels: str
    value: float


def samples(page: str, names: Container[str], prefixes: tuple[str, ...]) -> Iterator[Sample]:
    """The lines of a page that are of these names, each of which begins with a prefix."""
    left = MOST_SAMPLES
    for number, line in enumerate(page.split("\n"), 1):
        if not line.startswith(prefixes):
            continue
        match = _NAME.match(line)
        if match is None or match[0] not in names:
            continue
        if (left := left - 1) < 0:
            return
        yield _sample(number, match[0], line)


def label(labels: str, name: str) -> str | None:
    """The value of one label; None where there is none."""
    for match in _LABEL.finditer(labels, 1):
        if match[1] == name:
            return _ESCAPE.sub(_unescaped, match[2][1:-1])
    return None


def labels_of(labels: str) -> dict[str, str]:
    """All labels of a sample, by name."""
    return {
        name: _ESCAPE.sub(_unescaped, text[1:-1]) for name, text in _LABEL.findall(labels, 1)
    }


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def _sample(number: int, name: str, line: str) -> Sample:
    rest = _REST.match(line, len(name)) if len(line) <= MOST_LINE_CHARS else None
    if rest is None:
        return Sample(number, name, "", math.nan)
    return Sample(number, name, rest[1] or "", to_number(rest[2]))


def to_number(text: str) -> float:
    """A number as Prometheus writes it; NaN for anything else."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan
