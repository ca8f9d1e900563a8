"""From a profile to one replica shape's step-time tables: pipeline stages and speculation in them.

A *plain* decode step of B sequences over `pp` stages: the B sequences are m = min(B, pp) balanced
micro-batches of b = ceil(B / m); in steady state every stage has one, each token passes all stages
once, and the step takes as long as one micro-batch takes through the whole model:

    D[b] + pp * hop + (S[b] // m) * context

A decode step that *speculates* to depth k verifies b * (k + 1) tokens after k draft steps, each
`draft_share` of a plain step, and emits tau = (1 - a ** (k + 1)) / (1 - a) tokens per sequence on
average when each drafted token is accepted with probability a (Leviathan, Kalman and Matias,
2023). The kernel steps token by token, so the tables hold the time per token:

    (overhead + N[b (k + 1)] + E[b] + k draft_share D[b] + pp * hop) / tau
    + S[b] / m (1 + k draft_share) / tau * context

where sparse attention reads other blocks for each drafted token, k + 1 stands for that 1.

Experts that are offloaded to host memory add F, what a step brings in. Drafts foresee a share h of
what k drafts need, F_k, and it comes meanwhile: `max(verification and drafts, h F_k) + (1 - h) F_k`

D, S, N and E are the profile's tables, shortened by the cluster's execution techniques; division is
floored once, so that steps stay exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.cluster import ClusterSpec
from sandbox.kernel.state import PS_PER_S
from sandbox.profiles import Profile
from sandbox.shortened_steps import Shortened, shortened

Int64s = NDArray[np.int64]
BUDGET_FACTOR = 2
"""`tune` may raise the token budget of a step to this many times the configured one."""


@dataclass(frozen=True, slots=True)
class StepTables:
    """Picoseconds of one shape's steps.

    Attributes:
        tokens: N, shape (most tokens of a step + 1,).
        batch, context, mixed: plain decode steps, shape (max_num_seqs + 1,) each.
        spec_batch, spec_context: per token, shape (most depth, max_num_seqs + 1).
    """

    tokens: Int64s
    batch: Int64s
    context: Int64s
    mixed: Int64s
    spec_batch: Int64s
    spec_context: Int64s


def tokens_per_step(depth: int, acceptance: float) -> float:
    """tau: tokens a sequence gains per verification, the bonus token included."""
    return float(sum(acceptance**k for k in range(depth + 1)))


def fetching_ps(cluster: ClusterSpec, depth: int) -> int:
    """What a step of `depth` drafts brings in from host memory; 0 where nothing lies there."""
    return round(cluster.offload.fetching_s(depth) * PS_PER_S) if cluster.offload else 0


def step_tables(profile: Profile, pp: int, cluster: ClusterSpec) -> StepTables:
    """The tables of a replica of `pp` stages, each with the profile's TP."""
    engine, speculation = cluster.engine, cluster.speculation
    most = BUDGET_FACTOR * engine.max_num_batched_tokens + engine.max_num_seqs + 1
    deep = engine.max_num_seqs * (speculation.max_depth + 1)
    shorter = shortened(profile, pp, engine)
    dense = profile.dense_token_table(max(most, deep))
    tokens = shorter.tokens(dense)
    decode, reading, extra = shorter.batches(
        *profile.dense_batch_tables(engine.max_num_seqs), tokens, profile.sequence_overhead_ps
    )
    batches = np.arange(engine.max_num_seqs + 1)
    parts = np.maximum(np.minimum(batches, pp), 1)
    each = -(-batches // parts)
    hops = round(engine.pipeline_hop_s * PS_PER_S) * pp if pp > 1 else 0
    hops = round(hops * shorter.stretch) + fetching_ps(cluster, 0)
    rows = [_speculating(profile, cluster, k, shorter, dense, decode[each] + 0,
                         reading[each] / parts, extra[each] + hops - fetching_ps(cluster, 0), each)
            for k in range(1, speculation.max_depth + 1)]  # fmt: skip
    blank = np.zeros((0, len(batches)), np.int64)
    batch = decode[each] + hops
    batch[0] = 0
    return StepTables(
        tokens[: most + 1], batch, reading[each] // parts, extra[each] + hops,
        np.array([row[0] for row in rows]) if rows else blank,
        np.array([row[1] for row in rows]) if rows else blank,
    )  # fmt: skip


def _speculating(
    profile: Profile,
    cluster: ClusterSpec,
    depth: int,
    shorter: Shortened,
    dense: Int64s,
    decode: Int64s,
    reading: NDArray[np.float64],
    extra: Int64s,
    each: Int64s,
) -> tuple[Int64s, Int64s]:
    """Time per token at one depth: without context, and per token of context."""
    tau = tokens_per_step(depth, cluster.speculation.acceptance)
    drafts = depth * cluster.speculation.draft_share
    verify = profile.step_overhead_ps + dense[each * (depth + 1)] * shorter.stretch + extra
    took = verify + drafts * decode
    if cluster.offload is not None:
        fetched, hit = fetching_ps(cluster, depth), cluster.offload.hit
        took = np.maximum(took, hit * fetched) + (1.0 - hit) * fetched
    base = np.floor(took / tau).astype(np.int64)
    reads = shorter.verification_reads(depth) + drafts
    slope = np.floor(reading * reads / tau).astype(np.int64)
    least = shorter.least_share
    if least > 0.0:
        base = np.maximum(base, np.floor(least * (profile.step_overhead_ps + decode)).astype(int))
        slope = np.maximum(slope, np.floor(least * reading).astype(np.int64))
    base[0] = slope[0] = 0
    return base, slope
