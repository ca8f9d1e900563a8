"""The engine's part of the simulator's settings: budget, preemption, speculation, fine-tuning."""

from __future__ import annotations

import numpy as np

from sandbox.cluster import ClusterSpec
from sandbox.engine import LoadedPolicy
from sandbox.step_tables import BUDGET_FACTOR

SPREAD_UNIT = 1024  # the kernel counts `length_spread` in these


def fill_engine(row: np.void, cluster: ClusterSpec, policy: LoadedPolicy) -> None:
    """Write them into the SETTINGS row."""
    engine, speculation, finetune = cluster.engine, cluster.speculation, cluster.finetune
    row["most_budget"] = BUDGET_FACTOR * engine.max_num_batched_tokens
    row["reserve"] = engine.scheduler_reserve_full_isl
    row["swap"] = engine.preemption == "swap"
    row["length_spread"] = round(engine.length_spread * SPREAD_UNIT)
    row["depth"], row["max_depth"] = speculation.depth, speculation.max_depth
    row["acceptance"] = speculation.acceptance
    row["has_finetune"] = finetune is not None
    row["finetune"] = finetune.share if finetune is not None else 0.0
    row["has_tune"] = "tune" in policy.hooks
