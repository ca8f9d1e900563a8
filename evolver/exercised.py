"""Which hooks a problem exercises: only those are searched, since no evidence covers the others.

A hook of the contract is asked for, but often has nothing to decide: planners where no GPU comes or
goes, eviction where no prompt shares a prefix. One that no window exercises would go live unproven,
and would drift through the search as dead weight.
"""

from __future__ import annotations

import ast
from collections.abc import Collection

from sandbox.cluster import ClusterSpec
from sandbox.kernel.calls import HOOKS
from sandbox.language.trees import tree_of
from sandbox.simulation import shares_prefixes
from telemetry.trace import Trace

REQUEST_HOOKS = frozenset({"route", "priority", "admit"})
PLANNER_HOOKS = frozenset({"should_reschedule", "schedule"})


def exercised_hooks(trace: Trace, cluster: ClusterSpec, replans: bool) -> frozenset[str]:
    """Hooks to search; `replans` says whether there is anything to plan anew.

    `tune` counts where engines speculate or fine-tune. The token budget alone is no reason: the
    engine's own setting is there for it, and a knob to try takes evaluations from the rest.
    `migrate` counts where the cluster file says how KV travels: few fleets can move what runs.
    """
    engines = sum(pool.most for pool in cluster.pool)
    asked = {
        "route_decode": any(entry.role == "prefill" for entry in cluster.replica),
        "migrate": engines > 1 and "network" in cluster.model_fields_set,
        "evict": shares_prefixes(trace, cluster),
        "tune": cluster.speculation.max_depth > 0 or cluster.finetune is not None,
        "branches": cluster.samples is not None and cluster.samples.count > 1,
    }
    wanted = REQUEST_HOOKS | {hook for hook, has_work in asked.items() if has_work}
    return wanted | PLANNER_HOOKS if replans else wanted


def keep_hooks(text: str, hooks: Collection[str]) -> str | None:
    """A library policy with these hooks only, comments kept; None when it has none of them."""
    lines = text.splitlines()
    kept = False
    for node in tree_of(text).body:
        if not isinstance(node, ast.FunctionDef) or node.name not in HOOKS:
            continue
        if node.name in hooks:
            kept = True
            continue
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    return "\n".join(lines) + "\n" if kept else None
