"""Chance in a simulation: one stream of draws a purpose, and what doors make of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEEDS, LENGTHS, HORIZONS = range(3)
PROMPTS = 13  # beside those of samples.py


def stream(seed: int, what: int) -> np.random.Generator:
    """One generator a purpose, so that a request's draws do not hang on how many follow it."""
    return np.random.default_rng([seed, 0x5EED, what])


def estimated_prompts(tokens: NDArray[np.int32], error: float, seed: int) -> NDArray[np.int64]:
    """Prompt tokens as a door that counts characters has them; one draw a request.

    Args:
        tokens: the true ones.
        error: relative standard error of the estimates, 0 for none.
    """
    if not error:
        return tokens.astype(np.int64)
    sigma = float(np.sqrt(np.log1p(error * error)))
    drawn = stream(seed, PROMPTS).standard_normal(len(tokens))
    guessed = np.rint(tokens * np.exp(sigma * drawn - 0.5 * sigma * sigma))
    return np.clip(guessed, 1, 2**30).astype(np.int64)
