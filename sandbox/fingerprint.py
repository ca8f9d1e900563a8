"""What a policy decided on a window, as one short word: equal words, equal outcomes to the bit.

It is taken from the audited outcome, so neither the text of a policy nor its constants are in it,
and two texts that decide alike have the same one. What deciding costs (fuel) counts only where it
moved something: a slower thought that delays a request by a picosecond is another outcome.
"""

from __future__ import annotations

import hashlib

import numpy as np

from sandbox.simulation import Outcome

BYTES = 16  # two different outcomes in 2**64 share a word
_ROWS = ("entered", "first", "finish", "behind", "state", "preempted", "held", "moved", "engine")
_PLANNED = (  # what was decided beside the requests: plans, GPUs, moves, caches, fine-tuning
    "integrated", "gpu_ps", "loading_ps", "blocked_ps", "price_usd", "plans", "reconfigurations",
    "faults", "swaps", "migrations", "transfers", "transfer_ps", "kv_moved", "cached_tokens",
    "recomputed", "flips", "failures", "finetune_ps",
)  # fmt: skip


def fingerprint(outcome: Outcome) -> str:
    """A digest of every request's fate and of what was planned; the same on every machine."""
    total = hashlib.blake2b(digest_size=BYTES)
    for name in _ROWS:
        column = getattr(outcome, name)
        total.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
    planned = [float(outcome.totals[name]) for name in _PLANNED]
    samples = [outcome.samples[name] for name in sorted(outcome.samples)]
    total.update(np.array([*planned, *samples], "<f8").tobytes())
    return total.hexdigest()
