"""Requests of many lines at once by Arrow's JSON reader, where every line is as gateways write it.

What is odd about any line of a block, down to a blank one, sends the whole block to the reader
that looks at each line, so that both agree on every block: one is only quicker.
"""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.blocks import offsets_of
from telemetry.request_rows import NEEDED, USUAL, WORDS, Parsed, hashes_of, parse_lines
from telemetry.requests import COLUMNS, Requests, problems_of
from telemetry.segments.arrow import arrow, coded_digests

_INT = {np.int8, np.int16, np.int32, np.int64}


class _Odd(ValueError):
    """A block that must be looked at line by line."""


def parse_block(data: bytes) -> Parsed:
    """Requests of whole lines of JSON, as `parse_lines` has them."""
    lines = data.count(b"\n")
    # One flat object a line: nothing that could be nested ever gets to a parser that recurses.
    if lines and data.endswith(b"\n") and data.count(b"{") == lines and b"[" not in data:
        with contextlib.suppress(ValueError):  # pyarrow's errors of contents are ValueErrors
            return _parsed(data, lines)
    return parse_lines(data.decode("utf-8", "replace").split("\n"))


@cache
def _options() -> tuple[Any, Any]:
    """The columns to read, as a log spells them; everything else is skipped."""
    import pyarrow.json as json

    pa = arrow().pa
    kinds = [("blocks", pa.string()), ("digest", pa.string())]
    for name, column in COLUMNS.items():
        if name in WORDS:
            kinds.append((name, pa.string()))
        elif name != "digest":
            kind = pa.int64() if column.kind in _INT else pa.float64()
            kinds.append((name, pa.bool_() if column.kind is np.bool_ else kind))
    options = json.ParseOptions(
        explicit_schema=pa.schema(kinds), unexpected_field_behavior="ignore"
    )
    return json, options


def _parsed(data: bytes, lines: int) -> Parsed:
    json, options = _options()
    reading = json.ReadOptions(use_threads=False, block_size=len(data) + 1)
    source = arrow().pa.BufferReader(data)
    table = json.read_json(source, read_options=reading, parse_options=options)
    if table.num_rows != lines or any(table.column(name).null_count for name in NEEDED):
        raise _Odd
    codes = _codes(table, "endpoint")
    served = codes >= 0
    other = lines - int(served.sum())
    if other:
        table = table.filter(arrow().pa.array(served))
        codes = codes[served]
    outcomes = _codes(table, "outcome")
    if (outcomes < 0).any():
        raise _Odd
    found: dict[str, Any] = {"endpoint": codes, "outcome": outcomes}
    for name in COLUMNS:
        if name not in (*WORDS, "digest"):
            found[name] = _numbers(table, name)
    digest, digests = coded_digests(table.column("digest").fill_null(""))
    requests = Requests(**found, **_blocks(table), digests=digests, digest=digest)
    if any(True for _ in problems_of(requests)):
        raise _Odd
    return Parsed(requests, (), other)


def _numbers(table: Any, name: str) -> NDArray[Any]:  # noqa: ANN401
    column, values = COLUMNS[name], table.column(name)
    if column.usual is not None and values.null_count:
        values = values.fill_null(column.usual)
    numbers = values.to_numpy()
    if column.kind is np.float64 and column.usual is not None:
        numbers = np.where(np.isnan(numbers), column.usual, numbers)
    narrow = numbers.astype(column.kind)
    if column.kind in _INT and not np.array_equal(narrow, numbers):
        raise _Odd
    return np.ascontiguousarray(narrow)


def _codes(table: Any, name: str) -> NDArray[np.int8]:  # noqa: ANN401
    """Places of words among those that are known, -1 for others."""
    words = table.column(name).fill_null(USUAL[name]).combine_chunks().dictionary_encode()
    known = {word: place for place, word in enumerate(WORDS[name])}
    places = np.array([known.get(word, -1) for word in words.dictionary.to_pylist()], np.int8)
    codes: NDArray[np.int8] = places[words.indices.to_numpy()]
    return codes


def _blocks(table: Any) -> dict[str, Any]:  # noqa: ANN401
    found = [hashes_of(text) for text in table.column("blocks").fill_null("").to_pylist()]
    if None in found:
        raise _Odd
    counts = np.fromiter((len(one or b"") // 8 for one in found), np.int64, len(found))
    hashes = np.frombuffer(b"".join(one or b"" for one in found), "<u8")
    return {"block_offsets": offsets_of(counts), "block_hashes": hashes.astype(np.uint64)}
