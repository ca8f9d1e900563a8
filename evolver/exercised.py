"""Which hooks a problem exercises: only those are searched, since no evidence covers the others.

The simulator asks for some hooks of the contract, and planner hooks have something to decide only
where GPUs come and go or where total time counts. A hook that no window exercises would go live
unproven, and would drift through the search as dead weight.
"""

from __future__ import annotations

import ast
from collections.abc import Collection

from sandbox.kernel.calls import CALLED, HOOKS

REQUEST_HOOKS = ("route", "priority", "admit")
PLANNER_HOOKS = ("should_reschedule", "schedule")


def exercised_hooks(replans: bool) -> frozenset[str]:
    """Hooks to search; `replans` says whether there is anything to plan anew."""
    wanted = REQUEST_HOOKS + PLANNER_HOOKS if replans else REQUEST_HOOKS
    return frozenset(wanted) & frozenset(CALLED)


def keep_hooks(text: str, hooks: Collection[str]) -> str | None:
    """A library policy with these hooks only, comments kept; None when it has none of them."""
    lines = text.splitlines()
    kept = False
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef) or node.name not in HOOKS:
            continue
        if node.name in hooks:
            kept = True
            continue
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    return "\n".join(lines) + "\n" if kept else None
