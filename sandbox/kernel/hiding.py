"""Hides from a policy what the door of a signal profile does not tell.

A record is words of memory: what a policy sees of each is `word & keep | put`, where a field that
is hidden keeps nothing and is put as missing. The masks are made in `sandbox/hidden.py`.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.contract import Instance
from sandbox.kernel.jit import kernel
from sandbox.kernel.state import FINISHED, Sim
from sandbox.records import dtype_of

REQUEST, INSTANCE, ENGINE, WINDOW = range(4)  # ENGINE: the instance that an engine's own hooks see
INSTANCE_WORDS = dtype_of(Instance).itemsize // 8


@kernel
def hide_request(s: Sim) -> None:
    """What the door does not tell of the request that is asked about."""
    for w in range(len(s.request_words)):
        keep, put = s.hidden[2 * REQUEST, w], s.hidden[2 * REQUEST + 1, w]
        s.request_words[w] = (s.request_words[w] & keep) | put


@kernel
def hide_instances(s: Sim, kind: int, table: int, n: int) -> None:
    """The same of the first `n` rows of a table, as instances or as the engine that asks."""
    for j in range(n):
        for w in range(INSTANCE_WORDS):
            keep, put = s.hidden[2 * kind, w], s.hidden[2 * kind + 1, w]
            place = j * INSTANCE_WORDS + w
            s.router_words[table, place] = (s.router_words[table, place] & keep) | put


@kernel
def hide_window(s: Sim) -> None:
    """The same of the window, whose kernel-side counters are elsewhere."""
    for w in range(len(s.window_words)):
        keep, put = s.hidden[2 * WINDOW, w], s.hidden[2 * WINDOW + 1, w]
        s.window_words[w] = (s.window_words[w] & keep) | put


@kernel
def remembered_tokens(s: Sim, r: int, instance_id: int) -> int:
    """Prompt tokens that a door without a view of caches takes to be on an instance.

    That is what the session's previous call left where it was served, whatever became of it.
    """
    q = s.requests[r]
    if q.after < 0 or q.last_instance != instance_id:
        return 0
    before = s.requests[q.after]
    if before.state != FINISHED:
        return 0
    return min(before.told_prompt + before.output, q.told_prompt)
