"""The columnar record of a request trace: one row a request, validated once, read-only."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telemetry.blocks import Blocks, first_seen_codes, offsets_of, roots
from telemetry.errors import TraceError
from telemetry.joins import Joins, joined
from telemetry.trace_laws import check, frozen

_DTYPES: dict[str, type[np.generic]] = {
    "arrival_s": np.float64, "prompt_tokens": np.int32, "output_tokens": np.int32,
    "tenant": np.int32, "online": np.bool_, "session": np.int32, "turn": np.int32,
    "after": np.int32, "think_s": np.float64, "block_offsets": np.int64, "block_ids": np.int32,
    "join_offsets": np.int64, "join_rows": np.int32,
}
_ROW_COLUMNS = tuple(name for name in _DTYPES if not name.startswith(("block_", "join_")))
_SCHEMA = 2
_READABLE = (1, 2)  # 1 had no joins
_DIGEST = 1  # a trace without joins keeps the digest it always had


@dataclass(frozen=True, slots=True)
class TraceMeta:
    """Where a trace comes from and what was done to it.

    Attributes:
        name: short name for tables, usually the file's stem.
        format: name of the reader, or ``generated``.
        clock: unit and zero of the recorded clock, in words.
        notes: sentences a person should know: rows dropped, order mended, rates scaled.
        generated_from: first row that was drawn rather than recorded; None when all are recorded.
        source: where the data was published; licence: the terms it was published under.
    """

    name: str = "trace"
    format: str = ""
    clock: str = "seconds from the first arrival"
    notes: tuple[str, ...] = ()
    generated_from: int | None = None
    source: str = ""
    licence: str = ""

    @property
    def generated(self) -> bool:
        """Whether any row was drawn from statistics rather than recorded."""
        return self.generated_from is not None

    def noting(self, *sentences: str) -> TraceMeta:
        """The same with further notes; sentences already present are not repeated."""
        fresh = tuple(s for s in dict.fromkeys(sentences) if s and s not in self.notes)
        return replace(self, notes=self.notes + fresh)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trace:
    """Requests in order of arrival; build one with `Trace.of`, which fills and sorts.

    Attributes:
        span_s: length of the observed window; no arrival lies after it.
        arrival_s: float64 ``[n]``, seconds from the window's start, never decreasing. For a request
            with a parent this is the recorded time, for information: its parent decides.
        prompt_tokens, output_tokens: int32 ``[n]``, at least 1.
        tenant: int32 ``[n]``, index into ``tenants``; 0 where no tenant is known.
        online: bool ``[n]``; False marks offline (batch) work.
        session: int32 ``[n]``, -1 without a session; turn: int32 ``[n]``, from 0 in a session.
        after: int32 ``[n]``, row whose end reveals this one; -1 for an open arrival.
        think_s: float64 ``[n]``, delay after that end; 0 for open arrivals.
        join_offsets, join_rows: further parents, see `Joins`: where there are some, the last of
            them and ``after`` to end reveals the request. All lie in the tree ``after`` spans.
        block_offsets, block_ids: prefix blocks, see `Blocks`; ids are 0..U-1 as first seen.
        block_tokens: tokens in a block; 0 when nothing is known about prefix reuse.
        tenants: opaque names, never chosen by a sender.
    """

    meta: TraceMeta
    span_s: float
    arrival_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    tenant: NDArray[np.int32]
    online: NDArray[np.bool_]
    session: NDArray[np.int32]
    turn: NDArray[np.int32]
    after: NDArray[np.int32]
    think_s: NDArray[np.float64]
    block_offsets: NDArray[np.int64]
    block_ids: NDArray[np.int32]
    block_tokens: int
    join_offsets: NDArray[np.int64]
    join_rows: NDArray[np.int32]
    tenants: tuple[str, ...] = ("t0",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "span_s", float(self.span_s))
        object.__setattr__(self, "block_tokens", int(self.block_tokens))
        for name, dtype in _DTYPES.items():
            object.__setattr__(self, name, frozen(name, getattr(self, name), dtype))
        check(self, _ROW_COLUMNS)

    def __len__(self) -> int:
        return len(self.arrival_s)

    @classmethod
    def of(
        cls, meta: TraceMeta, *, arrival_s: ArrayLike, prompt_tokens: ArrayLike,
        output_tokens: ArrayLike, tenant: ArrayLike | None = None,
        tenants: Sequence[str] | None = None, online: ArrayLike | bool = True,
        session: ArrayLike | None = None, turn: ArrayLike | None = None,
        after: ArrayLike | None = None, think_s: ArrayLike | None = None,
        blocks: Blocks | None = None, joins: Joins | None = None, span_s: float | None = None,
    ) -> Trace:
        """Build from rows in any order: fills what is absent, sorts stably, compacts block ids.

        ``after`` and ``joins`` refer to the rows as given. ``tenants`` default to t0, t1, ... by
        code; ``span_s`` to the last arrival.
        """
        arrivals = np.asarray(arrival_s, np.float64)
        rows = len(arrivals)
        codes = _filled(tenant, rows, 0)
        names = tuple(tenants) if tenants else opaque_tenants(int(codes.max(initial=0)) + 1)
        columns = {
            "arrival_s": arrivals, "prompt_tokens": np.asarray(prompt_tokens),
            "output_tokens": np.asarray(output_tokens), "tenant": codes,
            "online": np.broadcast_to(np.asarray(online, np.bool_), rows),
            "session": _filled(session, rows, -1), "turn": _filled(turn, rows, 0),
            "after": _filled(after, rows, -1), "think_s": _filled(think_s, rows, 0.0),
        }
        span = float(arrivals.max(initial=0.0)) if span_s is None else span_s
        tables = (blocks or Blocks.none(rows), joins or Joins.none(rows))
        return _assemble(meta, columns, *tables, names, span)

    @property
    def joins(self) -> Joins:
        """The further parents as one object."""
        return Joins(self.join_offsets, self.join_rows)

    @property
    def blocks(self) -> Blocks:
        """The prefix blocks as one object."""
        return Blocks(self.block_offsets, self.block_ids, self.block_tokens)

    @property
    def rate_rps(self) -> float:
        """Mean requests per second over the window; 0 for an empty window."""
        return len(self) / self.span_s if self.span_s > 0 else 0.0

    def noting(self, *sentences: str) -> Trace:
        """The same requests with further notes in ``meta``."""
        return replace(self, meta=self.meta.noting(*sentences))

    def slice(self, start_s: float, stop_s: float) -> Trace:
        """The requests with ``start_s <= arrival_s < stop_s``; time starts again at 0.

        The window's end is closed when ``stop_s`` reaches or passes ``span_s``, so that slices
        conserve requests. A request whose parent lies before the cut becomes an open arrival.
        """
        if not 0 <= start_s < stop_s:
            raise TraceError(f"A slice from {start_s:g} s to {stop_s:g} s is empty; "
                             "give 0 <= start < stop.")
        first = int(np.searchsorted(self.arrival_s, start_s))
        stop = len(self) if stop_s >= self.span_s else int(np.searchsorted(self.arrival_s, stop_s))
        stop = max(first, stop)
        columns = {name: getattr(self, name)[first:stop] for name in _ROW_COLUMNS}
        columns["arrival_s"] = columns["arrival_s"] - start_s
        cut = (columns["after"] >= 0) & (columns["after"] < first)
        columns["after"] = np.where(columns["after"] < first, -1, columns["after"] - first)
        columns["think_s"] = np.where(cut, 0.0, columns["think_s"])
        joins = self.joins.between(first, stop)
        kept = joins.within(columns["after"])
        meta = replace(self.meta, generated_from=_shifted(self.meta, first, stop))
        if len(kept.rows) < len(joins.rows):
            meta = meta.noting(f"{len(joins.rows) - len(kept.rows)} joins on calls of workflows "
                               f"that the cut at {start_s:g} s parts were dropped.")
        if cut.any():
            meta = meta.noting(f"{int(cut.sum())} requests whose parent lies before the cut at "
                               f"{start_s:g} s became open arrivals.")
        span = max(0.0, min(stop_s, self.span_s) - start_s)
        blocks = self.blocks.between(first, stop)
        return _assemble(meta, columns, blocks, kept, self.tenants, span)

    def scale_rate(self, factor: float) -> Trace:
        """The same requests ``factor`` times as fast: open arrivals and session starts move.

        Think times, and with them the recorded distances within a session, stay as they are.
        """
        if not (np.isfinite(factor) and factor > 0):
            raise TraceError(f"A rate cannot be scaled by {factor}; give a factor above 0.")
        if factor == 1:
            return self
        start = self.arrival_s[roots(self.after)]
        columns = {name: getattr(self, name) for name in _ROW_COLUMNS}
        columns["arrival_s"] = start / factor + (self.arrival_s - start)
        what = "open arrivals and session starts" if (self.after >= 0).any() else "arrivals"
        note = f"The rate of {what} was scaled by {factor:.6g}; think times are as recorded."
        span = max(self.span_s / factor, float(columns["arrival_s"].max(initial=0.0)))
        meta = self.meta.noting(note)
        return _assemble(meta, columns, self.blocks, self.joins, self.tenants, span)

    def extend(self, other: Trace) -> Trace:
        """This trace, then ``other`` from this window's end on; reuse never crosses the seam."""
        return concat([self, other])

    def digest(self) -> str:
        """sha256 over everything that a simulation can read: columns, tenants and span."""
        head = [_DIGEST, len(self), float(self.span_s).hex(), self.block_tokens, self.tenants]
        total = hashlib.sha256(json.dumps(head).encode())
        for name in _DTYPES:
            if name.startswith("join_") and not len(self.join_rows):
                continue
            column = getattr(self, name)
            total.update(f"{name}:{column.dtype.str}:{len(column)};".encode())
            total.update(column.tobytes())
        return total.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write a compressed ``.npz`` that `Trace.load` reads back bit for bit."""
        head = {"schema": _SCHEMA, "meta": asdict(self.meta), "span_s": self.span_s,
                "block_tokens": self.block_tokens, "tenants": self.tenants}
        columns: dict[str, Any] = {name: getattr(self, name) for name in _DTYPES}
        with Path(path).open("wb") as out:
            np.savez_compressed(out, allow_pickle=False, head=np.array(json.dumps(head)), **columns)

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read what `save` wrote; a damaged or foreign file raises `TraceError`."""
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                head = json.loads(str(stored["head"]))
                if head["schema"] not in _READABLE:
                    raise TraceError(f"{path} has trace schema {head['schema']}, this version "
                                     f"reads up to {_SCHEMA}; read the original file again.")
                columns = {name: stored[name] for name in _DTYPES if name in stored.files}
            if head["schema"] == 1:
                none = Joins.none(len(columns["arrival_s"]))
                columns |= {"join_offsets": none.offsets, "join_rows": none.rows}
            meta = TraceMeta(**{**head["meta"], "notes": tuple(head["meta"]["notes"])})
            return cls(meta=meta, span_s=head["span_s"], block_tokens=head["block_tokens"],
                       tenants=tuple(head["tenants"]), **columns)
        except (KeyError, ValueError, TypeError, AttributeError, OSError, EOFError,
                zipfile.BadZipFile) as error:
            raise TraceError(f"{path} is not a saved trace ({type(error).__name__}); "
                             "read the original file again.") from error


def concat(traces: Sequence[Trace]) -> Trace:
    """Traces one after another in time.

    Sessions and prefix blocks of different parts stay distinct; tenants of equal name are one.
    Notes of all parts are kept; the name, source and licence are the first part's.
    """
    if not traces:
        raise TraceError("Nothing to concatenate; give at least one trace.")
    sizes = {part.block_tokens for part in traces if part.block_tokens}
    if len(sizes) > 1:
        raise TraceError(f"Prefix blocks of {sorted(sizes)} tokens cannot be mixed in one trace; "
                         "concatenate traces of one block size.")
    names = tuple(dict.fromkeys(name for part in traces for name in part.tenants))
    columns, blocks = _joined(traces, names, max(sizes, default=0))
    meta = traces[0].meta.noting(*(note for part in traces[1:] for note in part.meta.notes))
    meta = replace(meta, generated_from=_joined_generated(traces))
    joins = joined([part.joins for part in traces])
    return _assemble(meta, columns, blocks, joins, names, float(sum(p.span_s for p in traces)))


def opaque_tenants(count: int) -> tuple[str, ...]:
    """Names t0, t1, ... that reveal nothing a sender chose."""
    return tuple(f"t{code}" for code in range(count))


def opaque_codes(keys: Sequence[Any]) -> NDArray[np.int32]:
    """Codes 0, 1, ... for arbitrary keys in the order in which they first appear."""
    seen: dict[Any, int] = {}
    return np.fromiter((seen.setdefault(key, len(seen)) for key in keys), np.int32, len(keys))


def turns_of(session: NDArray[np.int32], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of each row within its session, by time; 0 where there is no session."""
    order = np.lexsort((times, session))
    ranked = session[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    turns = np.empty(len(order), np.int64)
    turns[order] = np.where(ranked < 0, 0, place)
    return turns


def _joined(
    traces: Sequence[Trace], names: tuple[str, ...], block_tokens: int
) -> tuple[dict[str, NDArray[Any]], Blocks]:
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (*_ROW_COLUMNS, "ids")}
    start_s, row, session, block = 0.0, 0, 0, 0
    for part in traces:
        moved = {name: getattr(part, name) for name in _ROW_COLUMNS}
        moved["arrival_s"] = part.arrival_s + start_s
        moved["after"] = np.where(part.after < 0, -1, part.after + row)
        moved["session"] = np.where(part.session < 0, -1, part.session + session)
        codes = np.array([names.index(name) for name in part.tenants])
        moved["tenant"] = codes[part.tenant]
        moved["ids"] = part.block_ids.astype(np.int64) + block
        for name, column in moved.items():
            parts[name].append(column)
        start_s, row = start_s + part.span_s, row + len(part)
        session += int(part.session.max(initial=-1)) + 1
        block += int(part.block_ids.max(initial=-1)) + 1
    columns = {name: np.concatenate(chunks) for name, chunks in parts.items()}
    counts = np.concatenate([np.diff(part.block_offsets) for part in traces])
    return columns, Blocks(offsets_of(counts), columns.pop("ids"), block_tokens)


def _joined_generated(traces: Sequence[Trace]) -> int | None:
    row = 0
    for part in traces:
        if part.meta.generated_from is not None:
            return row + part.meta.generated_from
        row += len(part)
    return None


def _assemble(
    meta: TraceMeta, columns: dict[str, NDArray[Any]], blocks: Blocks, joins: Joins,
    tenants: tuple[str, ...], span_s: float,
) -> Trace:
    """Sort by arrival, keep chains and the generated mark consistent, compact ids, validate."""
    arrivals = columns["arrival_s"]
    if np.any(np.diff(arrivals) < 0):
        order = np.argsort(arrivals, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        columns = {name: column[order] for name, column in columns.items()}
        after = columns["after"]
        columns["after"] = np.where(after < 0, -1, place[after])
        blocks, joins = blocks.take(order), joins.take(order, place)
        if meta.generated_from is not None:
            first = int(place[meta.generated_from :].min(initial=len(order)))
            meta = replace(meta, generated_from=first)
    return Trace(meta=meta, span_s=span_s, tenants=tenants, block_tokens=blocks.tokens,
                 block_offsets=blocks.offsets, block_ids=first_seen_codes(blocks.ids),
                 join_offsets=joins.offsets, join_rows=joins.rows.astype(np.int32), **columns)


def _shifted(meta: TraceMeta, first: int, stop: int) -> int | None:
    if meta.generated_from is None or meta.generated_from >= stop > first:
        return None
    return max(0, meta.generated_from - first)


def _filled(column: ArrayLike | None, rows: int, value: float) -> NDArray[Any]:
    return np.full(rows, value) if column is None else np.asarray(column)
