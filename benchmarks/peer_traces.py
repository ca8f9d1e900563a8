"""A trace and a step-time profile in the formats that other simulators read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sandbox.profiles import Profile
from telemetry.blocks import Blocks
from telemetry.trace import Trace

BLOCK_TOKENS = 512  # of a hash id in Mooncake's format
PS_PER_MS = 1e9
VIDUR_DATE = "2023-08-21"
Floats = NDArray[np.float64]


def first_that_fit(trace: Trace, requests: int, longest_tokens: int) -> Trace:
    """The first `requests` open arrivals that no simulator refuses, from time 0 on.

    Sessions become open arrivals at their recorded times, as Mooncake's format has no parents.
    """
    fits = trace.prompt_tokens.astype(np.int64) + trace.output_tokens <= longest_tokens
    rows = np.flatnonzero(fits)[:requests]
    blocks = trace.blocks.take(rows) if trace.block_tokens else Blocks.none(len(rows))
    return Trace.of(
        trace.meta,
        arrival_s=trace.arrival_s[rows] - trace.arrival_s[rows[0]],
        prompt_tokens=trace.prompt_tokens[rows],
        output_tokens=trace.output_tokens[rows],
        blocks=blocks,
    )


def mooncake_rows(trace: Trace) -> list[dict[str, object]]:
    """One object a request: milliseconds, lengths, and ids of its 512-token blocks.

    Ids of the trace are kept when they count 512 tokens. Otherwise, and for what a recorded list
    leaves uncovered, every block gets an id that no other request has: nothing is shared.
    """
    keep = trace.block_tokens == BLOCK_TOKENS
    fresh = int(trace.block_ids.max(initial=-1)) + 1 if keep else 0
    rows: list[dict[str, object]] = []
    for k in range(len(trace)):
        needed = -(-int(trace.prompt_tokens[k]) // BLOCK_TOKENS)
        first, stop = int(trace.block_offsets[k]), int(trace.block_offsets[k + 1])
        ids = [int(i) for i in trace.block_ids[first:stop][:needed]] if keep else []
        more = needed - len(ids)
        ids.extend(range(fresh, fresh + more))
        fresh += more
        rows.append(
            {
                "timestamp": round(float(trace.arrival_s[k]) * 1000.0, 3),
                "input_length": int(trace.prompt_tokens[k]),
                "output_length": int(trace.output_tokens[k]),
                "hash_ids": ids,
            }
        )
    return rows


def write_mooncake(trace: Trace, path: Path) -> None:
    """JSON lines that Dynamo's replay, AISimulate and our own reader take."""
    with path.open("w", encoding="ascii") as out:
        for row in mooncake_rows(trace):
            out.write(json.dumps(row, separators=(",", ":")) + "\n")


def write_vidur(trace: Trace, path: Path) -> None:
    """The columns that Vidur's trace replay asks for, all on one date."""
    with path.open("w", encoding="ascii") as out:
        out.write("Date,Time,PromptTokenCount,CompletionTokenCount\n")
        for at, prompt, output in zip(
            trace.arrival_s, trace.prompt_tokens, trace.output_tokens, strict=True
        ):
            out.write(f"{VIDUR_DATE},{at:.6f},{prompt},{output}\n")


def step_tables(profile: Profile, budget: int, most_context: int) -> dict[str, Floats]:
    """A profile as Dynamo's two tables, in milliseconds.

    Its prefill time depends on the new tokens of a step alone, its decode time on all context
    tokens and the mean context, and a mixed step takes the sum of both. So what a prefix costs a
    chunk is left out, and a mixed step pays the step's overhead twice.
    """
    new = np.unique(np.concatenate([[1.0], np.linspace(16, budget, 128).round()]))
    total = np.unique(np.geomspace(1.0, most_context, 160).round())
    mean = np.unique(np.geomspace(1.0, most_context, 160).round())
    batch_grid = profile.batch_grid.astype(np.float64)
    batch = np.maximum(total[:, None] / mean[None, :], 1.0)
    base = np.interp(batch, batch_grid, profile.decode_ps)
    slope = np.interp(batch, batch_grid, profile.context_ps)
    decode = profile.step_overhead_ps + base + slope * total[:, None]
    prefill = [profile.step_ps([(int(tokens), 0)], 0, 0) for tokens in new]
    return {
        "prefill_isl": new,
        "prefill_ttft_ms": np.array(prefill) / PS_PER_MS,
        "decode_active_kv_tokens": total,
        "decode_context_length": mean,
        "decode_itl": decode / PS_PER_MS,
    }


def affine_tables(new_ps: int, decode_ps: int, context_ps: int) -> dict[str, Floats]:
    """Tables of `new_ps * new tokens + decode_ps + context_ps * context`, exact in two points."""
    far = 1e7
    low = decode_ps / PS_PER_MS
    high = low + context_ps * far / PS_PER_MS
    return {
        "prefill_isl": np.array([0.0, far]),
        "prefill_ttft_ms": np.array([0.0, new_ps * far / PS_PER_MS]),
        "decode_active_kv_tokens": np.array([0.0, far]),
        "decode_context_length": np.array([1.0, far]),
        "decode_itl": np.array([[low, low], [high, high]]),
    }


def write_tables(tables: dict[str, Floats], path: Path) -> None:
    """The `.npz` that Dynamo reads; its reader wants the arrays uncompressed."""
    np.savez(path, allow_pickle=False, **tables)
