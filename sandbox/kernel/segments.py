"""Segments of prompts, and bits that say which instances hold them.

`segments` has a row per segment (see `sandbox.prefixes`): depth << 32 | blocks, where its rows of
`cached` begin, then for every 64 instances three words of bits: held entirely, held in part, in
use. So a router finds the best match among many instances without looking into their tables.
"""

# mypy: no-warn-return-any
# numba checks what becomes of an element of an array
from __future__ import annotations

from sandbox.kernel.jit import kernel
from sandbox.kernel.state import BLOCK_TOKENS, Sim

WHOLE, PART, USED = 2, 3, 4  # columns of `segments` for instances 0 to 63; then three more each


@kernel
def block_width(s: Sim) -> int:
    """KV blocks in one block of the trace."""
    return s.settings[0].block_tokens // BLOCK_TOKENS


@kernel
def segment_blocks(s: Sim, g: int) -> int:
    """Blocks of a segment."""
    return s.segments[g, 0] & 0xFFFFFFFF


@kernel
def segment_depth(s: Sim, g: int) -> int:
    """Blocks before a segment."""
    return s.segments[g, 0] >> 32


@kernel
def holds(s: Sim, g: int, i: int, what: int) -> bool:
    """Does instance `i` hold the segment, as WHOLE, PART or USED says?"""
    return (s.segments[g, 3 * (i >> 6) + what] >> (i & 63)) & 1 == 1


@kernel
def set_bit(s: Sim, g: int, i: int, what: int, value: bool) -> None:
    """Set or clear one bit of instance `i`."""
    bit, word = 1 << (i & 63), 3 * (i >> 6) + what
    s.segments[g, word] &= ~bit
    if value:
        s.segments[g, word] |= bit


@kernel
def mark(s: Sim, g: int, i: int, present: int) -> None:
    """Note how much of a segment an instance holds."""
    whole = present == segment_blocks(s, g)
    set_bit(s, g, i, WHOLE, whole)
    set_bit(s, g, i, PART, present > 0 and not whole)
