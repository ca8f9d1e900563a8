"""Output lengths as a service without a model of them knows: the mean of each class so far."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.jit import kernel
from sandbox.kernel.state import Sim


@kernel
def learn_length(s: Sim, r: int) -> None:
    """A request finished: its class's mean and spread take its length in."""
    if not s.settings[0].learns_lengths:
        return
    q = s.requests[r]
    row = s.class_stats[q.class_id]
    row.learned += 1
    row.learned_sum += q.output
    row.learned_square += np.int64(q.output) * q.output


@kernel
def predict_length(s: Sim, r: int) -> None:
    """What the class has shown so far becomes an arriving request's prediction."""
    if not s.settings[0].learns_lengths:
        return
    q = s.requests[r]
    row = s.class_stats[q.class_id]
    if row.learned > 0:
        mean = row.learned_sum / row.learned
        q.predicted = mean
        if row.learned > 1:
            spread = row.learned_square / row.learned - mean * mean
            q.predicted_error = np.sqrt(max(spread, 0.0)) / mean
