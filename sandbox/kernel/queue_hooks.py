"""Asking the policy about requests in an engine's queue: their place, and who may run.

Both hooks see the engine with what it holds of the request's prompt, as routers do.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

import numpy as np

from sandbox.abi import FAILED
from sandbox.kernel.calls import ADMIT, PRIORITY, ask_engine
from sandbox.kernel.hiding import ENGINE, hide_instances
from sandbox.kernel.jit import kernel
from sandbox.kernel.prefix import matching_at, matching_tokens
from sandbox.kernel.state import Sim
from sandbox.kernel.views import fill_instance, fill_request, show_own


@kernel
def _matches(s: Sim, r: int) -> bool:
    return s.settings[0].has_prefixes and not s.requests[r].remote


@kernel
def _show_engine(s: Sim, i: int, r: int, cached: int, now: int) -> None:
    table = len(s.router_rows) - 1
    fill_request(s, r, now)
    fill_instance(s, i, table, 0, now)
    show_own(s, i, table, 0, r)
    s.router_rows[table, 0].cached_prefix_tokens = cached
    if s.settings[0].hides:
        hide_instances(s, ENGINE, table, 1)


@kernel
def ask_priority(s: Sim, i: int, r: int, now: int) -> float:
    """Queue place of a request on an instance, lower first; the default is arrival order."""
    if not s.settings[0].has_priority:
        return 0.0
    cached = matching_at(s, i, r, now) if _matches(s, r) else 0
    _show_engine(s, i, r, cached, now)
    answer = ask_engine(s, PRIORITY, i)
    s.requests[r].keyed += 1
    if answer == FAILED or np.isnan(s.frame[0].value):
        return 0.0
    return s.frame[0].value


@kernel
def ask_admit(s: Sim, i: int, r: int) -> bool:
    """May the head of the queue run now? A faulty answer is yes.

    While a step is formed nothing is evicted: what it would find is what it is shown.
    """
    cached = matching_tokens(s, i, r) if _matches(s, r) else 0
    _show_engine(s, i, r, cached, s.totals[0].now)
    if ask_engine(s, ADMIT, i) == FAILED:
        return True
    return s.frame[0].value != 0.0
