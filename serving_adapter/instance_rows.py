"""What the instance table is made of: rows, columns that follow from others, and flights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sandbox import contract
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


def derive_all(of: Columns, *, counted: bool) -> None:
    """Write the columns that follow from others of the same row.

    Args:
        of: columns of a table.
        counted: whether every dispatch and token was; what only they tell is missing otherwise.
    """
    running, context = of["running_requests"], of["context_tokens"]
    batch = np.maximum(running, 1)
    if counted:
        np.divide(context, batch, out=of["mean_context_tokens"])
    else:
        of["mean_context_tokens"][:] = math.nan
    step_s = of["step_base_s"] + of["step_per_seq_s"] * running
    step_s += of["step_per_context_s"] * context
    np.divide(batch, step_s, out=of["decode_tokens_per_s"])
    used, predicted = of["kv_used_tokens"], of["kv_predicted_tokens"]
    np.add(used, of["predicted_remaining_tokens"], out=predicted)
    predicted[used < 0] = math.nan


def derive_one(of: Columns, position: int, *, counted: bool) -> None:
    """The same for one row: numpy takes longer to begin than this takes."""
    running, context = of["running_requests"].item(position), of["context_tokens"].item(position)
    batch = max(running, 1)
    step_s = of["step_base_s"].item(position) + of["step_per_seq_s"].item(position) * running
    step_s += of["step_per_context_s"].item(position) * context
    used = of["kv_used_tokens"].item(position)
    predicted = used + of["predicted_remaining_tokens"].item(position)
    of["mean_context_tokens"][position] = context / batch if counted else math.nan
    of["decode_tokens_per_s"][position] = batch / step_s if step_s else math.inf
    of["kv_predicted_tokens"][position] = predicted if used >= 0 else math.nan
