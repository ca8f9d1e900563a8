"""The random worlds reach what the laws are to be checked on: every feature happens in some."""

from collections import Counter
from pathlib import Path

import numpy as np
import small_worlds as worlds

from sandbox.kernel import state
from sandbox.replay import default_policy

HERE = Path(__file__).parent

TOTALS = (
    "preemptions", "swaps", "transfers", "migrations", "moves_refused", "flips", "failures",
    "recomputed", "reconfigurations", "faults", "finetune_ps", "samples_started",
    "samples_pruned", "cached_tokens", "prewarmed_tokens",
)  # fmt: skip


def happened(sim, small):
    """How often each feature did something in a run."""
    totals, rows, limits = sim.totals[0], sim.requests, sim.settings[0]
    found = {name: int(totals[name]) for name in TOTALS}
    worked = sim.instances[(sim.instances["id"] >= 0) & (sim.instances["busy"] > 0)]
    late = rows["finish"] - rows["entered"] >= limits["class_late"][rows["class_id"]]
    late &= limits["class_drops"][rows["class_id"]].astype(bool) & (rows["first"] < 0)
    joins = np.diff(small.setup.trace.joins.offsets) > 0
    return found | {
        "pipelines": int((worked["pp"] > 1).sum()),
        "speculating engines": int((worked["depth"] > 0).sum()),
        "evict decisions": int((sim.cached["value"] != 0).sum()),
        "orders of GPUs": int(sim.gpus["ticket"].sum() - totals["failures"]),
        "joins": int((joins & (rows["entered"][: len(joins)] >= 0)).sum()),
        "dropped late": int((late & (rows["state"] == state.REJECTED)).sum()),
        "held": int(rows["held"].sum()),
    }


def test_every_feature_happens_in_several_of_the_first_worlds():
    names = ("default", "curious", "prunes", "moves", "deep", "buys")
    policies = {name: worlds.policy(name) for name in names[1:]}
    reached = Counter()
    for seed in range(90):
        small = worlds.world(seed)
        sim = worlds.run(small, policies.get(names[seed % 6]) or default_policy())
        if sim is not None:
            reached.update(name for name, count in happened(sim, small).items() if count > 0)
    print(dict(reached))  # shown with -s
    assert {name for name, count in reached.items() if count > 1} >= {
        *TOTALS, "pipelines", "speculating engines", "evict decisions", "orders of GPUs", "joins",
        "dropped late", "held",
    }  # fmt: skip
