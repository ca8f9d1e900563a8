"""How fast an engine is, from how long its steps took: the modelled speeds of the contract.

The model is a constant: a step that only decodes takes as long as such steps took lately, and a
prompt adds the time by which steps with that many prompt tokens took longer.
"""

from __future__ import annotations

import math

RATE = 0.05
MIN_PROMPT_TOKENS = 16  # fewer in a step say little about the speed of prompts


class StepTimes:
    """Running means of what steps took.

    Attributes:
        latest_s: of the latest step; NaN before the first.
        decode_s: of steps that only decode.
        prefill_tokens_per_s: prompt tokens per second on top of such a step.
    """

    def __init__(self) -> None:
        self.latest_s = self.decode_s = self.prefill_tokens_per_s = math.nan

    def add(self, took_s: float, requests: int, tokens: int) -> None:
        """A step for so many requests has processed so many tokens."""
        if requests < 1 or not took_s > 0.0:
            return
        self.latest_s = took_s
        prompt_tokens = tokens - requests
        if prompt_tokens <= 0:
            self.decode_s = _mean(self.decode_s, took_s)
        elif prompt_tokens >= MIN_PROMPT_TOKENS:
            base_s = 0.0 if math.isnan(self.decode_s) else self.decode_s
            extra_s = max(took_s - base_s, took_s / 10)
            rate = prompt_tokens / extra_s
            self.prefill_tokens_per_s = _mean(self.prefill_tokens_per_s, rate)


def _mean(so_far: float, value: float) -> float:
    return value if math.isnan(so_far) else so_far + RATE * (value - so_far)
