"""What every trace obeys: one value a request, whole numbers in range, parents first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telemetry.blocks import roots
from telemetry.errors import TraceError

if TYPE_CHECKING:
    from telemetry.trace import Trace


def frozen(name: str, column: ArrayLike, dtype: type[np.generic]) -> NDArray[Any]:
    """A read-only copy of a column in its dtype; a value that does not fit raises `TraceError`."""
    values = np.asarray(column)
    if values.ndim != 1:
        raise TraceError(f"Column {name} has {values.ndim} dimensions; give one value a request.")
    if np.issubdtype(dtype, np.integer) and len(values):
        _check_integers(name, values, cast("type[np.integer]", dtype))
    copy = values.astype(dtype, copy=True)
    copy.flags.writeable = False
    return copy


def check(trace: Trace, row_columns: tuple[str, ...]) -> None:
    """Raise `TraceError` with the sentence of the first law that a trace breaks."""
    rows = len(trace.arrival_s)
    for name in row_columns:
        if len(getattr(trace, name)) != rows:
            raise TraceError(f"Column {name} has {len(getattr(trace, name))} values for {rows} "
                             "requests; give one value a request.")
    for law, sentence in _laws(trace, rows):
        if not law:
            raise TraceError(sentence)
    _check_joins(trace)


def _check_integers(name: str, values: NDArray[Any], dtype: type[np.integer]) -> None:
    if not np.issubdtype(values.dtype, np.integer) and not np.array_equal(values, values // 1):
        raise TraceError(f"Column {name} holds fractions or blanks; give whole numbers.")
    limits = np.iinfo(dtype)
    if values.min() < limits.min or values.max() > limits.max:
        raise TraceError(f"Column {name} goes beyond {limits.max}; check its unit.")


def _laws(trace: Trace, rows: int) -> list[tuple[bool, str]]:
    arrivals = trace.arrival_s
    last = float(arrivals[-1]) if rows else 0.0
    finite = bool(np.isfinite(arrivals).all() and np.isfinite(trace.think_s).all())
    return [
        (finite, "A time is not a finite number; drop or mend that row."),
        (not rows or arrivals[0] >= 0, "An arrival lies before 0; shift the clock first."),
        (bool(np.all(np.diff(arrivals) >= 0)), "Arrivals are not sorted; use Trace.of."),
        (bool(np.isfinite(trace.span_s)) and trace.span_s >= last - 1e-9,
         f"The window of {trace.span_s:g} s ends before the last arrival; lengthen span_s."),
        (bool(np.all(trace.prompt_tokens >= 1)), "A prompt has no token; drop or mend that row."),
        (bool(np.all(trace.output_tokens >= 1)), "An output has no token; drop or mend that row."),
        (bool(np.all((trace.tenant >= 0) & (trace.tenant < len(trace.tenants)))),
         "A tenant code has no name; give a name for each code."),
        (bool(np.all((trace.session >= -1) & (trace.turn >= 0))),
         "A session is below -1 or a turn below 0; use -1 and 0 for none."),
        (bool(np.all((trace.after >= -1) & (trace.after < np.arange(rows)))),
         "A request comes before the one that reveals it; order parents first."),
        (bool(np.all(trace.think_s >= 0)), "A think time is negative; use 0 at least."),
        (_offsets_fit(trace.block_offsets, len(trace.block_ids), rows),
         "Block offsets do not match the block ids; give n + 1 rising offsets."),
        (trace.block_tokens > 0 or not len(trace.block_ids),
         "Block ids need a block size; give block_tokens above 0."),
        (_offsets_fit(trace.join_offsets, len(trace.join_rows), rows),
         "Join offsets do not match the join rows; give n + 1 rising offsets."),
    ]


def _offsets_fit(offsets: NDArray[np.int64], entries: int, rows: int) -> bool:
    ends = len(offsets) == rows + 1 and offsets[0] == 0 and offsets[-1] == entries
    return bool(ends and np.all(np.diff(offsets) >= 0))


def _check_joins(trace: Trace) -> None:
    if not len(trace.join_rows):
        return
    owners, parents = trace.joins.owners, trace.join_rows
    if not np.all((parents >= 0) & (parents < owners)):
        raise TraceError("A request joins on one that does not come before it; order parents "
                         "first.")
    root = roots(trace.after)
    if not np.array_equal(root[parents], root[owners]):
        raise TraceError("A request joins on another workflow's call; join within the tree that "
                         "`after` spans.")
