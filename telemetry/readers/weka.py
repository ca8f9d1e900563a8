"""WEKA agentic coding sessions: one JSON a session, calls chained by think times, sub-agents.

Conventions found in the files and relied on here: ``t`` of a call is its start in seconds of the
session; ``t`` of a sub-agent is when its result came *back*, so it began ``duration_ms`` earlier,
together with the end of the call that started it; times within a sub-agent count from its own
start. The call after sub-agents waits for all of them: it comes after the one that came back last
and joins on the others. ``think_time`` is rounded to seconds and, where ``api_time`` is missing,
includes the service time of the call before. Hash ids are local to a session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.blocks import Blocks, offsets_of
from telemetry.errors import FormatError, ReadError, RowError
from telemetry.joins import Joins
from telemetry.readers.rows import TraceFormat
from telemetry.readers.source import Json, Member, Source
from telemetry.trace import Trace, TraceMeta

BLOCK_TOKENS = 64
SESSION_GAP_S = 60.0
SEED = 0
_NO_ANSWER = -1


@dataclass(slots=True)
class _Call:
    start_s: float
    finish_s: float
    prompt_tokens: int
    output_tokens: int
    hashes: NDArray[np.int64]
    parent: int
    think_s: float
    joins: list[int]


@dataclass(slots=True)
class _Session:
    calls: list[_Call] = field(default_factory=list)
    untimed: int = 0
    fan_outs: int = 0


def read(source: Source, *, session_gap_s: float = SESSION_GAP_S, seed: int = SEED) -> Trace:
    """Read all sessions; their starts are not published and are drawn with the given mean gap."""
    if not (np.isfinite(session_gap_s) and session_gap_s >= 0):
        raise FormatError("session_gap_s must be 0 (all sessions at once) or more seconds.")
    sessions = [_session(member) for member in
                source.members(lambda name: name.endswith(".json"))]
    sessions = [session for session in sessions if session.calls]
    if not sessions:
        raise ReadError(f"{source.label} holds no session; check the file and --format.")
    gaps = np.random.default_rng(seed).exponential(session_gap_s, len(sessions))
    starts = np.cumsum(gaps) - gaps[0]
    return _trace(source, sessions, starts, _notes(sessions, session_gap_s, seed))


def _notes(sessions: list[_Session], gap_s: float, seed: int) -> tuple[str, ...]:
    untimed = sum(session.untimed for session in sessions)
    fan_outs = sum(session.fan_outs for session in sessions)
    return (
        f"Session starts are not published: {len(sessions)} starts were drawn {gap_s:g} s apart on "
        f"average (seed {seed}).",
        f"{untimed} calls have no recorded service time: the think time after them includes it."
        if untimed else "",
        f"{fan_outs} sub-agents start with the end of the call that asked for them; the call after "
        "them waits for all of them." if fan_outs else "",
    )


def _trace(
    source: Source, sessions: list[_Session], starts: NDArray[np.float64], notes: tuple[str, ...]
) -> Trace:
    """Flatten sessions; hash ids are shifted so that no two sessions share one."""
    calls = [call for session in sessions for call in session.calls]
    sizes = np.array([len(session.calls) for session in sessions])
    number = np.repeat(np.arange(len(sessions)), sizes)
    first = np.cumsum(sizes) - sizes
    parent = np.array([call.parent for call in calls])
    reach = np.array([max((int(call.hashes.max(initial=0)) for call in session.calls), default=0)
                      for session in sessions]) + 1
    shift = np.cumsum(reach) - reach
    ids = [call.hashes + shift[at] for call, at in zip(calls, number, strict=True)]
    blocks = Blocks(offsets_of(np.array([len(row) for row in ids])), np.concatenate(ids),
                    BLOCK_TOKENS)
    meta = TraceMeta(name=source.name, format=WEKA.name, clock=WEKA.clock, source=WEKA.source,
                     licence=WEKA.licence).noting(*notes)
    return Trace.of(
        meta, arrival_s=np.array([call.start_s for call in calls]) + starts[number],
        prompt_tokens=[call.prompt_tokens for call in calls],
        output_tokens=[call.output_tokens for call in calls], session=number,
        turn=np.concatenate([np.arange(size) for size in sizes]),
        after=np.where(parent < 0, -1, parent + first[number]),
        think_s=[call.think_s for call in calls], blocks=blocks,
        joins=Joins.of_lists([[one + start for one in call.joins]
                              for call, start in zip(calls, first[number].tolist(), strict=True)]))


def _session(member: Member) -> _Session:
    document = member.json()
    _check_head(member, document)
    session = _Session()
    main = _NO_ANSWER          # the last call of the main agent
    asked: list[int] = []      # the last calls of the sub-agents it started
    for number, item in enumerate(document["requests"], start=1):
        try:
            if item["type"] == "subagent":
                asked += _sub_agent(session, item, main)
                continue
            _join(session, item, main, asked)
            main, asked = len(session.calls) - 1, []
        except (KeyError, TypeError, ValueError, OverflowError):
            raise RowError(member.label, 0, f"call {number} lacks or garbles t, in, out, hash_ids "
                           "or type", "drop the call or download the file again") from None
    return _in_time_order(session)


def _check_head(member: Member, document: Json) -> None:
    if not isinstance(document, dict) or not isinstance(document.get("requests"), list):
        raise FormatError(f"{member.label} is no session with a list of requests; check --format.")
    if document.get("block_size") != BLOCK_TOKENS or document.get("hash_id_scope") != "local":
        raise FormatError(f"{member.label} does not declare {BLOCK_TOKENS}-token blocks with local "
                          "hash ids, which is all this reader knows; leave the file out.")


def _join(session: _Session, item: dict[str, Any], main: int, asked: list[int]) -> None:
    """Append a main call, which waits for all sub-agents; think time counts from the last."""
    last = max(asked, key=lambda call: _finish(session, call), default=main)
    _append(session, item, 0.0, last, trust_think=last == main)
    if main >= 0:  # sub-agents that nobody asked for share no first call to join under
        session.calls[-1].joins = [call for call in asked if call != last]


def _sub_agent(session: _Session, item: dict[str, Any], parent: int) -> list[int]:
    """Append a sub-agent's calls; the last one's place, nothing when it made none."""
    began_s = float(item["t"]) - float(item["duration_ms"]) / 1e3
    began_s = max(began_s, _finish(session, parent))
    session.fan_outs += 1
    before = parent
    for call in item["requests"]:
        _append(session, call, began_s, before, trust_think=before != parent)
        before = len(session.calls) - 1
    return [before] if before != parent else []


def _append(
    session: _Session, item: dict[str, Any], zero_s: float, parent: int, trust_think: bool
) -> None:
    start = zero_s + float(item["t"])
    service = float(item.get("api_time") or 0.0)
    session.untimed += "api_time" not in item
    recorded = item.get("think_time") if trust_think else None
    gap = max(0.0, start - _finish(session, parent)) if parent >= 0 else 0.0
    think = gap if recorded is None or parent < 0 else max(0.0, float(recorded))
    hashes = np.array(item["hash_ids"], dtype=np.int64).reshape(-1)
    prompt, output = int(item["in"]), int(item["out"])
    if not (np.isfinite(start + service + think) and start >= 0 and prompt >= 0 and output >= 0
            and hashes.min(initial=0) >= 0 and hashes.max(initial=0) < 2**40):
        raise ValueError("out of range")
    session.calls.append(_Call(start, start + service, max(1, prompt), max(1, output), hashes,
                               parent, think, []))


def _finish(session: _Session, call: int) -> float:
    return session.calls[call].finish_s if call >= 0 else 0.0


def _in_time_order(session: _Session) -> _Session:
    """Sort calls by start (parents stay before their children) and renumber parents."""
    calls = session.calls
    for call in calls:
        for parent in (call.parent, *call.joins):
            if parent >= 0:
                call.start_s = max(call.start_s, calls[parent].start_s)
    order = sorted(range(len(calls)), key=lambda at: calls[at].start_s)
    place = {at: rank for rank, at in enumerate(order)}
    for call in calls:
        call.parent = place.get(call.parent, _NO_ANSWER)
        call.joins = [place[one] for one in call.joins]
    session.calls = [calls[at] for at in order]
    return session


def _recognises(source: Source) -> bool:
    first = source.head[0] if source.is_tar and source.head else ""
    return '"hash_id_scope"' in first and '"requests"' in first


WEKA = TraceFormat(
    name="weka", title="WEKA agentic coding sessions (tar of JSON)", zero="file",
    clock="seconds of each session; session starts are drawn", block_tokens=BLOCK_TOKENS,
    scope="session", recognises=_recognises, read=read,
    source="https://github.com/callanjfox/kv-cache-tester", licence="Apache-2.0")
