"""A policy asked beside the one that decides: does it agree, and what would its choice cost?

The default policy is asked so that it is known to work before it is needed, a shadow so that a
person sees what it would do before it does anything. Neither decides.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sandbox import contract
from sandbox.records import dtype_of
from serving_adapter.activation import Ready, Rows, is_valid
from serving_adapter.decision import DecisionInput

AGREE, DIFFER, FAULT = "agree", "differ", "fault"
DEFAULT, SHADOW = "default", "shadow"  # whom a shadow metric is about


class ShadowResult(NamedTuple):
    """What a shadow said to one question.

    Attributes:
        answer: `AGREE`, `DIFFER` or `FAULT`.
        live_s, shadow_s: predicted end-to-end time of the choice that was made, and of the
            shadow's; NaN where the signals do not tell, or a choice is no engine.
    """

    answer: str
    live_s: float = math.nan
    shadow_s: float = math.nan


class ShadowCompare:
    """Asks a policy again what another one was asked; belongs to one thread."""

    def __init__(self, ready: Ready) -> None:
        self.ready = ready

    def result(self, given: DecisionInput) -> ShadowResult:
        """Whether it answers `given` as was answered, otherwise, or not at all."""
        router = self.ready.router
        if router is None:
            return ShadowResult(FAULT)
        request = np.frombuffer(given.request, dtype_of(contract.Request)).copy()
        rows = np.frombuffer(given.instances, dtype_of(contract.Instance)).copy()
        try:
            choice = router.route(request, rows, self.ready.memory, given.rotation, given.fuel)
            valid = is_valid(choice, rows["id"])
        # Nothing hangs on a shadow; that it failed is what is wanted to be known.
        except Exception:
            return ShadowResult(FAULT)
        if not valid:
            return ShadowResult(FAULT)
        made = contract.HOLD if given.choice is None else given.choice
        answer = AGREE if choice == given.choice else DIFFER
        return ShadowResult(
            answer, predicted_s(request, rows, made), predicted_s(request, rows, choice)
        )


def predicted_s(request: Rows, rows: Rows, choice: int) -> float:
    """Prefill of what waits there and of this prompt, then its decode steps at today's batch.

    A yardstick for two choices on the same rows, no forecast: what arrives later is not in it. The
    decode step is `step_base_s + step_per_seq_s * batch + step_per_context_s * context`, as the
    contract has it.
    """
    of = rows[rows["id"] == choice]
    if not len(of):
        return math.nan
    row, asked = of[0], request[0]
    cached = max(0, int(row["cached_prefix_tokens"]))
    waiting = max(0, int(row["queued_prompt_tokens"])) + max(0, int(row["prefill_backlog_tokens"]))
    speed = float(row["prefill_tokens_per_s"])
    prompt = max(0, int(asked["prompt_tokens"]) - cached)
    prefill_s = (waiting + prompt) / speed if speed > 0 else math.nan
    batch = 1 + max(0, int(row["running_requests"]))
    context = max(0, int(row["context_tokens"])) + int(asked["prompt_tokens"])
    step_s = float(
        row["step_base_s"] + row["step_per_seq_s"] * batch + row["step_per_context_s"] * context
    )
    return prefill_s + step_s * float(asked["predicted_output_tokens"])
