"""Requests as the trace they make: sessions as they were lived, and what their prompts share.

A call of a session that came after the one before it had ended comes a think time after that ends.
What prompts share is measured where the log has salted hashes of their blocks; beyond the last
hashed block a session is taken to go on from all it has said. Older logs have no blocks: there
equal beginnings are known by one number, and the rest is estimated alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry.blocks import Blocks, offsets_of
from telemetry.engine_timings import EngineTimings
from telemetry.errors import ReadError
from telemetry.requests import CLIENT_ERROR, EMBEDDINGS, OK, Floats, Ints, Requests
from telemetry.trace import Trace, TraceMeta, opaque_codes, turns_of

CLOCK = "wall clock, read as seconds from the first arrival"
BLOCK_TOKENS = 64  # where the log says none
MOST_OPENING_BLOCKS = 64
MOST_BLOCKS = 20_000_000  # beyond, nothing is said about reuse rather than too much memory taken
UNSURE_S = 1e-3  # clocks of arrival and duration differ by less


def trace_of(
    requests: Requests, *, name: str = "requests", format: str = "segments", keep: bool = False
) -> Trace:
    """The trace of requests in any order; second 0 is the first arrival that counts.

    Args:
        requests: as read.
        name, format: for the trace's record.
        keep: keep requests without an answer's length (refused, broken off, no engine) with the
            median answer, since they asked for the same machines; else they are left out.

    Raises:
        ReadError: no request is left.
    """
    refused = requests.outcome == CLIENT_ERROR
    asked = requests.take(~refused)
    output = answered_tokens(asked)
    answered = output > 0
    if keep and answered.any():
        output[~answered] = max(int(np.median(output[answered])), 1)
    kept = np.flatnonzero(output > 0)
    if not len(kept):
        raise ReadError(f"There is no answered request in {name}: check what was read.")
    kept = kept[np.argsort(asked.arrived_unix_s[kept], kind="stable")]
    rows, arrived = asked.take(kept), asked.arrived_unix_s[kept]
    prompt = np.maximum(rows.prompt_tokens, 1).astype(np.int64)
    session = _sessions(rows.session)
    after, think_s = _chains(session, arrived, rows.e2e_s)
    blocks, told = _blocks(rows, prompt, session)
    notes = _notes(int(refused.sum()), int((~answered).sum()), int((after >= 0).sum()), keep)
    meta = TraceMeta(name=name, format=format, clock=CLOCK).noting(*requests.notes, *notes, told)
    return Trace.of(
        meta,
        arrival_s=arrived - arrived[0],
        prompt_tokens=prompt,
        output_tokens=output[kept],
        tenant=opaque_codes(rows.tenant.tolist()),
        online=rows.online,
        session=session,
        turn=turns_of(session, arrived),
        after=after,
        think_s=think_s,
        blocks=blocks,
    )


def timings_of(requests: Requests, instance_id: int | None = None) -> EngineTimings:
    """What one engine measured, or all of them where they are alike.

    Only streamed answers count that were whole and whose lengths the engine itself has said; times
    begin when the request was sent to the engine that answered.

    Raises:
        ReadError: no request is left.
    """
    last_s = np.where(np.isnan(requests.last_token_s), requests.e2e_s, requests.last_token_s)
    fits = (requests.outcome == OK) & requests.stream & requests.usage
    fits &= (requests.prompt_tokens > 0) & (requests.output_tokens > 0)
    fits &= (requests.waited_s < requests.ttft_s) & (requests.ttft_s <= last_s)  # false for NaN
    if instance_id is not None:
        fits &= requests.instance_id == instance_id
    if not fits.any():
        raise ReadError(
            "No streamed request has an engine's own token counts and times: ask for "
            "usage in streams, or wait for such requests."
        )
    sent = (requests.arrived_unix_s + requests.waited_s)[fits]
    order = np.flatnonzero(fits)[np.argsort(sent, kind="stable")]
    rows, waited_s = requests.take(order), requests.waited_s[order]
    sent = rows.arrived_unix_s + waited_s
    trace = Trace.of(
        TraceMeta(name="timings", format="segments", clock=CLOCK),
        arrival_s=sent - sent[0],
        prompt_tokens=rows.prompt_tokens,
        output_tokens=rows.output_tokens,
    )
    return EngineTimings(trace, rows.ttft_s - waited_s, last_s[order] - waited_s)


def answered_tokens(requests: Requests) -> Ints:
    """Tokens of each answer, 0 where there is none; an embedding counts as one."""
    embedded = (requests.endpoint == EMBEDDINGS) & (requests.outcome == OK)
    return np.where(embedded, 1, requests.output_tokens).astype(np.int64)


def _sessions(numbers: Ints) -> NDArray[np.int32]:
    """Numbered as they first come, whatever the salt was; -1 stays -1."""
    known = numbers >= 0
    codes = np.full(len(numbers), -1, np.int32)
    _, first, inverse = np.unique(numbers[known], return_index=True, return_inverse=True)
    codes[known] = np.argsort(np.argsort(first))[inverse.reshape(-1)]
    return codes


def _chains(session: NDArray[np.int32], arrived: Floats, lasted: Floats) -> tuple[Ints, Floats]:
    """The call that each one waited for, -1 for none, and how long it came after that had ended."""
    order = np.lexsort((np.arange(len(session)), session))
    before = np.full(len(session), -1, np.int64)
    same = (session[order][1:] == session[order][:-1]) & (session[order][1:] >= 0)
    before[order[1:][same]] = order[:-1][same]
    gap = np.where(before >= 0, arrived - (arrived + lasted)[before], np.nan)
    waited = gap >= -UNSURE_S
    return np.where(waited, before, -1), np.where(waited, np.maximum(gap, 0.0), 0.0)


@dataclass(frozen=True, slots=True)
class _Heads:
    """The blocks that rows are known to begin with: equal ids, equal beginnings."""

    offsets: Ints
    ids: Ints

    @property
    def counts(self) -> Ints:
        return np.diff(self.offsets)

    def last(self) -> Ints:
        """Id of each row's last block, -1 without one."""
        found = np.full(len(self.offsets) - 1, -1, np.int64)
        some = self.counts > 0
        found[some] = self.ids[self.offsets[1:][some] - 1]
        return found


def _blocks(rows: Requests, prompt: Ints, session: NDArray[np.int32]) -> tuple[Blocks, str]:
    """Blocks that a prompt may share: those known at its beginning, then its session's."""
    size, unit = _block_size(rows)
    whole = prompt // size
    hashed = rows.block_tokens == unit if unit else np.zeros(len(prompt), np.bool_)
    several = np.isin(session, np.flatnonzero(np.bincount(session[session >= 0]) > 1))
    several &= hashed | (rows.block_tokens == 0)
    opening = np.where((rows.prefix >= 0) & ~hashed, rows.prefix_tokens // size, 0)
    begin = np.where(hashed, np.diff(rows.block_offsets), np.minimum(opening, MOST_OPENING_BLOCKS))
    begin = np.minimum(begin, whole)
    counts = np.where(several, whole, begin)
    if int(counts.sum()) > MOST_BLOCKS:
        return Blocks.none(len(prompt)), "Prompts are too many for an estimate of what they share."
    heads = _heads(rows, hashed, begin)
    key = np.stack([session.astype(np.int64), np.where(hashed, heads.last(), -1)])
    family = np.unique(key, axis=1, return_inverse=True)[1].reshape(-1)
    longest = np.zeros(int(family.max(initial=-1)) + 1, np.int64)
    np.maximum.at(longest, family[several], whole[several])
    own = offsets_of(longest) + int(heads.ids.max(initial=-1)) + 1
    offsets = offsets_of(counts)
    row = np.repeat(np.arange(len(prompt)), counts)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    ids = own[family[row]] + place
    known = place < begin[row]
    ids[known] = heads.ids
    told = _told(hashed, size, unit) if len(ids) else ""
    return Blocks(offsets, ids, size if len(ids) else 0), told


def _block_size(rows: Requests) -> tuple[int, int]:
    """Tokens of a block as engines count them, and the estimated tokens it was cut by."""
    sizes, often = np.unique(rows.block_tokens[rows.block_tokens > 0], return_counts=True)
    if not len(sizes):
        return BLOCK_TOKENS, 0
    unit = int(sizes[np.argmax(often)])
    both = rows.usage & (rows.prompt_estimate_tokens > 0) & (rows.prompt_tokens > 0)
    if not both.any():
        return unit, unit
    counted = rows.prompt_tokens[both].sum(dtype=np.int64)
    ratio = float(counted / rows.prompt_estimate_tokens[both].sum(dtype=np.int64))
    return max(1, round(unit * min(ratio, 64.0))), unit


def _heads(rows: Requests, hashed: NDArray[np.bool_], begin: Ints) -> _Heads:
    offsets = offsets_of(begin)
    row = np.repeat(np.arange(len(begin)), begin)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], begin)
    openings = np.unique(rows.prefix, return_inverse=True)[1].reshape(-1)
    ids = openings[row] * MOST_OPENING_BLOCKS + np.minimum(place, MOST_OPENING_BLOCKS - 1)
    measured = hashed[row]
    hashes = rows.block_hashes[(rows.block_offsets[:-1][row] + place)[measured]]
    first = (int(openings.max(initial=0)) + 1) * MOST_OPENING_BLOCKS
    ids[measured] = np.unique(hashes, return_inverse=True)[1].reshape(-1) + first
    return _Heads(offsets, ids)


def _told(hashed: NDArray[np.bool_], size: int, unit: int) -> str:
    if not hashed.any():
        return (
            "What prompts share is estimated: equal beginnings, and all that a session said before."
        )
    told = f"What prompts share is known by salted hashes of {unit} estimated tokens each"
    told += f", {size} as engines count" if size != unit else ""
    share = float(hashed.mean())
    return told + (f", for {share:.0%} of the requests." if share < 1 else ".")


def _notes(refused: int, unanswered: int, chained: int, keep: bool) -> Iterator[str]:
    if refused:
        yield f"{refused} requests that engines refused as wrong were left out."
    if unanswered:
        what = (
            "have the median answer's length"
            if keep
            else "were left out; unanswered=keep keeps them"
        )
        yield f"{unanswered} requests without a whole answer {what}."
    if chained:
        yield f"{chained} calls come a think time after their session's call before, as recorded."
