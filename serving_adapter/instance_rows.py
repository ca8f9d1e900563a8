"""What the instance table is made of: rows, columns that follow from others, and flights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sandbox import contract
from sandbox.records import dtype_of
from serving_adapter.activation import missing_rows
from serving_adapter.facts import RequestFacts

Rows = npt.NDArray[np.void]
Columns: TypeAlias = dict[str, npt.NDArray[Any]]

KNOWN_ZERO = (
    "queued_requests",
    "queued_prompt_tokens",
    "running_requests",
    "decoding_requests",
    "context_tokens",
    "predicted_remaining_tokens",
    "tenant_requests",
    "tenant_count",
    "offline_requests",
    "cached_prefix_tokens",
)


@dataclass(slots=True, eq=False)
class Flight:
    """One request dispatched to one engine, until it is finished."""

    instance_id: int
    facts: RequestFacts
    dispatched_s: float
    latest_token_s: float = math.nan
    done_tokens: int = 0

    @property
    def remaining_tokens(self) -> float:
        """Predicted tokens still to come; 0 without a prediction."""
        predicted = self.facts.predicted_output_tokens
        return 0.0 if math.isnan(predicted) else max(0.0, predicted - self.done_tokens)


def columns_of(rows: Rows) -> Columns:
    """Views of every column; making one costs more than using it."""
    return {name: rows[name] for name in rows.dtype.names or ()}


def missing_row(known_zero: Sequence[str]) -> Rows:
    """One row in which everything is missing but the counts this table keeps itself."""
    row = missing_rows(contract.Instance, 1)
    for name in known_zero:
        row[name] = 0
    return row


def rows_where(rows: Rows, wanted: npt.NDArray[np.bool_]) -> Rows:
    """Copies of some rows, byte for byte: what lies between their fields, too."""
    return _as_bytes(rows)[wanted].view(rows.dtype)


def rows_and(rows: Rows, more: Rows) -> Rows:
    """Copies of these rows and of those behind them, byte for byte.

    Field by field, what lies between would be left over from whatever the process kept there
    before, and would go to disk with the inputs of decisions.
    """
    return np.concatenate([_as_bytes(rows), _as_bytes(more)]).view(rows.dtype)


def _as_bytes(rows: Rows) -> Rows:
    return rows.view(f"V{rows.dtype.itemsize}")


def derive_all(of: Columns, *, counted: bool) -> None:
    """Write the columns that follow from others of the same row.

    Args:
        of: columns of a table.
        counted: whether every dispatch and token was; what only they tell is missing otherwise.
    """
    running, context = of["running_requests"], of["context_tokens"]
    batch = np.maximum(running, 1)
    used, predicted = of["kv_used_tokens"], of["kv_predicted_tokens"]
    with np.errstate(all="ignore"):  # who declares steps of no time has infinite speed
        if counted:
            np.divide(context, batch, out=of["mean_context_tokens"])
        else:
            of["mean_context_tokens"][:] = math.nan
        step_s = of["step_base_s"] + of["step_per_seq_s"] * running
        step_s += of["step_per_context_s"] * context
        np.divide(batch, step_s, out=of["decode_tokens_per_s"])
        np.add(used, of["predicted_remaining_tokens"], out=predicted)
    predicted[used < 0] = math.nan


class RowWords:
    """The same rows as words of memory: to read or write one costs a third of what a column does.

    Every number of a row is a word; `WORD` says which.
    """

    def __init__(self, rows: Rows) -> None:
        content = rows.view(np.uint8).data
        self.ints, self.floats = content.cast("q"), content.cast("d")


def _words() -> dict[str, int]:
    fields: Mapping[str, Any] = dtype_of(contract.Instance).fields or {}
    return {name: place[1] // WORD_BYTES for name, place in fields.items()}


WORD_BYTES = 8
WORD = _words()
"""Where in a row each field is, in words; flags share theirs and are no numbers."""
ROW_WORDS = dtype_of(contract.Instance).itemsize // WORD_BYTES
