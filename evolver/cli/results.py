"""Prints one result in the form that was asked for: table, JSON or HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from evolver.cli.options import Output
from evolver.cli.screen import Screen
from sandbox.report import Report

SCHEMA = 1


def show_result(
    screen: Screen,
    output: Output,
    out: Path | None,
    document: Callable[[], Mapping[str, object]],
    report: Callable[[], Report],
) -> None:
    """Print `document` as JSON, or `report` as table or HTML; `out` takes it instead of stdout."""
    if output is Output.TABLE:
        screen.show(report())
        return
    text = json_text(document()) if output is Output.JSON else _page(report())
    if out is not None:
        screen.save(out, text)
    else:
        screen.text(text)


def json_text(document: Mapping[str, object]) -> str:
    """The document with its schema first; numbers that are not finite become null."""
    return json.dumps(_finite({"schema": SCHEMA, **document}), indent=2, allow_nan=False)


def _page(report: Report) -> str:
    from sandbox.report_html import page_of

    return page_of(report)


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
