"""A report as one self-contained HTML file: no script, no font, nothing fetched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from sandbox.report import (
    Block,
    Cell,
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
from sandbox.report_svg import figure_of

WIDTH, HEIGHT = 720, 96

# Nothing is fetched and nothing runs, whatever a candidate's text holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #667085; --line: #d9dee6;
  --good: #1a7f4b; --bad: #b42318; --mark: #2f6fde; --paper: #fff; --soft: #f6f7f9;
  --second: #b5470f; --third: #7a3fb5; --fourth: #0e7490; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --dim: #98a2b3; --line: #344054;
  --good: #55c88a; --bad: #f97066; --mark: #7aa7ff; --paper: #14181f; --soft: #1b212b;
  --second: #f5a26b; --third: #c49bf0; --fourth: #5cc8dc; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .25rem; }
p { margin: .15rem 0; } .about, .dim, caption, figcaption { color: var(--dim); }
.strong { font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .35rem; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; }
th { font-weight: 600; } .number { text-align: right; }
.wide { overflow-x: auto; } td { overflow-wrap: break-word; vertical-align: top; }
td.number { white-space: nowrap; } p { overflow-wrap: anywhere; }
figure { margin: .75rem 0; } svg { width: 100%; max-width: 45rem; height: auto; }
svg.key { width: 1.6rem; height: .6rem; } .entry { white-space: nowrap; margin-right: 1rem; }
figure.curves { display: inline-block; width: min(100%, 29rem); vertical-align: top; }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim);
  paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; }
svg text.value { fill: var(--ink); font-weight: 600; }
details { margin: .5rem 0; border-left: 2px solid var(--line); padding-left: .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
@media (max-width: 30rem) { body { margin: 1rem auto; padding: 0 .8rem; }
  table, pre { font-size: 12.5px; } th, td { padding-right: .5rem; } }
pre { background: var(--soft); padding: .8rem 1rem; overflow-x: auto; font-size: 13px;
  line-height: 1.45; border-radius: 6px; }
"""


def page_of(report: Report) -> str:
    """The whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{_text(report.title)}</title>\n<style>{_STYLE}</style></head>\n"
        f"<body><h1>{_text(report.title)}</h1>\n{body_of(report)}\n</body></html>\n"
    )


def body_of(report: Report) -> str:
    """Its blocks alone, for a page that has a title and a style of its own."""
    return _blocks(report.blocks, report.title)


def _blocks(blocks: Sequence[Block], above: str) -> str:
    """Blocks one below the other; a table without a title is named by what stands above it."""
    parts = []
    for block in blocks:
        above = block.title if isinstance(block, Heading) else above
        parts.append(_block(block, above))
    return "\n".join(parts)


def _block(block: Block, above: str) -> str:
    match block:
        case Heading(title, about):
            below = f'<p class="about">{_text(about)}</p>' if about else ""
            return f"<h2>{_text(title)}</h2>{below}"
        case Lines(lines, tone):
            return "\n".join(f'<p class="{tone.value}">{_text(line)}</p>' for line in lines)
        case Grid():
            return _table(block, above)
        case Plot():
            return _figure(block)
        case Curves():
            return figure_of(block)
        case Code():
            return _code(block)
        case Fold(summary, inside):
            held = _blocks(inside, summary)
            return f"<details><summary>{_text(summary)}</summary>\n{held}\n</details>"


def _table(grid: Grid, above: str) -> str:
    right = [name.startswith(">") for name in grid.columns]
    names = [name.lstrip(">") for name in grid.columns]
    heads = "".join(_head(name, r) for name, r in zip(names, right, strict=True))
    head = f"<thead><tr>{heads}</tr></thead>" if any(names) else ""
    rows = "\n".join(f"<tr>{_row(row, right)}</tr>" for row in grid.rows)
    caption = f"<caption>{_text(grid.title)}</caption>" if grid.title else ""
    named = "" if grid.title else f' aria-label="{_text(above)}"'
    table = f"<table{named}>{caption}{head}<tbody>\n{rows}\n</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _head(name: str, right: bool) -> str:
    return f'<th scope="col"{_number(right)}>{_text(name)}</th>' if name else "<td></td>"


def _row(row: Sequence[Cell], right: Sequence[bool]) -> str:
    return "".join(
        f'<td class="{cell.tone.value}{" number" if r else ""}">{_text(cell.text)}</td>'
        for cell, r in zip(row, right, strict=True)
    )


def _number(right: bool) -> str:
    return ' class="number"' if right else ""


def _figure(plot: Plot) -> str:
    known = [value for value in plot.values if math.isfinite(value)]
    if not known:
        return ""
    top = max(*known, 0.0) or 1.0
    step = WIDTH / max(len(plot.values), 1)
    bars = "".join(
        f'<rect x="{k * step:.1f}" y="{HEIGHT * (1 - value / top):.1f}" width="{step * 0.86:.1f}" '
        f'height="{HEIGHT * value / top:.1f}" fill="var(--mark)"/>'
        for k, value in enumerate(plot.values)
        if math.isfinite(value) and value > 0
    )
    words = f"{plot.title}: 0 to {top:.3g}" + (f", over {plot.span}" if plot.span else "")
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(words)}">'
        f"{bars}</svg><figcaption>{_text(words)}</figcaption></figure>"
    )


def _code(code: Code) -> str:
    lines = plain(code.text).rstrip("\n").split("\n")
    if code.language == "diff":
        lines = [f'<span class="{diff_tone(x).value}">{escape(x)}</span>' for x in lines]
    else:
        lines = [escape(line) for line in lines]
    title = f'<p class="dim">{_text(code.title)}</p>' if code.title else ""
    return f"{title}<pre>{chr(10).join(lines)}</pre>"


def _text(text: str) -> str:
    return escape(plain(text))
