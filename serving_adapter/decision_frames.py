"""Writes decision inputs as bytes, many at a time, and reads them back as they were.

What inputs share is written once: a frame numbers the row logs in the order in which they first
come up, each input names its own, and brings of it what no input before it had. Files are not
believed: whatever does not fit together ends the reading of its frame.
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
from serving_adapter.instance_rows import WORD_BYTES
from serving_adapter.seen_rows import (
    AGE_WORDS,
    CHANGE_BYTES,
    CHANGE_WORDS,
    Buffers,
    RowLog,
    SeenRows,
    Tenants,
)

MAX_FAULT_CHARS = 60
MAX_ROWS = 65_536
_INPUT = struct.Struct("<QQqqqd64sBBIIIB")  # the last: whether the rows are in a log
_LENGTH = struct.Struct("<I")
_SEEN = struct.Struct("<dqqBIBIIII")
_LOG = struct.Struct("<II")
_PAIR = struct.Struct("<qq")
_ROW_BYTES = dtype_of(contract.Instance).itemsize
_NOT_KNOWN, _FEW, _EVERY = range(3)  # how a tenant's requests are written


def packed(batch: Iterable[DecisionInput]) -> bytes:
    """Some inputs, one after the other."""
    parts: list[bytes] = []
    known: dict[int, _Written] = {}
    for given in batch:
        content = _packed(given, known)
        parts += (_LENGTH.pack(len(content)), content)
    return b"".join(parts)


def unpacked(raw: bytes) -> list[DecisionInput]:
    """The inputs of a frame, up to the first that no process of ours wrote."""
    found: list[DecisionInput] = []
    known: list[RowLog] = []
    at = 0
    while at + _LENGTH.size <= len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        start, at = at + _LENGTH.size, at + _LENGTH.size + length
        try:
            found.append(_unpacked(_Reader(raw[start:at]), known))
        except (ValueError, struct.error):
            break
    return found


def _packed(given: DecisionInput, known: dict[int, _Written]) -> bytes:
    fault = given.fault.encode("ascii", "replace")[:MAX_FAULT_CHARS]
    in_log = isinstance(given.rows, SeenRows)
    rows = _packed_rows(given.rows, known) if isinstance(given.rows, SeenRows) else given.rows
    head = _INPUT.pack(
        given.number, given.sequence, given.rotation, given.fuel,
        0 if given.choice is None else given.choice, given.call_s, given.digest.encode("ascii"),
        given.choice is not None, len(fault), len(given.request), len(rows), len(given.memory),
        in_log,
    )  # fmt: skip
    return b"".join((head, fault, given.request, rows, given.memory))


def _packed_rows(seen: SeenRows, known: dict[int, _Written]) -> bytes:
    """`known` says what this frame has of a log, by its identity."""
    log, new = seen.log, b""
    written = known.get(id(log))
    if written is None:
        written = known[id(log)] = _Written(len(known))
        new = b"".join((_LOG.pack(len(log.rows), len(log.since_s)), log.rows, log.since_s))
    first, end = written.n_changes * CHANGE_BYTES, seen.n_changes * CHANGE_BYTES
    written.n_changes = max(written.n_changes, seen.n_changes)
    kind, tenants = _packed_tenants(seen.tenants)
    offered = seen.offered or b""
    position, tokens = seen.cached or (-1, 0)
    head = _SEEN.pack(
        seen.now_s, position, tokens, kind, len(tenants), seen.offered is not None, len(offered),
        written.number, seen.n_changes, seen.n_rows,
    )  # fmt: skip
    return b"".join((head, tenants, offered, new, log.changes[first:end]))


def _packed_tenants(tenants: Tenants | None) -> tuple[int, bytes]:
    if tenants is None:
        return _NOT_KNOWN, b""
    if isinstance(tenants, bytes):
        return _EVERY, tenants
    return _FEW, b"".join(_PAIR.pack(*pair) for pair in tenants)


def _unpacked(reader: _Reader, known: list[RowLog]) -> DecisionInput:
    (number, sequence, rotation, fuel, choice, call_s, digest, chosen, fault_bytes, request_bytes,
     rows_bytes, memory_bytes, in_log) = reader.fields(_INPUT)  # fmt: skip
    fault, request = reader.take(fault_bytes), reader.take(request_bytes)
    content, memory = reader.take(rows_bytes), reader.take(memory_bytes)
    rows = _unpacked_rows(_Reader(content), known) if in_log else content
    why, policy = fault.decode("ascii"), digest.rstrip(b"\0").decode("ascii")
    if not (why.isprintable() and policy.isalnum() and math.isfinite(call_s)):
        raise ValueError("words that would steer a terminal, or no time")
    return DecisionInput(
        number, sequence, policy, request, rows, memory, rotation, fuel,
        choice if chosen else None, why, call_s,
    )  # fmt: skip


def _unpacked_rows(reader: _Reader, known: list[RowLog]) -> SeenRows:
    (now_s, position, tokens, kind, tenants_bytes, masked, offered_bytes, number, n_changes,
     n_rows) = reader.fields(_SEEN)  # fmt: skip
    tenants = _unpacked_tenants(kind, reader.take(tenants_bytes))
    offered = reader.take(offered_bytes) if masked else None
    if number == len(known):
        known.append(_new_log(reader))
    if number >= len(known):
        raise ValueError("a log that is not there")
    log = known[number]
    _take_changes(reader, log, n_changes)
    cached = None if position < 0 else (position, tokens)
    seen = SeenRows(log, n_changes, now_s, cached, tenants, offered, n_rows)
    _check(seen)
    return seen


def _new_log(reader: _Reader) -> RowLog:
    sizes = reader.fields(_LOG)
    rows, since_s = reader.take(sizes[0]), reader.take(sizes[1])
    size, rest = divmod(len(rows), _ROW_BYTES)
    if rest or len(since_s) != AGE_WORDS * WORD_BYTES * size or size > MAX_ROWS:
        raise ValueError("no rows, or too many")
    buffers = Buffers(len(rows), len(since_s), 0)
    buffers.rows[:], buffers.since_s[:] = rows, since_s
    return RowLog(buffers)


def _take_changes(reader: _Reader, log: RowLog, n_changes: int) -> None:
    """Add to the log what it has not yet of so many changes."""
    more = reader.take(max(0, n_changes * CHANGE_BYTES - len(log.changes)))
    at = np.frombuffer(more, np.int64)[::CHANGE_WORDS]
    if len(at) and not 0 <= at.min() <= at.max() < len(log.rows) // _ROW_BYTES:
        raise ValueError("a change beside the rows")
    log.changes.extend(more)


def _unpacked_tenants(kind: int, content: bytes) -> Tenants | None:
    if kind == _NOT_KNOWN:
        return None
    return content if kind == _EVERY else tuple(_PAIR.iter_unpack(content))


def _check(seen: SeenRows) -> None:
    """Raise `ValueError` unless `SeenRows.whole` can put these rows together."""
    size = len(seen.log.rows) // _ROW_BYTES
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


class _Written:
    """Which number a log has in a frame, and how many of its changes are in there."""

    def __init__(self, number: int) -> None:
        self.number, self.n_changes = number, 0


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
