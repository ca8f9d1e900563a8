"""Requests queued and running in engines, and the built-in default: where there are the fewest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving_adapter.instance_rows import Rows
from serving_adapter.instances import Offer
from serving_adapter.row_code import Word, row_code

Ints = npt.NDArray[np.int64]


def outstanding(rows: Rows) -> Ints:
    """Requests queued and running per row, a missing figure counting nothing."""
    total: Ints = np.maximum(rows["queued_requests"], 0) + np.maximum(rows["running_requests"], 0)
    return total


def least(offer: Offer, turn: int) -> int:
    """The id of the engine with the fewest requests; of equal ones the next from `turn` on.

    Args:
        offer: of one row at least.
        turn: the position of a row.
    """
    code, rows = row_code(), offer.rows
    if code is not None:
        return code.least_outstanding(offer.address, Word(offer.n_rows), Word(turn))
    waiting = outstanding(rows)
    fewest = np.flatnonzero(waiting == waiting.min())
    at = fewest[np.searchsorted(fewest, turn) % len(fewest)]
    return int(rows["id"][at])
