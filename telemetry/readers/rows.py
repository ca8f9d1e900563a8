"""Turns the raw columns of a file into a `Trace`: checks rows, mends order, and says so."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from telemetry.blocks import Blocks
from telemetry.errors import FormatError, ReadError, RowError
from telemetry.readers.source import Source
from telemetry.trace import Trace, TraceMeta, opaque_codes, turns_of

Empty = Literal["drop", "keep"]
Scope = Literal["none", "global", "session"]


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """One native format: what it declares, how it is recognised, how it is read.

    Attributes:
        name: what ``--format`` takes; title: one phrase for people.
        clock: unit and zero of the file's clock. zero: whether time starts at the first arrival
            or where the file's own clock says 0.
        block_tokens: tokens in a prefix block, 0 without reuse information; scope: how far equal
            block ids mean equal content.
        recognises: whether a source looks like this format.
        read: ``read(source, **options) -> Trace``.
        source, licence: where such files are published and under which terms.
    """

    name: str
    title: str
    clock: str
    recognises: Callable[[Source], bool]
    read: Callable[..., Trace]
    zero: Literal["first arrival", "file"] = "first arrival"
    block_tokens: int = 0
    scope: Scope = "none"
    source: str = ""
    licence: str = ""


@dataclass(slots=True)
class Rows:
    """Columns as they stand in the file, before they are checked.

    Attributes:
        lines: line of each row, for messages; where: the file's safe name.
        time_s, prompt_tokens, output_tokens: one value a row.
        tenant: any hashable a row, replaced by opaque codes; session: likewise.
        turn: place of each row in its session, counted when absent.
    """

    where: str
    lines: Sequence[int]
    time_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    tenant: Sequence[Any] | None = None
    session: Sequence[Any] | None = None
    turn: Sequence[int] | None = None
    blocks: Blocks | None = None
    span_s: float | None = None
    notes: list[str] = field(default_factory=list)


def finish(rows: Rows, form: TraceFormat, source: Source, empty: Empty = "drop") -> Trace:
    """Check the rows, drop or keep empty ones, mend their order and build the trace."""
    if empty not in ("drop", "keep"):
        raise FormatError(f"empty_outputs is {empty!r}; give drop or keep.")
    _check(rows)
    kept = _without_empty(rows, empty)
    if not len(kept):
        raise ReadError(f"{rows.where} holds no request; check the file and --format.")
    times = rows.time_s[kept]
    _note_order(rows, times)
    zero = float(times.min()) if form.zero == "first arrival" else 0.0
    blocks = rows.blocks.take(kept).compact() if rows.blocks else None
    session = None if rows.session is None else opaque_codes(rows.session)[kept]
    turn = None if rows.turn is None else np.asarray(rows.turn)[kept]
    if session is not None and turn is None:
        turn = turns_of(session, times)
    meta = TraceMeta(name=source.name, format=form.name, clock=form.clock,
                     notes=tuple(rows.notes), source=form.source, licence=form.licence)
    return Trace.of(
        meta, arrival_s=times - zero, span_s=rows.span_s,
        prompt_tokens=np.maximum(rows.prompt_tokens[kept], 1),
        output_tokens=np.maximum(rows.output_tokens[kept], 1),
        tenant=None if rows.tenant is None else opaque_codes(rows.tenant)[kept],
        session=session, turn=turn, blocks=blocks)


def csv_columns(
    source: Source, columns: Sequence[str], header: Sequence[str]
) -> tuple[list[int], dict[str, list[str]]]:
    """The named columns of a CSV file with their line numbers; refuses rows of another width."""
    lines: list[int] = []
    picked: list[list[str]] = []
    numbered = source.lines()
    found = next(csv.reader([next(numbered, (0, ""))[1]]), [])
    if [name.strip() for name in found] != list(header):
        raise FormatError(f"{source.label} does not begin with the header "
                          f"{','.join(header)}; check --format.")
    places = [header.index(name) for name in columns]
    width = len(header)
    for number, row in csv_rows(source, numbered):
        if len(row) != width:
            raise RowError(source.label, number, f"{len(row)} columns where {width} belong",
                           "drop or mend the line")
        lines.append(number)
        picked.append(row)
    return lines, {name: [row[place] for row in picked]
                   for name, place in zip(columns, places, strict=True)}


def csv_rows(
    source: Source, numbered: Iterator[tuple[int, str]]
) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line that is not blank; a quoted line break is refused."""
    last = [0]

    def remembered() -> Iterator[str]:
        for number, line in numbered:
            last[0] = number
            yield line

    try:
        for row in csv.reader(remembered(), strict=True):
            if row:
                yield last[0], row
    except csv.Error as error:
        raise RowError(source.label, last[0], "this is not valid CSV",
                       "drop or mend the line") from error


def floats(
    where: str, lines: Sequence[int], name: str, cells: Sequence[str], blank: float | None = None
) -> NDArray[np.float64]:
    """A column of text as numbers; ``blank`` replaces empty cells, or they are refused."""
    texts = cells if blank is None else [cell or str(blank) for cell in cells]
    try:
        return np.array(texts, dtype=np.str_).astype(np.float64) if len(texts) else np.zeros(0)
    except ValueError:
        for line, cell in zip(lines, texts, strict=True):
            if not _is_number(cell):
                raise RowError(where, line, f"{name} is not a number",
                               "drop or mend the line") from None
        raise


def numbers(where: str, lines: Sequence[int], name: str, values: list[Any]) -> NDArray[np.float64]:
    """A column of JSON values as numbers; anything else is refused with its line."""
    for line, value in zip(lines, values, strict=True):
        if type(value) is not int and type(value) is not float:
            raise RowError(where, line, f"{name} is not a number", "drop or mend the line")
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        raise ReadError(f"{where}: a {name} is beyond any number; mend the file.") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _check(rows: Rows) -> None:
    whole = 2**31 - 1
    for name, column in (("prompt tokens", rows.prompt_tokens),
                         ("output tokens", rows.output_tokens)):
        _refuse(rows, ~((column >= 0) & (column <= whole) & (column == np.floor(column))),
                f"{name} is not a whole number from 0 to {whole}")
    _refuse(rows, ~np.isfinite(rows.time_s), "the time is not a finite number")


def _refuse(rows: Rows, bad: NDArray[np.bool_], problem: str) -> None:
    if bad.any():
        raise RowError(rows.where, rows.lines[int(np.argmax(bad))], problem,
                       "drop or mend the line")


def _without_empty(rows: Rows, empty: Empty) -> NDArray[np.int64]:
    no_output, no_prompt = rows.output_tokens == 0, rows.prompt_tokens == 0
    if no_output.any():
        rows.notes.append(
            f"{int(no_output.sum())} rows without output (failed requests) were dropped; "
            "empty_outputs=keep counts them as one token." if empty == "drop" else
            f"{int(no_output.sum())} rows without output were kept as one token.")
    if no_prompt.any():
        rows.notes.append(f"{int(no_prompt.sum())} rows without prompt tokens count as one token.")
    kept = ~no_output if empty == "drop" else np.ones(len(no_output), np.bool_)
    return np.flatnonzero(kept)


def _note_order(rows: Rows, times: NDArray[np.float64]) -> None:
    steps_back = int((np.diff(times) < 0).sum())
    if steps_back:
        rows.notes.append(f"The file is not in order of time ({steps_back} steps back); "
                          "its rows were sorted.")
