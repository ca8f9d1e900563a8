"""The control tick: every engine asks the policy's `tune` how its knobs should stand."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.abi import FAILED
from sandbox.kernel.calls import TUNE, ask_engine
from sandbox.kernel.engine import interrupt
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.state import ACTIVE, Sim
from sandbox.kernel.views import fill_instance


@kernel
def _same(a: float, b: float) -> bool:
    return a == b or (np.isnan(a) and np.isnan(b))


@kernel
def _take_answer(s: Sim, i: int) -> bool:
    """Keep what `tune` wrote; True when that is something new."""
    inst, v = s.instances[i], s.router_rows[len(s.router_rows) - 1, 0]
    same = (
        inst.knob_token_budget == v.knob_token_budget
        and inst.knob_speculation == v.knob_speculation
        and _same(inst.knob_offline_share, v.knob_offline_share)
        and _same(inst.knob_finetune_share, v.knob_finetune_share)
    )
    inst.knob_token_budget = v.knob_token_budget
    inst.knob_speculation = v.knob_speculation
    inst.knob_offline_share = v.knob_offline_share
    inst.knob_finetune_share = v.knob_finetune_share
    return not same


@entry
def control_tick(s: Sim, now: int) -> int:
    """Ask for every engine that serves; a faulty answer leaves its knobs as they are."""
    if not s.settings[0].has_tune:
        return 0
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state != ACTIVE:
            continue
        fill_instance(s, i, len(s.router_rows) - 1, 0, now)
        if ask_engine(s, TUNE, i) == FAILED:
            continue
        if _take_answer(s, i):
            inst.retuned = True
            interrupt(s, i, now)
    return 0
