"""The gateway's own request log: JSON lines of numbers, rotated files included, or its last hour.

Sessions are replayed as they were lived: a call that came after the one before it had ended comes
a think time after that ends. What prompts share is estimated, as the gateway estimates it: their
beginnings by a salted number, and whatever a session has said before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.blocks import Blocks, offsets_of
from telemetry.errors import FormatError, ReadError, RowError
from telemetry.readers.rows import TraceFormat, turns_of
from telemetry.readers.source import Json, Source, open_source, parse_json
from telemetry.trace import Trace, TraceMeta, opaque_codes

BLOCK_TOKENS = 64
MOST_OPENING_BLOCKS = 64
MOST_BLOCKS = 20_000_000  # beyond, nothing is said about reuse rather than too much memory taken
MOST_ROTATED = 100
TORN_SHARE = 1e-3  # of lines: a full disk or a killed process tears one now and then
UNSURE_S = 1e-3  # clocks of arrival and duration differ by less
_NEEDED = ("arrived_unix_s", "prompt_tokens", "output_tokens")
_SERVED = ("chat", "completions", "embeddings")
_LATEST_UNIX_S = 1e11
Ints = NDArray[np.int64]


@dataclass(slots=True)
class Lines:
    """Columns of the lines that count, and how many were left out and why."""

    arrived_s: list[float] = field(default_factory=list)
    lasted_s: list[float] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    output: list[int] = field(default_factory=list)
    tenant: list[int] = field(default_factory=list)
    session: list[int] = field(default_factory=list)
    online: list[bool] = field(default_factory=list)
    prefix: list[int] = field(default_factory=list)
    prefix_tokens: list[int] = field(default_factory=list)
    lines: int = 0
    torn: int = 0
    first_torn: int = 0
    unanswered: int = 0
    refused: int = 0


def read(source: Source, *, rotated: bool = True, unanswered: str = "drop") -> Trace:
    """Read a log.

    Args:
        rotated: read ``NAME.1``, ``NAME.2.gz`` ... beside it, too, oldest first.
        unanswered: "drop" requests without an answer's length (refused, broken off, no engine),
            or "keep" them with the median answer, since they asked for the same machines.
    """
    if unanswered not in ("drop", "keep"):
        raise FormatError(f"unanswered is {unanswered!r}; give drop or keep.")
    older = rotated_parts(source) if rotated else []
    found = Lines()
    for part in (*older, source):
        take_lines(found, part.lines(), part.label)
    notes = [f"{len(older)} rotated files were read with it; rotated=False leaves them out."]
    return trace_of(found, source, notes if older else [], keep=unanswered == "keep")


def rotated_parts(source: Source) -> list[Source]:
    """Older parts of a log, oldest first."""
    name = re.compile(re.escape(source.path.name) + r"\.([1-9]\d{0,2})(\.gz)?")
    found = [(int(match[1]), path) for path in source.path.parent.iterdir()
             if (match := name.fullmatch(path.name)) and path.is_file()]
    if len(found) > MOST_ROTATED:
        raise ReadError(f"{source.label} has more than {MOST_ROTATED} rotated files; read some of "
                        "them with rotated=False.")
    return [open_source(path) for _, path in sorted(found, reverse=True)]


def take_lines(found: Lines, numbered: Iterable[tuple[int, str]], where: str) -> None:
    """Add what lines say.

    Raises:
        RowError: a line is no record, unless it is one of few that were torn.
    """
    for number, text in numbered:
        if not text.strip():
            continue
        found.lines += 1
        try:
            item = parse_json(text, where, number)
        except RowError:
            found.torn += 1
            found.first_torn = found.first_torn or number
            if found.torn > 1 + found.lines * TORN_SHARE:
                raise
            continue
        _take(found, item, where, number)


def _take(found: Lines, item: Json, where: str, line: int) -> None:
    if not isinstance(item, dict) or not all(name in item for name in _NEEDED):
        raise _wrong(where, line, f"a field of {', '.join(_NEEDED)} is missing")
    if item.get("endpoint", _SERVED[0]) not in _SERVED:
        return
    if item.get("outcome") == "client_error":
        found.refused += 1
        return
    prompt, output = (_whole(item, name, 0, where, line) for name in _NEEDED[1:])
    embedding = item.get("endpoint") == "embeddings" and item.get("outcome") == "ok"
    found.arrived_s.append(_seconds(item, "arrived_unix_s", where, line))
    found.lasted_s.append(_seconds(item, "e2e_s", where, line, math.nan))
    found.prompt.append(max(prompt, 1))
    found.output.append(1 if embedding else output)
    found.unanswered += not embedding and output == 0
    found.tenant.append(_whole(item, "tenant", 0, where, line))
    found.session.append(_whole(item, "session", -1, where, line))
    found.prefix.append(_whole(item, "prefix", -1, where, line))
    found.prefix_tokens.append(_whole(item, "prefix_tokens", 0, where, line))
    found.online.append(item.get("online") is not False)


def _whole(item: dict[str, Any], name: str, least: int, where: str, line: int) -> int:
    """A whole number; absent fields are as in logs that did not have them yet."""
    value = item.get(name, least)
    most = 2**31 - 1 if name.endswith("_tokens") else 2**63 - 1
    if type(value) is not int or not least <= value <= most:
        raise _wrong(where, line, f"{name} is not a whole number from {least} to {most}")
    return value


def _seconds(
    item: dict[str, Any], name: str, where: str, line: int, missing: float | None = None
) -> float:
    value = item.get(name)
    if value is None and missing is not None:
        return missing
    if not (type(value) is int or type(value) is float) or not 0 <= value < _LATEST_UNIX_S:
        raise _wrong(where, line, f"{name} is not a time in seconds")
    return float(value)


def _wrong(where: str, line: int, problem: str) -> RowError:
    return RowError(where, line, problem, "drop or mend the line")


def trace_of(found: Lines, source: Source, notes: list[str], *, keep: bool = False) -> Trace:
    """The trace of lines in any order.

    Raises:
        ReadError: no request is left.
    """
    answered = np.array(found.output, np.int64) > 0
    output = np.array(found.output, np.int64)
    if keep and answered.any():
        output[~answered] = max(int(np.median(output[answered])), 1)
    kept = np.flatnonzero(output > 0)
    if not len(kept):
        raise ReadError(f"{source.label} holds no answered request; check the file.")
    arrived = np.array(found.arrived_s)
    kept = kept[np.argsort(arrived[kept], kind="stable")]
    arrived, lasted = arrived[kept], np.array(found.lasted_s)[kept]
    prompt = np.array(found.prompt, np.int64)[kept]
    session = _sessions(np.array(found.session, np.int64)[kept])
    after, think_s = _chains(session, arrived, lasted)
    openings = (np.array(found.prefix, np.int64)[kept], np.array(found.prefix_tokens)[kept])
    blocks, told = _blocks(prompt, session, *openings)
    meta = TraceMeta(
        name=source.name, format=GATEWAY_LOG.name, clock=GATEWAY_LOG.clock,
    ).noting(*notes, *_notes(found, keep, int((after >= 0).sum())), told)
    return Trace.of(
        meta, arrival_s=arrived - arrived[0], prompt_tokens=prompt, output_tokens=output[kept],
        tenant=opaque_codes([found.tenant[row] for row in kept.tolist()]),
        online=np.array(found.online)[kept], session=session, turn=turns_of(session, arrived),
        after=after, think_s=think_s, blocks=blocks)


def _sessions(numbers: Ints) -> NDArray[np.int32]:
    """Numbered as they first come, whatever the salt was; -1 stays -1."""
    known = numbers >= 0
    codes = np.full(len(numbers), -1, np.int32)
    _, first, inverse = np.unique(numbers[known], return_index=True, return_inverse=True)
    codes[known] = np.argsort(np.argsort(first))[inverse.reshape(-1)]
    return codes


def _chains(
    session: NDArray[np.int32], arrived: NDArray[np.float64], lasted: NDArray[np.float64]
) -> tuple[Ints, NDArray[np.float64]]:
    """The call that each one waited for, -1 for none, and how long it came after that had ended."""
    order = np.lexsort((np.arange(len(session)), session))
    before = np.full(len(session), -1, np.int64)
    same = (session[order][1:] == session[order][:-1]) & (session[order][1:] >= 0)
    before[order[1:][same]] = order[:-1][same]
    gap = np.where(before >= 0, arrived - (arrived + lasted)[before], np.nan)
    waited = gap >= -UNSURE_S
    return np.where(waited, before, -1), np.where(waited, np.maximum(gap, 0.0), 0.0)


def _blocks(
    prompt: Ints, session: NDArray[np.int32], prefix: Ints, prefix_tokens: Ints
) -> tuple[Blocks, str]:
    """Blocks that a prompt may share: its beginning, then its session's; the rest is its own."""
    whole = prompt // BLOCK_TOKENS
    opening = np.where(prefix >= 0, np.minimum(prefix_tokens // BLOCK_TOKENS, whole), 0)
    opening = np.minimum(opening, MOST_OPENING_BLOCKS)
    several = np.isin(session, np.flatnonzero(np.bincount(session[session >= 0]) > 1))
    counts = np.where(several, whole, opening)
    if int(counts.sum()) > MOST_BLOCKS:
        return Blocks.none(len(prompt)), "Prompts are too many for an estimate of what they share."
    codes = np.unique(prefix, return_inverse=True)[1].reshape(-1)
    longest = np.zeros(int(session.max(initial=-1)) + 1, np.int64)
    np.maximum.at(longest, session[several], whole[several])
    own = offsets_of(longest) + (int(codes.max(initial=0)) + 1) * MOST_OPENING_BLOCKS
    offsets = offsets_of(counts)
    row = np.repeat(np.arange(len(prompt)), counts)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    begins = place < opening[row]
    ids = np.where(begins, codes[row] * MOST_OPENING_BLOCKS + place, own[session[row]] + place)
    told = ("What prompts share is estimated: equal beginnings, and all that a session said before."
            if len(ids) else "")
    return Blocks(offsets, ids, BLOCK_TOKENS if len(ids) else 0), told


def _notes(found: Lines, keep: bool, chained: int) -> Iterator[str]:
    if found.torn:
        yield (f"{found.torn} torn lines were left out, the first is line {found.first_torn}.")
    if found.refused:
        yield f"{found.refused} requests that engines refused as wrong were left out."
    if found.unanswered:
        what = ("have the median answer's length" if keep
                else "were left out; unanswered=keep keeps them")
        yield f"{found.unanswered} requests without a whole answer {what}."
    if chained:
        yield f"{chained} calls come a think time after their session's call before, as recorded."


def _recognises(source: Source) -> bool:
    first = source.head[0] if source.head and not source.is_tar else ""
    return first.startswith("{") and all(f'"{name}"' in first for name in _NEEDED)


GATEWAY_LOG = TraceFormat(
    name="gateway", title="request log of this project's gateway (JSON lines)",
    clock="wall clock, read as seconds from the first arrival", block_tokens=BLOCK_TOKENS,
    scope="global", recognises=_recognises, read=read)
