"""Knobs of an engine that a policy may turn: what they are set to, and what fine-tuning gets.

A knob that was turned takes effect at the engine's next step boundary. Co-located fine-tuning that
has a share f of the GPU makes every step 1 / (1 - f) as long (time slicing, no interference), and
has the whole GPU while the engine idles; its progress is f * busy + idle GPU time.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.kernel.jit import kernel
from sandbox.kernel.state import BLOCK_TOKENS, IDLE, Sim

STRETCH_BITS = 12  # steps are stretched by integers / 4096
PLAIN = 1 << STRETCH_BITS
MOST_FINETUNE = 0.9
MOST_OFFLINE = 1 << 30


@kernel
def reset_knobs(s: Sim, i: int) -> None:
    """Knobs of a new engine: the cluster's settings."""
    inst, limits = s.instances[i], s.settings[0]
    inst.token_budget = limits.token_budget
    inst.depth = limits.depth
    inst.offline_share = 1.0
    inst.offline_cap = MOST_OFFLINE
    inst.finetune = limits.finetune
    inst.stretch = _stretch(limits.finetune)
    inst.retuned = False
    inst.knob_token_budget = -1
    inst.knob_speculation = -1
    inst.knob_offline_share = np.nan
    inst.knob_finetune_share = np.nan
    inst.tuned_busy = 0


@kernel
def _stretch(share: float) -> int:
    return int(PLAIN / (1.0 - share) + 0.5)


@kernel
def settle_finetune(s: Sim, i: int, now: int, busy: int) -> None:
    """Count what fine-tuning got since the last time; `busy` is the engine's time in steps."""
    inst = s.instances[i]
    if not s.settings[0].has_finetune:
        return
    worked = busy - inst.tuned_busy
    idle = now - inst.tuned_at - worked
    s.totals[0].finetune_ps += inst.gpus * (inst.finetune * worked + idle)
    inst.tuned_at = now
    inst.tuned_busy = busy


@kernel
def busy_at(s: Sim, i: int, now: int) -> int:
    """Time the engine has spent in steps, the present one so far included."""
    inst = s.instances[i]
    return inst.busy + (now - inst.started if inst.mode != IDLE else 0)


@kernel
def apply_knobs(s: Sim, i: int, now: int) -> None:
    """At a step boundary: what the policy asked for last, within what the engine allows."""
    inst, limits = s.instances[i], s.settings[0]
    inst.retuned = False
    if inst.knob_token_budget >= 0:
        inst.token_budget = min(max(inst.knob_token_budget, BLOCK_TOKENS), limits.most_budget)
    if inst.knob_speculation >= 0:
        inst.depth = min(inst.knob_speculation, limits.max_depth)
    if not np.isnan(inst.knob_offline_share):
        inst.offline_share = min(max(inst.knob_offline_share, 0.0), 1.0)
        inst.offline_cap = int(inst.offline_share * inst.max_seqs)
    if limits.has_finetune and not np.isnan(inst.knob_finetune_share):
        settle_finetune(s, i, now, inst.busy)
        inst.finetune = min(max(inst.knob_finetune_share, 0.0), MOST_FINETUNE)
        inst.stretch = _stretch(inst.finetune)
