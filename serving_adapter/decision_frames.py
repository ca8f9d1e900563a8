"""Writes decision inputs as bytes, many at a time, and reads them back as they were.

What inputs share is written once: a frame numbers the pieces of rows in the order in which they
first come up, and each input names its own. Files are not believed: whatever does not fit together
ends the reading of its frame.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from sandbox import contract
from sandbox.records import dtype_of
from serving_adapter.decision import DecisionInput
from serving_adapter.seen_rows import Piece, SeenRows, Tenants

MAX_FAULT_CHARS = 60
MAX_ROWS = 65_536
_INPUT = struct.Struct("<QQqqqd64sBBIIIB")  # the last: whether the rows come in pieces
_LENGTH = struct.Struct("<I")
_SEEN = struct.Struct("<dqqBIBIII")
_PIECE = struct.Struct("<II")
_PAIR = struct.Struct("<qq")
_ROW_BYTES = dtype_of(contract.Instance).itemsize
_NOT_KNOWN, _FEW, _EVERY = range(3)  # how a tenant's requests are written


def packed(batch: Iterable[DecisionInput]) -> bytes:
    """Some inputs, one after the other."""
    parts: list[bytes] = []
    known: dict[int, int] = {}
    for given in batch:
        content = _packed(given, known)
        parts += (_LENGTH.pack(len(content)), content)
    return b"".join(parts)


def unpacked(raw: bytes) -> list[DecisionInput]:
    """The inputs of a frame, up to the first that no process of ours wrote."""
    found: list[DecisionInput] = []
    known: list[Piece] = []
    at = 0
    while at + _LENGTH.size <= len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        start, at = at + _LENGTH.size, at + _LENGTH.size + length
        try:
            found.append(_unpacked(_Reader(raw[start:at]), known))
        except (ValueError, struct.error):
            break
    return found


def _packed(given: DecisionInput, known: dict[int, int]) -> bytes:
    fault = given.fault.encode("ascii", "replace")[:MAX_FAULT_CHARS]
    in_pieces = isinstance(given.rows, SeenRows)
    rows = _packed_rows(given.rows, known) if isinstance(given.rows, SeenRows) else given.rows
    head = _INPUT.pack(
        given.number, given.sequence, given.rotation, given.fuel,
        0 if given.choice is None else given.choice, given.call_s, given.digest.encode("ascii"),
        given.choice is not None, len(fault), len(given.request), len(rows), len(given.memory),
        in_pieces,
    )  # fmt: skip
    return b"".join((head, fault, given.request, rows, given.memory))


def _packed_rows(seen: SeenRows, known: dict[int, int]) -> bytes:
    """`known` says which number a piece has in this frame, by its identity."""
    numbers: list[int] = []
    new: list[bytes] = []
    for piece in seen.pieces:
        number = known.get(id(piece))
        if number is None:
            number = known[id(piece)] = len(known)
            new += (_PIECE.pack(len(piece[0]), len(piece[1])), *piece)
        numbers.append(number)
    kind, tenants = _packed_tenants(seen.tenants)
    offered = seen.offered or b""
    position, tokens = seen.cached or (-1, 0)
    head = _SEEN.pack(
        seen.now_s, position, tokens, kind, len(tenants), seen.offered is not None, len(offered),
        len(numbers), seen.n_rows,
    )  # fmt: skip
    return b"".join((head, tenants, offered, struct.pack(f"<{len(numbers)}I", *numbers), *new))


def _packed_tenants(tenants: Tenants | None) -> tuple[int, bytes]:
    if tenants is None:
        return _NOT_KNOWN, b""
    if isinstance(tenants, bytes):
        return _EVERY, tenants
    return _FEW, b"".join(_PAIR.pack(*pair) for pair in tenants)


def _unpacked(reader: _Reader, known: list[Piece]) -> DecisionInput:
    (number, sequence, rotation, fuel, choice, call_s, digest, chosen, fault_bytes, request_bytes,
     rows_bytes, memory_bytes, in_pieces) = reader.fields(_INPUT)  # fmt: skip
    fault, request = reader.take(fault_bytes), reader.take(request_bytes)
    content, memory = reader.take(rows_bytes), reader.take(memory_bytes)
    rows = _unpacked_rows(_Reader(content), known) if in_pieces else content
    why, policy = fault.decode("ascii"), digest.rstrip(b"\0").decode("ascii")
    if not (why.isprintable() and policy.isalnum() and math.isfinite(call_s)):
        raise ValueError("words that would steer a terminal, or no time")
    return DecisionInput(
        number, sequence, policy, request, rows, memory, rotation, fuel,
        choice if chosen else None, why, call_s,
    )  # fmt: skip


def _unpacked_rows(reader: _Reader, known: list[Piece]) -> SeenRows:
    (now_s, position, tokens, kind, tenants_bytes, masked, offered_bytes, n_pieces,
     n_rows) = reader.fields(_SEEN)  # fmt: skip
    tenants = _unpacked_tenants(kind, reader.take(tenants_bytes))
    offered = reader.take(offered_bytes) if masked else None
    numbers = struct.unpack(f"<{n_pieces}I", reader.take(4 * n_pieces))
    pieces = []
    for number in numbers:
        if number == len(known):
            sizes = reader.fields(_PIECE)
            known.append((reader.take(sizes[0]), reader.take(sizes[1])))
        if number >= len(known):
            raise ValueError("a piece that is not there")
        pieces.append(known[number])
    cached = None if position < 0 else (position, tokens)
    seen = SeenRows(tuple(pieces), now_s, cached, tenants, offered, n_rows)
    _check(seen)
    return seen


def _unpacked_tenants(kind: int, content: bytes) -> Tenants | None:
    if kind == _NOT_KNOWN:
        return None
    return content if kind == _EVERY else tuple(_PAIR.iter_unpack(content))


def _check(seen: SeenRows) -> None:
    """Raise `ValueError` unless `SeenRows.whole` can put these rows together."""
    size = 0
    for rows, since_s in seen.pieces:
        count, rest = divmod(len(rows), _ROW_BYTES)
        size += count
        if rest or len(since_s) != 16 * count or size > MAX_ROWS:
            raise ValueError("no rows, or too many")
    marks = () if seen.tenants is None or isinstance(seen.tenants, bytes) else seen.tenants
    marked = [position for position, _ in marks] + ([seen.cached[0]] if seen.cached else [])
    if not all(0 <= position < size for position in marked):
        raise ValueError("a mark beside the rows")
    if isinstance(seen.tenants, bytes) and len(seen.tenants) != 8 * size:
        raise ValueError("other tenants than rows")
    offered = size
    if seen.offered is not None:
        offered = int(np.count_nonzero(np.frombuffer(seen.offered, np.uint8)))
    if len(seen.offered or bytes(size)) != size or offered != seen.n_rows:
        raise ValueError("other rows than were offered")


class _Reader:
    """Takes parts off some bytes; a part that is not there is a `ValueError`."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, size: int) -> bytes:
        part = self._content[self._at : self._at + size]
        if len(part) != size:
            raise ValueError("shorter than it says")
        self._at += size
        return part

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))
