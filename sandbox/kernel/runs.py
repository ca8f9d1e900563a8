"""Arithmetic of a decode run: how long k steps take, how many ended, which KV blocks they took."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.heaps import set_instance_event
from sandbox.kernel.jit import kernel
from sandbox.kernel.state import BLOCK_TOKENS, RUN, Sim


@kernel
def run_length_ps(s: Sim, i: int, steps: int) -> int:
    """Exact duration of `steps` decode-only steps from the present batch."""
    inst = s.instances[i]
    growth = inst.decoding * (steps * (steps - 1) // 2)
    return steps * inst.base + inst.slope * (steps * inst.context + growth)


@kernel
def steps_done(s: Sim, i: int, now: int) -> int:
    """Whole steps of the present run that ended by `now`."""
    inst = s.instances[i]
    if inst.mode != RUN:
        return 0
    if now >= inst.ends:
        return inst.steps
    passed = now - inst.started
    half = 0.5 * inst.slope * inst.decoding
    linear = inst.base + inst.slope * inst.context - half
    if half > 0.0:
        guess = (np.sqrt(linear * linear + 4.0 * half * passed) - linear) / (2.0 * half)
    else:
        guess = passed / linear
    k = min(max(np.int64(guess), 0), inst.steps)
    while k > 0 and run_length_ps(s, i, k) > passed:
        k -= 1
    while k < inst.steps and run_length_ps(s, i, k + 1) <= passed:
        k += 1
    return k


@kernel
def cut_run(s: Sim, i: int, now: int) -> None:
    """End a decode run at its next step boundary."""
    inst = s.instances[i]
    if inst.mode != RUN or inst.ends <= now or inst.stuck:
        return
    k = max(steps_done(s, i, now), 1)
    if inst.started + run_length_ps(s, i, k) <= now:
        k += 1  # the step that began at `now` was formed without what is new
    inst.steps = k
    inst.ends = inst.started + run_length_ps(s, i, k)
    set_instance_event(s, i, inst.ends)


@kernel
def run_blocks(s: Sim, i: int, steps: int) -> int:
    """KV blocks that the first `steps` steps take at their starts."""
    inst = s.instances[i]
    taken = (steps // BLOCK_TOKENS) * inst.decoding
    for k in range(steps % BLOCK_TOKENS):
        taken += inst.bins[(1 - inst.count - k) % BLOCK_TOKENS]
    return taken


@kernel
def steps_with_blocks(s: Sim, i: int, free: int, most: int) -> int:
    """How many steps, up to `most`, the free blocks allow."""
    inst = s.instances[i]
    rounds = min(free // inst.decoding, most // BLOCK_TOKENS)
    k = rounds * BLOCK_TOKENS
    free -= rounds * inst.decoding
    while k < most:
        free -= inst.bins[(1 - inst.count - k) % BLOCK_TOKENS]
        if free < 0:
            break
        k += 1
    return k


@kernel
def blocks_at(s: Sim, i: int, now: int) -> int:
    """KV blocks in use at `now`: every step that has started holds its blocks."""
    inst = s.instances[i]
    if inst.mode != RUN:
        return inst.blocks_used
    started = min(steps_done(s, i, now) + 1, inst.steps)
    return inst.blocks_used + run_blocks(s, i, started) - run_blocks(s, i, 1)
