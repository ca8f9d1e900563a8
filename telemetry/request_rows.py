"""Turns rows of any origin, such as lines of a request log, into columns, and names what is wrong.

Whole batches are checked by type and bounds at once; only a batch with a flaw is looked at row by
row. What a row holds beyond the known fields is dropped, and nothing of it is ever quoted.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.blocks import offsets_of
from telemetry.requests import COLUMNS, ENDPOINTS, MOST_BLOCKS, OUTCOMES, Requests

MOST_LINE = 64 * 2**10
NEEDED = tuple(name for name, column in COLUMNS.items() if column.usual is None)
WORDS: dict[str, tuple[str, ...]] = {"endpoint": ENDPOINTS, "outcome": OUTCOMES}
USUAL: dict[str, Any] = {name: column.usual for name, column in COLUMNS.items()} | {
    "endpoint": ENDPOINTS[0], "outcome": OUTCOMES[0], "digest": "", "blocks": "",
}  # fmt: skip
_NAMES = tuple(USUAL)
_PLACE = {name: place for place, name in enumerate(_NAMES)}
_row_of = itemgetter(*_NAMES)
DIGEST = re.compile(r"[0-9a-f]{0,64}")
_MOST_BLOCKS_TEXT = 4 * -(-MOST_BLOCKS * 8 // 3)
_KINDS: dict[type[np.generic], set[type]] = {
    np.bool_: {bool}, np.float64: {float, int},
}  # fmt: skip

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Flaw:
    """A row that is no request.

    Attributes:
        index: of the row in what was given.
        problem: half a sentence that quotes nothing.
        torn: it is no JSON at all, as when a process was killed while it wrote.
    """

    index: int
    problem: str
    torn: bool = False


@dataclass(frozen=True, slots=True)
class Parsed:
    """What rows said.

    Attributes:
        requests: of the rows that are whole; flaws: the others.
        other: rows of endpoints that ask no model for anything.
    """

    requests: Requests
    flaws: tuple[Flaw, ...]
    other: int


def parse_lines(lines: Sequence[str]) -> Parsed:
    """Requests of lines of JSON; blank ones are nothing."""
    items: list[Any] = []
    places: list[int] = []
    torn: list[Flaw] = []
    for index, line in enumerate(lines):
        if len(line) > MOST_LINE:
            torn.append(Flaw(index, "the line is too long"))
            continue
        try:
            items.append(json.loads(line))
            places.append(index)
        except (ValueError, RecursionError):
            if line.strip():
                torn.append(Flaw(index, "this is not valid JSON", torn=True))
    found = parse_rows(items)
    flaws = [Flaw(places[flaw.index], flaw.problem) for flaw in found.flaws]
    flaws = sorted([*torn, *flaws], key=lambda flaw: flaw.index)
    return Parsed(found.requests, tuple(flaws), found.other)


def parse_rows(items: Sequence[Any]) -> Parsed:
    """Requests of mappings with the fields of a line of the request log."""
    rows: list[Row] = []
    places: list[int] = []
    flaws: list[Flaw] = []
    other = 0
    for index, item in enumerate(items):
        try:
            row = _row_of(item)
        except (KeyError, TypeError):  # older logs say less
            if not isinstance(item, Mapping) or not all(name in item for name in NEEDED):
                flaws.append(Flaw(index, f"a field of {', '.join(NEEDED)} is missing"))
                continue
            row = _row_of(USUAL | dict(item))
        if row[1] not in ENDPOINTS:
            other += 1
        else:
            rows.append(row)
            places.append(index)
    requests = _columns(rows)
    if requests is None:
        kept = []
        for place, row in zip(places, rows, strict=True):
            problem = _problem(row)
            if problem:
                flaws.append(Flaw(place, problem))
            else:
                kept.append(row)
        requests = _columns(kept) or Requests.none()
    return Parsed(requests, tuple(flaws), other)


def _columns(rows: list[Row]) -> Requests | None:
    """The columns of rows; None where one of them does not fit."""
    if not rows:
        return Requests.none()
    found: dict[str, Any] = {}
    by_name = dict(zip(_NAMES, zip(*rows, strict=True), strict=True))
    for name, column in COLUMNS.items():
        if name != "digest":
            values = _numbers(name, by_name[name])
            if values is None:
                return None
            found[name] = values.astype(column.kind, copy=False)
    blocks = [hashes_of(text) for text in by_name["blocks"]]
    digests = tuple(dict.fromkeys(by_name["digest"])) if _are(by_name["digest"], str) else (None,)
    if None in blocks or not all(one is not None and DIGEST.fullmatch(one) for one in digests):
        return None
    names = tuple(one for one in digests if one)
    codes = {name: code for code, name in enumerate(names)} | {"": -1}
    counts = np.fromiter((len(one) // 8 for one in blocks if one is not None), np.int64, len(rows))
    return Requests(
        **found, digests=names, block_offsets=offsets_of(counts),
        digest=np.fromiter((codes[one] for one in by_name["digest"]), np.int32, len(rows)),
        block_hashes=np.frombuffer(b"".join(one for one in blocks if one), "<u8").astype(np.uint64),
    )  # fmt: skip


def _numbers(name: str, values: tuple[Any, ...]) -> NDArray[Any] | None:
    column = COLUMNS[name]
    if None in values and USUAL[name] is not None:
        values = tuple(USUAL[name] if value is None else value for value in values)
    if name in WORDS:
        known = WORDS[name]
        codes = {word: code for code, word in enumerate(known)}
        if not _are(values, str) or not codes.keys() >= set(values):
            return None
        return np.fromiter((codes[word] for word in values), np.int64, len(values))
    if not set(map(type, values)) <= _KINDS.get(column.kind, {int}):
        return None
    if column.kind is np.bool_:
        return np.array(values, np.bool_)
    try:
        numbers = np.array(values, np.float64 if column.kind is np.float64 else np.int64)
    except OverflowError:
        return None
    fits = (numbers >= column.least) & (numbers <= column.most)
    if column.kind is np.float64 and column.usual is not None:
        fits |= np.isnan(numbers)
        numbers = np.where(np.isnan(numbers), column.usual, numbers)
    return numbers if fits.all() else None


def _are(values: Iterable[object], kind: type) -> bool:
    return set(map(type, values)) <= {kind}


def hashes_of(text: object) -> bytes | None:
    """The bytes of a row's block hashes; None for what are none."""
    if text == "":
        return b""
    if type(text) is not str or len(text) > _MOST_BLOCKS_TEXT:
        return None
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    return data if len(data) % 8 == 0 else None


def _problem(row: Row) -> str:
    """What is wrong with a row, empty for nothing."""
    for name, column in COLUMNS.items():
        if name != "digest" and _numbers(name, (row[_PLACE[name]],)) is None:
            if name in WORDS:
                return f"{name} is none of {', '.join(WORDS[name])}"
            if column.kind is np.bool_:
                return f"{name} is neither true nor false"
            if name.endswith("_s"):
                return f"{name} is not a time in seconds"
            return f"{name} is not a number from {column.least:g} to {column.most:g}"
    if type(row[_PLACE["digest"]]) is not str or not DIGEST.fullmatch(row[_PLACE["digest"]]):
        return "digest is no digest"
    return "" if hashes_of(row[_PLACE["blocks"]]) is not None else "blocks are no hashes"


def base64_of(hashes: Iterable[bytes]) -> str:
    """Block hashes of 8 bytes each as a line of the log has them."""
    return binascii.b2a_base64(b"".join(chain(hashes)), newline=False).decode("ascii")
