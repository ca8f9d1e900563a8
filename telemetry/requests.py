"""Served requests as columns: what a request log says of each, numbers only, one value a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.blocks import Blocks, offsets_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ENDPOINTS = ("chat", "completions", "embeddings")
OUTCOMES = (
    "ok", "client_error", "engine_error", "broken", "abandoned", "rejected", "no_engine",
)  # fmt: skip
OK, CLIENT_ERROR = OUTCOMES.index("ok"), OUTCOMES.index("client_error")
EMBEDDINGS = ENDPOINTS.index("embeddings")
MOST_BLOCKS = 512  # that a row may bring along
MOST_TOKENS, MOST_NUMBER = 2**31 - 1, 2**63 - 1
LATEST_UNIX_S = 1e11


@dataclass(frozen=True, slots=True)
class Column:
    """What a column may hold.

    Attributes:
        kind: of the values; usual: where a row does not say; None: every row must.
        least, most: bounds, both included.
    """

    kind: type[np.generic]
    usual: float | int | bool | None
    least: float = 0
    most: float = MOST_TOKENS


def _tokens(usual: int | None = -1) -> Column:
    return Column(np.int32, usual, min(usual or 0, 0))


def _seconds() -> Column:
    return Column(np.float64, float("nan"), 0.0, LATEST_UNIX_S)


COLUMNS: dict[str, Column] = {
    "arrived_unix_s": Column(np.float64, None, 0.0, LATEST_UNIX_S),
    "endpoint": Column(np.int8, 0, 0, len(ENDPOINTS) - 1),
    "outcome": Column(np.int8, OK, 0, len(OUTCOMES) - 1),
    "status": Column(np.int16, 0, 0, 999),
    "stream": Column(np.bool_, False),
    "usage": Column(np.bool_, False),
    "online": Column(np.bool_, True),
    "class_id": Column(np.int16, 1, 0, 1023),
    "weight": Column(np.float64, 1.0, 0.0, 1e9),
    "tenant": Column(np.int64, 0, 0, MOST_NUMBER),
    "session": Column(np.int64, -1, -1, MOST_NUMBER),
    "turn": _tokens(),
    "prompt_tokens": _tokens(None),
    "prompt_estimate_tokens": _tokens(),
    "output_tokens": _tokens(None),
    "max_output_tokens": Column(np.int64, -1, -1, 2**31),
    "cached_tokens": _tokens(),
    "instance_id": Column(np.int64, -1, -1, MOST_NUMBER),
    "sequence": Column(np.int64, -1, -1, MOST_NUMBER),
    "digest": Column(np.int32, -1, -1, MOST_TOKENS),
    "attempts": _tokens(0),
    "preempted": _tokens(),
    "waited_s": _seconds(),
    "ttft_s": _seconds(),
    "last_token_s": _seconds(),
    "e2e_s": _seconds(),
    "prefix": Column(np.int64, -1, -1, MOST_NUMBER),
    "prefix_tokens": _tokens(0),
    "block_tokens": _tokens(0),
}
"""The columns of `Requests` with one value a row, `digest` as a place in `digests`."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Requests:
    """Requests in any order; arrays of shape (n,), -1 and NaN where nobody knows.

    Attributes:
        arrived_unix_s: wall clock.
        endpoint, outcome: places in `ENDPOINTS` and `OUTCOMES`; status: of the answer over HTTP.
        class_id: as in policies, 1 where the door knows no classes; weight, online: likewise.
        tenant, session: numbers under a key of the deployment, or of the gateway's process.
        turn: of the session, from 0.
        prompt_tokens, output_tokens: by the engine's usage where `usage`, else the door's
            estimate; prompt_estimate_tokens: that estimate in any case.
        max_output_tokens: that the client asked for at most.
        cached_tokens: of the prompt, that the engine says it had.
        instance_id, sequence, digest: of the decision; digest is a place in `digests`.
        attempts: engines that had it; preempted: how often an engine put it back.
        waited_s, ttft_s, last_token_s, e2e_s: from arrival until it was sent to the engine that
            answered, until the first and the last token passed, and until it left.
        prefix, prefix_tokens: a number for the prompt's beginning, and how long that is.
        block_tokens: estimated tokens in a block of this row; 0: it says nothing about blocks.
        block_offsets: int64 (n + 1,); block_hashes: uint64, salted, equal for equal stretches
            after equal beginnings; row ``i`` has ``[block_offsets[i]:block_offsets[i + 1]]``.
        digests: policies, by the places in `digest`.
        notes: sentences on what was left out and why.
        skipped_segments: files that should have been read and could not be.
    """

    arrived_unix_s: Floats
    endpoint: NDArray[np.int8]
    outcome: NDArray[np.int8]
    status: NDArray[np.int16]
    stream: Bools
    usage: Bools
    online: Bools
    class_id: NDArray[np.int16]
    weight: Floats
    tenant: Ints
    session: Ints
    turn: NDArray[np.int32]
    prompt_tokens: NDArray[np.int32]
    prompt_estimate_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    max_output_tokens: Ints
    cached_tokens: NDArray[np.int32]
    instance_id: Ints
    sequence: Ints
    digest: NDArray[np.int32]
    attempts: NDArray[np.int32]
    preempted: NDArray[np.int32]
    waited_s: Floats
    ttft_s: Floats
    last_token_s: Floats
    e2e_s: Floats
    prefix: Ints
    prefix_tokens: NDArray[np.int32]
    block_tokens: NDArray[np.int32]
    block_offsets: Ints
    block_hashes: NDArray[np.uint64]
    digests: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    skipped_segments: int = 0

    def __len__(self) -> int:
        return len(self.arrived_unix_s)

    @property
    def blocks(self) -> Blocks:
        """The hashes as a row table, in estimated tokens of the first row that has some."""
        known = self.block_tokens[self.block_tokens > 0]
        return Blocks(self.block_offsets, self.block_hashes, int(known[0]) if len(known) else 0)

    @property
    def policies(self) -> list[str]:
        """The digest of each row's policy, empty without a decision."""
        return [self.digests[code] if code >= 0 else "" for code in self.digest.tolist()]

    def take(self, rows: NDArray[Any]) -> Requests:
        """The rows at indices (m,) or where a mask (n,) is true, in that order."""
        picked = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        blocks = self.blocks.take(picked)
        columns = {name: getattr(self, name)[picked] for name in COLUMNS}
        hashes = np.asarray(blocks.ids, np.uint64)
        return replace(self, **columns, block_offsets=blocks.offsets, block_hashes=hashes)

    def noting(self, *sentences: str, skipped_segments: int = 0) -> Requests:
        """The same with further notes."""
        notes = (*self.notes, *(one for one in sentences if one))
        skipped = self.skipped_segments + skipped_segments
        return replace(self, notes=notes, skipped_segments=skipped)

    @classmethod
    def none(cls) -> Requests:
        """No request."""
        columns: dict[str, Any] = {
            name: np.zeros(0, column.kind) for name, column in COLUMNS.items()
        }
        return cls(**columns, block_offsets=np.zeros(1, np.int64), block_hashes=_NO_HASHES)

    @classmethod
    def join(cls, parts: Sequence[Requests]) -> Requests:
        """All rows of all parts, one after another, with all their notes."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.none()
        digests = tuple(dict.fromkeys(name for part in parts for name in part.digests))
        places = {name: place for place, name in enumerate(digests)}
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in COLUMNS if name != "digest"
        }  # fmt: skip
        codes = [
            np.array([-1, *(places[name] for name in part.digests)], np.int32)[part.digest + 1]
            for part in parts
        ]
        counts = np.concatenate([np.diff(part.block_offsets) for part in parts])
        return cls(
            **columns, digest=np.concatenate(codes), digests=digests,
            block_offsets=offsets_of(counts),
            block_hashes=np.concatenate([part.block_hashes for part in parts]),
            notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
            skipped_segments=sum(part.skipped_segments for part in parts),
        )  # fmt: skip


_NO_HASHES = np.zeros(0, np.uint64)


def problems_of(requests: Requests) -> Iterator[str]:
    """What is wrong with columns of unknown origin, one sentence's part each."""
    rows = len(requests)
    for name, column in COLUMNS.items():
        values = getattr(requests, name)
        if values.dtype != column.kind or values.shape != (rows,):
            yield f"column {name} has another kind or length"
        elif column.kind is not np.bool_ and rows:
            known = values[~np.isnan(values)] if column.usual != column.usual else values
            if not np.all((known >= column.least) & (known <= column.most)):
                yield f"column {name} is out of range"
    counts = np.diff(requests.block_offsets)
    whole = len(requests.block_offsets) == rows + 1 and requests.block_offsets[0] == 0
    if not whole or requests.block_offsets[-1] != len(requests.block_hashes):
        yield "the offsets of blocks do not fit"
    elif rows and (counts.min() < 0 or counts.max() > MOST_BLOCKS):
        yield "a row has too many blocks"
    elif rows and requests.digest.max() >= len(requests.digests):
        yield "a policy has no digest"
