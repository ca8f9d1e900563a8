"""A simulation's outcome as bytes of a known length, since it comes from a process nobody trusts.

Arrays one after the other, then the row of totals, then the numbers of parallel samples. The
reader knows how many requests there were and whether any asked for samples, so every byte has its
place and nothing in the bytes says how to read them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sandbox.cluster import ClusterSpec
from sandbox.kernel.state import TOTALS
from sandbox.samples import NUMBERS, has_samples
from sandbox.simulation import Outcome

_ARRAYS = (
    ("entered", np.dtype(np.int64)),
    ("first", np.dtype(np.int64)),
    ("finish", np.dtype(np.int64)),
    ("behind", np.dtype(np.int64)),
    ("state", np.dtype(np.int32)),
    ("preempted", np.dtype(np.int32)),
    ("held", np.dtype(np.int32)),
    ("moved", np.dtype(np.int32)),
    ("engine", np.dtype(np.int32)),
)
_REQUEST_BYTES = sum(dtype.itemsize for _, dtype in _ARRAYS)


class MalformedOutcome(ValueError):
    """Bytes that are no outcome of the simulation asked for."""


def outcome_length(requests: int, cluster: ClusterSpec) -> int:
    """Bytes of the outcome of so many requests on a cluster."""
    return requests * _REQUEST_BYTES + TOTALS.itemsize + 8 * len(_numbers(cluster))


def outcome_to_bytes(outcome: Outcome, cluster: ClusterSpec) -> bytes:
    """The outcome, `outcome_length` bytes of it."""
    arrays = [getattr(outcome, name).astype(dtype).tobytes() for name, dtype in _ARRAYS]
    numbers = np.array([outcome.samples[name] for name in _numbers(cluster)], np.float64)
    return b"".join((*arrays, outcome.totals.tobytes(), numbers.tobytes()))


def outcome_from_bytes(data: bytes, requests: int, cluster: ClusterSpec) -> Outcome:
    """Read an outcome back; whether it can be true is for `plausibility.check_outcome`.

    Raises:
        MalformedOutcome: there are more bytes or fewer.
    """
    if len(data) != outcome_length(requests, cluster):
        raise MalformedOutcome("an outcome of another length than the simulation has")
    arrays: dict[str, Any] = {}
    at = 0
    for name, dtype in _ARRAYS:
        arrays[name] = np.frombuffer(data, dtype, requests, at)
        at += requests * dtype.itemsize
    totals = np.frombuffer(data, TOTALS, 1, at)[0]
    numbers = np.frombuffer(data, np.float64, offset=at + TOTALS.itemsize)
    samples = dict(zip(_numbers(cluster), map(float, numbers), strict=True))
    return Outcome(**arrays, totals=totals, samples=samples)


def _numbers(cluster: ClusterSpec) -> tuple[str, ...]:
    return NUMBERS if has_samples(cluster) else ()
