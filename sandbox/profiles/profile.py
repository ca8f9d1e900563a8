"""A step-time profile: integer tables that say how long one engine step takes.

All times are int64 picoseconds. With B decoding sequences, C their context tokens in sum, and
prefill chunks of c new tokens after p tokens that are already in the KV cache:

    decode-only step   step_overhead + D[B] + S[B] * C
    mixed step         step_overhead + N[B + sum c] + sum A(c, p) + E[B] + S[B] * C
    A(c, p)            (a_prefix * c * p + a_chunk * c * c + a_linear * c) >> 10
    E[B]               max(0, D[B] - N[B]): what decode attention costs before its first token

N, D and S are piecewise linear on the grids, floored to integers. C counts the cached tokens that
the step reads, before it appends one token per sequence; so k steps of one batch read
C, C + B, C + 2B, ... and their sum has a closed form, which is exact because nothing is rounded
after the tables are. E makes the two forms meet: as N never falls, adding prefill work to a step
never makes it shorter.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sandbox.profiles.errors import ProfileDataError

Int64s = NDArray[np.int64]

ATTENTION_SHIFT = 10
"""Prefill attention coefficients count 2**-10 picoseconds."""

HOST_TERMS = ("step_overhead_ps", "sequence_overhead_ps", "request_overhead_ps")
"""Terms of the host and the engine rather than of a model's kernels."""

TERMS = (*HOST_TERMS, "all_reduce_scale", "compute_scale", "decode_scale", "context_scale")
"""What `Profile.calibrated` can set; docs/fidelity.md says what each stands for."""

DIFFERENTIAL_ERROR = 0.025
"""Until a profile says otherwise; `python benchmarks/fidelity.py` prints what was measured."""

MAX_BATCH = 1024
MAX_STEP_TOKENS = 16_384
MAX_PREFIX_TOKENS = 1_000_000
"""The documented domain: batch, chunk and prefix up to here, no sequence above the model's
context limit. Inside it no intermediate value of any formula here leaves int64."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a profile's numbers come from.

    Attributes:
        package: distribution and version whose measured kernel tables were tabulated.
        licence: licence of those tables.
        backend: inference engine whose kernels were measured, with its version.
        weights: number format of the linear layers.
        kv_cache: number format of the KV cache.
        measured_share: share of the time, 0 to 1, that rests on measured kernels; the rest is
            the package's own roofline estimate for small operators.
        notes: what a reader of the results must know.
    """

    package: str
    licence: str
    backend: str
    weights: str
    kv_cache: str
    measured_share: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """Step times and memory of one replica: a GPU type, a model, a tensor-parallel degree.

    Attributes:
        token_grid: token counts of a step, ascending, shape (T,).
        prefill_ps: N on `token_grid`, never falling.
        batch_grid: decoding sequences of a step, ascending, shape (G,).
        decode_ps: D on `batch_grid`, never falling.
        context_ps: S on `batch_grid`, picoseconds per context token.
        attention: (a_prefix, a_chunk, a_linear), each in 2**-10 ps.
        all_reduce_tokens_ps: share of `prefill_ps` that is all-reduce, for calibration.
        all_reduce_batch_ps: share of `decode_ps` that is all-reduce, for calibration.
        kv_bytes_per_token: KV bytes of one token over all `tp` GPUs, replicas of heads included.
        weight_bytes: model weights over all `tp` GPUs, replicated parts counted once per GPU.
        kv_capacity_tokens: KV tokens that fit beside weights and activations.
        context_limit_tokens: the model's own limit on prompt plus output.
        step_overhead_ps: host time of one step that no kernel covers.
        sequence_overhead_ps: host time of one step for each of its decoding sequences, already
            part of D and E: sampling, detokenisation and input preparation that nothing hides.
        request_overhead_ps: host time of one request before its first token.
        all_reduce_scale: factor already applied to the all-reduce share of N and D.
        compute_scale: factor already applied to what prompt tokens cost, N beyond one token and A.
        decode_scale: factor already applied to D.
        context_scale: factor already applied to S.
        differential_error: usual error of a ratio of two times of one replica, which is what
            comparing policies rests on; 0.02 is 2 %.
        raw: the profile before any factor was applied; None when none was.
    """

    gpu: str
    model: str
    tp: int
    token_grid: Int64s
    prefill_ps: Int64s
    batch_grid: Int64s
    decode_ps: Int64s
    context_ps: Int64s
    attention: tuple[int, int, int]
    all_reduce_tokens_ps: Int64s
    all_reduce_batch_ps: Int64s
    kv_bytes_per_token: int
    weight_bytes: int
    kv_capacity_tokens: int
    context_limit_tokens: int
    step_overhead_ps: int
    request_overhead_ps: int
    all_reduce_scale: float
    provenance: Provenance
    sequence_overhead_ps: int = 0
    compute_scale: float = 1.0
    decode_scale: float = 1.0
    context_scale: float = 1.0
    differential_error: float = DIFFERENTIAL_ERROR
    raw: Profile | None = None

    def __post_init__(self) -> None:
        for grid, columns in (
            (self.token_grid, (self.prefill_ps, self.all_reduce_tokens_ps)),
            (self.batch_grid, (self.decode_ps, self.context_ps, self.all_reduce_batch_ps)),
        ):
            if len(grid) < 2 or grid[0] < 1 or bool((np.diff(grid) <= 0).any()):
                raise ProfileDataError(f"{self.key}: a grid does not ascend; rebuild the tables.")
            if any(column.shape != grid.shape or bool((column < 0).any()) for column in columns):
                raise ProfileDataError(f"{self.key}: a table misfits its grid; rebuild the tables.")
        for table in (self.prefill_ps, self.decode_ps):
            if bool((np.diff(table) < 0).any()):
                raise ProfileDataError(f"{self.key}: a step time falls; rebuild the tables.")

    @property
    def key(self) -> str:
        """The three names that `load_profile` takes, for messages."""
        return f"{self.gpu} x {self.model} x TP{self.tp}"

    @property
    def tables_digest(self) -> str:
        """Sixteen hex digits of the tables before any term was applied."""
        raw = self.raw or self
        whole = hashlib.sha256(repr((raw.key, raw.attention)).encode())
        for table in (
            raw.token_grid, raw.prefill_ps, raw.batch_grid, raw.decode_ps, raw.context_ps,
            raw.all_reduce_tokens_ps, raw.all_reduce_batch_ps,
        ):  # fmt: skip
            whole.update(table.tobytes())
        return whole.hexdigest()[:16]

    @property
    def max_sequence_tokens(self) -> int:
        """Longest sequence one replica can hold: the model's limit or the whole KV cache."""
        return min(self.context_limit_tokens, self.kv_capacity_tokens)

    def attention_ps(self, chunk_tokens: int, prefix_tokens: int) -> int:
        """A(chunk, prefix): attention of one prefill chunk over itself and its cached prefix."""
        a_prefix, a_chunk, a_linear = self.attention
        work = a_prefix * prefix_tokens + a_chunk * chunk_tokens + a_linear
        return (work * chunk_tokens) >> ATTENTION_SHIFT

    def mixed_base_ps(self, batch: int) -> int:
        """E[B]: what `batch` decoding sequences add to a step that also prefills."""
        if batch < 1:
            return 0
        decode = interpolate_ps(self.batch_grid, self.decode_ps, batch)
        host = self.sequence_overhead_ps * batch
        return max(host, decode - interpolate_ps(self.token_grid, self.prefill_ps, batch))

    def step_ps(self, chunks: Iterable[tuple[int, int]], batch: int, context_tokens: int) -> int:
        """Time of one step; the reference that the compiled kernel must equal.

        Args:
            chunks: (new tokens, tokens already cached) of every prefill chunk in the step.
            batch: decoding sequences in the step.
            context_tokens: cached tokens of those sequences in sum; 0 when `batch` is 0.
        """
        work = [(chunk, prefix) for chunk, prefix in chunks if chunk > 0]
        if batch < 1 and not work:
            return 0
        reading = 0
        if batch > 0:
            reading = interpolate_ps(self.batch_grid, self.context_ps, batch) * context_tokens
        if not work:
            base = interpolate_ps(self.batch_grid, self.decode_ps, batch)
            return self.step_overhead_ps + base + reading
        tokens = batch + sum(chunk for chunk, _ in work)
        dense = interpolate_ps(self.token_grid, self.prefill_ps, tokens) + self.mixed_base_ps(batch)
        attention = sum(self.attention_ps(chunk, prefix) for chunk, prefix in work)
        return self.step_overhead_ps + dense + attention + reading

    def step_time_ps(
        self, n_prefill_tokens: int, prefix: int, batch: int, context_tokens: int
    ) -> int:
        """`step_ps` with at most one prefill chunk; 0 prefill tokens is a decode-only step."""
        return self.step_ps([(n_prefill_tokens, prefix)], batch, context_tokens)

    def decode_run_ps(self, batch: int, context_tokens: int, steps: int) -> int:
        """Exact sum of `steps` decode-only steps whose context grows by `batch` each time."""
        if batch < 1 or steps < 1:
            return 0
        base = self.step_overhead_ps + interpolate_ps(self.batch_grid, self.decode_ps, batch)
        slope = interpolate_ps(self.batch_grid, self.context_ps, batch)
        growth = batch * (steps * (steps - 1) // 2)
        return steps * base + slope * (steps * context_tokens + growth)

    def dense_batch_tables(self, max_batch: int = MAX_BATCH) -> tuple[Int64s, Int64s, Int64s]:
        """(D, S, E) for every batch 0 .. `max_batch`, each shape (max_batch + 1,); row 0 is 0."""
        batches = range(1, max_batch + 1)
        rows = [
            (
                interpolate_ps(self.batch_grid, self.decode_ps, b),
                interpolate_ps(self.batch_grid, self.context_ps, b),
                self.mixed_base_ps(b),
            )
            for b in batches
        ]
        columns = np.array([(0, 0, 0), *rows], dtype=np.int64).T
        decode, context, mixed = np.ascontiguousarray(columns)
        return decode, context, mixed

    def dense_token_table(self, max_tokens: int = MAX_STEP_TOKENS) -> Int64s:
        """N for every step size 0 .. `max_tokens`, shape (max_tokens + 1,); entry 0 is 0."""
        grid, table = self.token_grid, self.prefill_ps
        tokens = np.arange(max_tokens + 1, dtype=np.int64)
        left = np.clip(np.searchsorted(grid, tokens, side="right") - 1, 0, len(grid) - 2)
        rise, run = np.diff(table)[left], np.diff(grid)[left]
        dense: Int64s = table[left] + rise * np.maximum(tokens - grid[left], 0) // run
        dense[0] = 0
        return dense

    def calibrated(self, **terms: float) -> Profile:
        """The same profile with other terms; those that are not named stay as they are.

        Args:
            terms: of `TERMS`. Factors apply to the tables as they were built, not on top of
                factors applied before.

        Raises:
            ProfileDataError: an unknown term, or one that is negative or not finite.
        """
        raw = self.raw or self
        now = {name: terms.get(name, getattr(self, name)) for name in TERMS}
        if not terms.keys() <= now.keys():
            raise ProfileDataError(f"{self.key}: a calibrated term is one of {', '.join(TERMS)}.")
        if not all(0.0 <= value < float("inf") for value in now.values()):
            raise ProfileDataError(f"{self.key}: calibrated terms must be finite, zero or more.")
        whole = {name: int(now[name]) for name in TERMS if name.endswith("_ps")}
        extra = now["all_reduce_scale"] - raw.all_reduce_scale
        prefill = raw.prefill_ps + raw.all_reduce_tokens_ps * extra
        prefill = prefill[0] + now["compute_scale"] * (prefill - prefill[0])
        decode = (raw.decode_ps + raw.all_reduce_batch_ps * extra) * now["decode_scale"]
        decode = decode + whole["sequence_overhead_ps"] * raw.batch_grid
        a_prefix, a_chunk, a_linear = (round(a * now["compute_scale"]) for a in raw.attention)
        return replace(
            raw,
            **(now | whole),
            prefill_ps=_rising(prefill),
            decode_ps=_rising(decode),
            context_ps=_scaled(raw.context_ps, now["context_scale"]),
            attention=(a_prefix, a_chunk, a_linear),
            raw=raw,
        )


def interpolate_ps(grid: Int64s, table: Int64s, x: int) -> int:
    """Piecewise linear value at `x`, floored; flat before the grid, last slope beyond it."""
    left = min(max(bisect_right(grid, x) - 1, 0), len(grid) - 2)
    x0, x1 = int(grid[left]), int(grid[left + 1])
    y0, y1 = int(table[left]), int(table[left + 1])
    return y0 + (y1 - y0) * max(x - x0, 0) // (x1 - x0)


def _scaled(table: Int64s, factor: float) -> Int64s:
    if factor == 1.0:
        return table
    return _fixed(np.rint(table * factor).astype(np.int64))


def _rising(table: NDArray[np.float64]) -> Int64s:
    return _fixed(np.maximum.accumulate(np.rint(np.maximum(table, 0.0)).astype(np.int64)))


def _fixed(table: Int64s) -> Int64s:
    table.setflags(write=False)
    return table
