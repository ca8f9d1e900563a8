"""What the execution techniques of a cluster make of one replica shape's step-time tables.

`sandbox/techniques.py` says how much faster which part of a step becomes, and where. Here the
profile's tables are divided by that, batch by batch. Factors of several techniques multiply.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sandbox.cluster import EngineSpec
from sandbox.profiles import Profile
from sandbox.techniques import Part, Technique, technique

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shortened:
    """The techniques that are active on one shape.

    Attributes:
        active: those whose limits the shape is inside, and what they need is, too.
        engine: how they are set.
        pp: stages of the shape.
    """

    active: tuple[Technique, ...]
    engine: EngineSpec
    pp: int

    def time(self, part: Part) -> float:
        """What the time of a part is multiplied by, at any batch."""
        return float(self._times(part, np.ones(1, np.int64))[0])

    def _times(self, part: Part, batches: Int64s) -> Floats:
        times = np.ones(len(batches))
        for row in self.active:
            gain = row.factor(part, self.engine.technique_gain)
            times[batches <= row.most_batch] /= gain
        return times

    def _shared(self, batches: Int64s) -> Floats:
        """Reads of a batch whose sequences share a part of their context, over all their reads."""
        least = self.time("shared")
        if least == 1.0:
            return np.ones(len(batches))
        share = self.engine.shared_prefix_share
        return np.maximum(1.0 - share + share / np.maximum(batches, 1), least)

    @property
    def stretch(self) -> float:
        """What bubbles make of every time of a pipelined replica; 1 for a single stage."""
        if self.pp == 1:
            return 1.0
        busy = 1.0 - self.engine.pipeline_bubble
        return max(busy, self.time("bubble")) / busy

    def profile(self, given: Profile) -> Profile:
        """The profile with what holds at any batch: prefill attention, host time, memory."""
        if not self.active and self.stretch == 1.0:
            return given
        whole = self.time("prefill") * self.stretch
        grows = whole * self.time("attention")
        a_prefix, a_chunk, a_linear = given.attention
        held = given.kv_capacity_tokens * given.kv_bytes_per_token + given.weight_bytes
        weight_bytes = round(given.weight_bytes * self._memory("weight_bytes"))
        kv_bytes = max(round(given.kv_bytes_per_token * self._memory("kv_bytes")), 1)
        return replace(
            given,
            attention=(round(a_prefix * grows), round(a_chunk * grows), round(a_linear * whole)),
            step_overhead_ps=round(given.step_overhead_ps * self.stretch),
            weight_bytes=weight_bytes,
            kv_bytes_per_token=kv_bytes,
            kv_capacity_tokens=(held - weight_bytes) // kv_bytes,
        )

    def _memory(self, what: str) -> float:
        return float(np.prod([getattr(row, what) for row in self.active]))

    def tokens(self, table: Int64s) -> Int64s:
        """N, the dense part of a step with prompts."""
        return _times(table, self.time("prefill") * self.stretch)

    def batches(
        self, decode: Int64s, context: Int64s, mixed: Int64s, tokens: Int64s, host_ps: int
    ) -> tuple[Int64s, Int64s, Int64s]:
        """D, S and E of every batch; `tokens` is N as it has become, `host_ps` of a sequence."""
        if not self.active and self.stretch == 1.0:
            return decode, context, mixed
        rows = np.arange(len(decode), dtype=np.int64)
        host = np.minimum(host_ps * rows, decode)
        decode = _times(host + (decode - host) * self._times("decode", rows), self.stretch)
        reads = self._times("context", rows) * self._shared(rows)
        context = _times(context * reads, self.stretch)
        least = _times(host, self.stretch)
        mixed = np.where(rows > 0, np.maximum(least, decode - tokens[: len(rows)]), 0)
        return decode, context, mixed

    def verification_reads(self, depth: int) -> float:
        """Contexts that a verification of `depth` drafts reads for each sequence."""
        if all(row.name != "nsa" for row in self.active):
            return 1.0
        return max((depth + 1) * self.time("verify"), 1.0)

    @property
    def least_share(self) -> float:
        """Of a plain decode step, what a token takes at least when it was speculated."""
        bounds = [row.end_to_end for row in self.active if row.end_to_end is not None]
        return 1.0 / min(bounds) if bounds else 0.0


def shortened(profile: Profile, pp: int, engine: EngineSpec) -> Shortened:
    """What is active on a replica of `pp` stages of this profile."""
    inside = [
        row
        for row in map(technique, engine.technique)
        if row.fits(
            profile.gpu, profile.provenance.weights, profile.context_limit_tokens, profile.tp, pp
        )
    ]
    names = {row.name for row in inside}
    return Shortened(tuple(row for row in inside if names.issuperset(row.needs)), engine, pp)


def _times(table: Int64s | Floats, factor: float) -> Int64s:
    if factor == 1.0 and table.dtype == np.int64:
        return table.astype(np.int64, copy=False)
    return np.rint(table * factor).astype(np.int64)
