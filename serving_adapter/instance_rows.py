"""What the instance table is made of: empty rows and their columns, and requests on their way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sandbox import contract
from serving_adapter.activation import missing_rows
from serving_adapter.facts import RequestFacts

Rows = npt.NDArray[np.void]

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


def columns_of(rows: Rows) -> dict[str, npt.NDArray[Any]]:
    """Views of every column; making one costs more than using it."""
    return {name: rows[name] for name in rows.dtype.names or ()}


def missing_row(known_zero: Sequence[str]) -> Rows:
    """One row in which everything is missing but the counts this table keeps itself."""
    row = missing_rows(contract.Instance, 1)
    for name in known_zero:
        row[name] = 0
    return row
