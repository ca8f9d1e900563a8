"""How far each reader falls behind: exact token deadlines from the ends of decode runs alone.

A reader takes the first token when it is due and then one every `pace`, the class's TPOT target; a
late token resets that clock (arXiv 2410.14257). What all late tokens of a request cost together is
`max(0, max over j of (t_j - pace * j) - first due)`, where t_j is when token j = 0, 1, ... left. So
a request needs one running maximum, `behind`, and no list of times.

Within a run of decode steps each step is at least as long as the one before, so t_j - pace * j is
convex in j and its maximum lies at an end of the run. On an engine whose step `count` ended at T, a
request that entered the batch at count e with d tokens out has the latest token d + count - e - 1,
so that it is T - pace * count less pace * (d - e - 1): only the former hangs on the engine, and
only the pace on the class. `leads` keeps, by engine and class, those ends that may still be
somebody's maximum, the largest first; a request looks its own up when it leaves the batch.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.jit import kernel
from sandbox.kernel.runs import run_length_ps
from sandbox.kernel.state import Sim

SLOWEST_PACE_S = 4.0  # slower readers are not followed, so that differences stay within int64


@kernel
def see_token(s: Sim, r: int, now: int) -> None:
    """The token that makes `done` of a request left at `now`, outside the decoding batch."""
    q = s.requests[r]
    pace = s.settings[0].pace[q.class_id]
    if pace > 0:
        q.behind = max(q.behind, now - pace * (q.done - 1))


@kernel
def start_reading(s: Sim, i: int, r: int) -> None:
    """A request joins the decoding batch of an engine."""
    inst, reader = s.instances[i], s.readers[i, s.requests[r].class_id]
    if reader.requests == 0:
        reader.leads = 0
    reader.requests += 1
    reader.entered = inst.count
    inst.joined = True


@kernel
def stop_reading(s: Sim, i: int, r: int) -> None:
    """A request leaves it, with `done` still as it was when it came."""
    q = s.requests[r]
    pace, reader = s.settings[0].pace[q.class_id], s.readers[i, q.class_id]
    reader.requests -= 1
    if pace == 0:
        return
    row = i * len(s.class_stats) + q.class_id
    k = _first_after(s, row, reader.leads, q.enter_count)
    if k < reader.leads:
        q.behind = max(q.behind, s.leads[row, k].lead - pace * (q.done - q.enter_count - 1))


@kernel
def see_run(s: Sim, i: int, steps: int, at: int) -> None:
    """The first `steps` decode steps of the present run are over at `at`; before they are counted.

    Its beginning is the end of the run before, but for those who came in between.
    """
    inst = s.instances[i]
    if inst.decoding == 0:
        return
    if inst.joined and steps > 1:
        _see_end(s, i, inst.count + 1, inst.started + run_length_ps(s, i, 1))
    _see_end(s, i, inst.count + steps, at)
    inst.joined = False


@kernel
def _see_end(s: Sim, i: int, count: int, at: int) -> None:
    for c in range(1, len(s.class_stats)):
        if s.readers[i, c].requests > 0 and s.settings[0].pace[c] > 0:
            _add_lead(s, i, c, count, at - s.settings[0].pace[c] * count)


@kernel
def _add_lead(s: Sim, i: int, c: int, count: int, lead: int) -> None:
    """Drop what is smaller; the new end counts only for who came after the one before it."""
    reader, row = s.readers[i, c], i * len(s.class_stats) + c
    n = reader.leads
    while n > 0 and s.leads[row, n - 1].lead - lead <= 0:  # right even where both went around
        n -= 1
    reader.leads = n
    if n > 0 and reader.entered < s.leads[row, n - 1].count:
        return
    if n == s.leads.shape[1]:
        _compact(s, i, c)
        n = reader.leads
    s.leads[row, n].count = count
    s.leads[row, n].lead = lead
    reader.leads = n + 1


@kernel
def _first_after(s: Sim, row: int, n: int, count: int) -> int:
    """Of `n` ends, which has its count beyond `count` and the largest lead: the first such."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if s.leads[row, middle].count > count:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def _compact(s: Sim, i: int, c: int) -> None:
    """Keep the ends that are the maximum of somebody who decodes: at most one for each."""
    reader, row = s.readers[i, c], i * len(s.class_stats) + c
    r = s.instances[i].run_head
    while r >= 0:
        q = s.requests[r]
        if q.decoding and q.class_id == c:
            k = _first_after(s, row, reader.leads, q.enter_count)
            if k < reader.leads:
                s.leads[row, k].needed = True
        r = q.list_next
    kept = 0
    for k in range(reader.leads):
        if s.leads[row, k].needed:
            s.leads[row, kept].count = s.leads[row, k].count
            s.leads[row, kept].lead = s.leads[row, k].lead
            s.leads[row, k].needed = False
            kept += 1
    reader.leads = kept
