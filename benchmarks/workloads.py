"""Synthetic chat traffic and capacity of any size for the benchmarks.

Traffic has about 1,000 tokens in and 200 out. Sessions of four turns; every prompt is a shared
system prompt, the turns and answers so far, and the new turn. Drawn column by column, so that a
million requests take seconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from telemetry.blocks import Blocks, offsets_of
from telemetry.capacity import CapacityTrace
from telemetry.trace import Trace, TraceMeta

TURNS = 4
BLOCK_TOKENS = 64
_SYSTEMS = 16
_MOST_BLOCKS = 4096  # of one session's own prompt
Ints = NDArray[np.int64]


def chat(
    requests: int,
    rate_rps: float,
    *,
    seed: int = 1,
    output_tokens: float = 200.0,
    prefixes: bool = True,
    closed: bool = False,
) -> Trace:
    """Draw a trace.

    Args:
        requests: how many, rounded up to whole sessions.
        rate_rps: requests per second over the whole trace.
        output_tokens: mean answer; lengths are exponential, histories grow with them.
        prefixes: give blocks, so that a prefix cache finds system prompts and histories.
        closed: a turn comes after the answer before it and a pause, not at a time of its own.
    """
    rng = np.random.default_rng([seed, requests])
    sessions = -(-requests // TURNS)
    shape = (sessions, TURNS)
    system = rng.zipf(1.5, sessions) % _SYSTEMS
    system_blocks = rng.integers(2, 9, _SYSTEMS)[system]
    asked = np.cumsum(20 + rng.exponential(120.0, shape), axis=1)
    answers = np.maximum(rng.exponential(output_tokens, shape), 1.0).astype(np.int64)
    said = np.cumsum(answers, axis=1) - answers
    prompts = system_blocks[:, None] * BLOCK_TOKENS + (asked + said).astype(np.int64)
    start = np.sort(rng.random(sessions)) * requests / rate_rps
    pause = rng.exponential(20.0, shape)
    arrival = start[:, None] + np.cumsum(pause, axis=1) - pause[:, :1]
    row = np.arange(sessions * TURNS).reshape(shape)
    after = np.where(row % TURNS > 0, row - 1, -1) if closed else np.full(shape, -1)
    return Trace.of(
        TraceMeta(name="chat", format="generated"),
        arrival_s=arrival.ravel(),
        prompt_tokens=prompts.ravel(),
        output_tokens=answers.ravel(),
        session=np.repeat(np.arange(sessions), TURNS),
        turn=np.tile(np.arange(TURNS), sessions),
        after=after.ravel(),
        think_s=np.where(after >= 0, pause, 0.0).ravel(),
        blocks=_blocks(prompts, system, system_blocks) if prefixes else None,
    )


def _blocks(prompts: Ints, system: Ints, system_blocks: Ints) -> Blocks:
    """Ids of the blocks of every prompt: the system prompt's, then the session's own."""
    counts = np.minimum(prompts // BLOCK_TOKENS, _MOST_BLOCKS).ravel()
    offsets = offsets_of(counts)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    session = np.repeat(np.repeat(np.arange(len(prompts)), TURNS), counts)
    own = _SYSTEMS * _MOST_BLOCKS + session * _MOST_BLOCKS + place
    shared = system[session] * _MOST_BLOCKS + place
    return Blocks(
        offsets, np.where(place < system_blocks[session], shared, own), BLOCK_TOKENS
    )


def coming_and_going(nodes: int, span_s: float, *, seed: int = 1) -> CapacityTrace:
    """Nodes of which about one in eight is away at any time, for a tenth of the span each time."""
    rng = np.random.default_rng([seed, nodes])
    losses = max(nodes * 10 // 8, 1)
    node = rng.integers(0, nodes, losses)
    at = np.sort(rng.random(losses)) * 0.9 * span_s
    return CapacityTrace.of(
        TraceMeta(name="coming and going", format="generated"), "availability", span_s=span_s,
        initial_up=np.ones(nodes, np.bool_), node=np.concatenate([node, node]),
        time_s=np.concatenate([at, at + 0.1 * span_s]),
        up=np.concatenate([np.zeros(losses, np.bool_), np.ones(losses, np.bool_)]),
    )  # fmt: skip
