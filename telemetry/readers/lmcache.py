"""LMCache agent traces: text is measured, hashed with a throw-away salt, and dropped at once.

Token counts are estimated as characters / ``chars_per_token``. Prefix blocks are salted hashes
of the text from the prompt's start to each block's end; the salt is drawn per run and kept by
nobody, and ids are renamed to 0..U-1, so that nothing of the text can be recovered.

Sessions are chains: where several agents share one (a user simulator and an agent, say) they take
turns, and a line does not tell when its call ended, so calls side by side cannot be made out.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from telemetry.blocks import Blocks, offsets_of
from telemetry.errors import FormatError, ReadError, RowError
from telemetry.readers.rows import TraceFormat
from telemetry.readers.source import Member, Source, parse_json
from telemetry.trace import Trace, TraceMeta

CHARS_PER_TOKEN = 4.0
BLOCK_TOKENS = 16
SESSION_GAP_S = 5.0
TOKEN_S = 0.01
SEED = 0
_MICROSECOND = 1e-6


@dataclass(frozen=True, slots=True)
class _Call:
    """Numbers of one line; the text is gone by the time this exists."""

    time_s: float
    prompt_tokens: int
    output_tokens: int
    hashes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    """How text becomes numbers."""

    salt: bytes
    chars_per_token: float

    def tokens(self, text: str) -> int:
        return max(1, math.ceil(len(text) / self.chars_per_token))

    def blocks(self, text: str) -> tuple[int, ...]:
        """One 62-bit hash per full block, over everything from the start to its end."""
        step = max(1, round(BLOCK_TOKENS * self.chars_per_token))
        running = hashlib.blake2b(key=self.salt, digest_size=8)
        found = []
        for start in range(0, len(text) - step + 1, step):
            running.update(text[start : start + step].encode("utf-8", "surrogatepass"))
            found.append(int.from_bytes(running.copy().digest(), "big") >> 2)
        return tuple(found)


def read(
    source: Source, *, chars_per_token: float = CHARS_PER_TOKEN, starts: str = "drawn",
    session_gap_s: float = SESSION_GAP_S, token_s: float = TOKEN_S, seed: int = SEED,
) -> Trace:
    """Read all sessions as chains; the recorded gap less the estimated service is think time.

    Args:
        starts: ``drawn`` (sessions start ``session_gap_s`` apart on average, since the recorded
            ones are separate benchmark runs) or ``recorded``.
        token_s: service time assumed per output token when think time is worked out.
    """
    if not 0.5 <= chars_per_token <= 20 or starts not in ("drawn", "recorded") or (
            session_gap_s < 0 or token_s < 0):
        raise FormatError("Give chars_per_token within 0.5..20, starts as drawn or recorded, and "
                          "times from 0 on.")
    sessions, steps_back = _sessions(source, _Rule(secrets.token_bytes(16), chars_per_token))
    notes = [
        f"Token counts are estimated as characters / {chars_per_token:g}; the text was dropped.",
        "An empty answer (a tool call that the log leaves out) counts as one token.",
        f"Think time is the recorded gap less {token_s:g} s per output token of the call before.",
        f"Lines are not in order of time ({steps_back} steps back); they were sorted."
        if steps_back else "",
        f"The {len(sessions)} sessions are separate runs: their starts were drawn {session_gap_s:g}"
        f" s apart on average (seed {seed})." if starts == "drawn" else "",
    ]
    zeros = _starts(sessions, starts, session_gap_s, seed)
    return _trace(source, sessions, zeros, token_s).noting(*notes)


def _sessions(source: Source, rule: _Rule) -> tuple[list[list[_Call]], int]:
    found: dict[tuple[str, str], list[_Call]] = defaultdict(list)
    for member in _texts(source):
        for number, line in member.lines():
            if line.strip():
                name, call = _call(member, number, line, rule)
                found[member.name, name].append(call)
    if not found:
        raise ReadError(f"{source.label} holds no request; check the file and --format.")
    steps_back = sum(int((np.diff([call.time_s for call in calls]) < 0).sum())
                     for calls in found.values())
    ordered = [sorted(calls, key=lambda call: call.time_s) for calls in found.values()]
    return sorted(ordered, key=lambda calls: calls[0].time_s), steps_back


def _texts(source: Source) -> list[Member]:
    if source.is_tar:
        return list(source.members(lambda name: name.endswith(".jsonl")))
    return [Member(source.name, source.text().encode())]


def _call(member: Member, number: int, line: str, rule: _Rule) -> tuple[str, _Call]:
    item = parse_json(line, member.label, number)
    try:
        stamp, prompt, output, name = (item[key] for key in
                                       ("timestamp", "input", "output", "session_id"))
    except (KeyError, TypeError):
        raise RowError(member.label, number, "timestamp, input, output or session_id is missing",
                       "drop the line or check --format") from None
    texts = isinstance(prompt, str) and isinstance(output, str) and isinstance(name, str)
    if not texts or type(stamp) not in (int, float) or not 0 <= stamp < 2**62:
        raise RowError(member.label, number, "timestamp is no number of microseconds or input, "
                       "output or session_id is no text", "drop or mend the line")
    return name, _Call(stamp * _MICROSECOND, rule.tokens(prompt), rule.tokens(output),
                       rule.blocks(prompt))


def _starts(
    sessions: list[list[_Call]], starts: str, gap_s: float, seed: int
) -> list[float]:
    if starts == "recorded":
        return [calls[0].time_s - sessions[0][0].time_s for calls in sessions]
    gaps = np.random.default_rng(seed).exponential(gap_s, len(sessions))
    return [float(start) for start in np.cumsum(gaps) - gaps[0]]


def _trace(
    source: Source, sessions: list[list[_Call]], zeros: list[float], token_s: float
) -> Trace:
    calls = [call for session in sessions for call in session]
    sizes = np.array([len(session) for session in sessions])
    number = np.repeat(np.arange(len(sessions)), sizes)
    turn = np.concatenate([np.arange(size) for size in sizes])
    times = np.array([call.time_s for call in calls])
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    outputs = np.array([call.output_tokens for call in calls])
    gap = np.diff(times, prepend=times[0]) - token_s * np.r_[0, outputs[:-1]]
    counts = np.array([len(call.hashes) for call in calls])
    ids = np.fromiter((h for call in calls for h in call.hashes), np.int64, int(counts.sum()))
    meta = TraceMeta(name=source.name, format=LMCACHE.name, clock=LMCACHE.clock,
                     source=LMCACHE.source, licence=LMCACHE.licence)
    return Trace.of(
        meta, arrival_s=times - times[first] + np.array(zeros)[number],
        prompt_tokens=[call.prompt_tokens for call in calls], output_tokens=outputs,
        session=number, turn=turn, after=np.where(turn > 0, np.arange(len(calls)) - 1, -1),
        think_s=np.where(turn > 0, np.maximum(gap, 0.0), 0.0),
        blocks=Blocks(offsets_of(counts), ids, BLOCK_TOKENS))


def _recognises(source: Source) -> bool:
    first = source.head[0] if source.head else ""
    return first.startswith("{") and all(
        f'"{key}"' in first for key in ("timestamp", "input")) and '"input_length"' not in first


LMCACHE = TraceFormat(
    name="lmcache", title="LMCache agent trace (JSON lines with text)", zero="file",
    clock="microseconds since 1970 within each session; session starts are drawn",
    block_tokens=BLOCK_TOKENS, scope="global", recognises=_recognises, read=read,
    source="https://github.com/LMCache/lmcache-agent-trace", licence="Apache-2.0")
