"""The laws as checks on the kernel's rows, run after every event when a simulation asks for it.

Each check has a number, law * 100 + its place; `BROKEN` says in words what does not hold then. The
cheap ones look at instances, the dear ones at every request: those run at every `SWEEP`th event.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.accounting import blocks_accounted
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.landing import SETTLED
from sandbox.kernel.segments import PART, USED, WHOLE, holds, segment_blocks
from sandbox.kernel.state import (
    ACTIVE,
    BLOCK_TOKENS,
    FINISHED,
    HELD,
    LEAVING,
    QUEUED,
    REJECTED,
    RUNNING,
    UNUSED,
    WAITING_ARRIVAL,
    Sim,
)

SWEEP = 256  # events between two looks at every request, unless there are fewer requests

BROKEN = {
    101: "law 1: a request ends once, and the counts of ends agree with the requests",
    102: "law 1: every request that entered has ended or is somewhere",
    103: "law 1: an instance's queue and batch hold the requests that say they are there",
    104: "law 1: the held requests are those in the list of held ones",
    201: "law 2: the clock does not run backwards",
    202: "law 2: a request enters, begins and ends in this order, and not after now",
    203: "law 2: a router has seen nothing from after now",
    301: "law 3: KV blocks in use lie within the instance's capacity",
    302: "law 3: no more requests run, or have a seat reserved, than max_num_seqs",
    303: "law 3: a running request prefills, decodes or waits for its KV, and is counted once",
    304: "law 3: an instance has exactly its own GPUs, and they are there",
    305: "law 3: a pool counts its present and its free GPUs",
    306: "law 3: cached blocks are those of entries without users",
    307: "law 3: an empty instance has given every block back",
    308: "law 3: KV kept for another instance is counted, and in blocks that are in use",
    309: "law 3: swap space holds what waiting requests have there, and no more than there is",
    310: "law 3: every KV block in use is a request's own, kept, reserved or shared by somebody",
}


@kernel
def _lists_agree(s: Sim, i: int) -> bool:
    """Queue and batch as linked lists against their counts."""
    inst = s.instances[i]
    waiting, running, filling = 0, 0, 0
    r = inst.wait_head
    while r >= 0 and waiting <= inst.waiting:
        if s.requests[r].state != QUEUED or s.requests[r].instance != i:
            return False
        waiting += 1
        r = s.requests[r].list_next
    r = inst.run_head
    while r >= 0 and running <= inst.running:
        if s.requests[r].state != RUNNING or s.requests[r].instance != i:
            return False
        running += 1
        q = s.requests[r]
        filling += 0 if q.decoding or q.landing != SETTLED else 1
        r = s.requests[r].list_next
    return waiting == inst.waiting and running == inst.running and filling == inst.filling


@kernel
def _kept_agree(s: Sim, i: int) -> bool:
    """The list of kept KV against its count, and its unshared blocks against what is in use."""
    inst = s.instances[i]
    width = s.settings[0].block_tokens // BLOCK_TOKENS
    kept, blocks, r = 0, 0, inst.keep_head
    while r >= 0 and kept <= inst.kept:
        q = s.requests[r]
        if q.source != i or not q.remote:
            return False
        kept += 1
        blocks += q.source_blocks - q.held_blocks * width
        r = q.keep_next
    return kept == inst.kept and blocks <= inst.blocks_used


@kernel
def _swap_agrees(s: Sim, i: int) -> bool:
    inst = s.instances[i]
    blocks, offline = 0, 0
    r = inst.wait_head
    while r >= 0:
        blocks += s.requests[r].swapped
        r = s.requests[r].list_next
    r = inst.run_head
    while r >= 0:
        offline += 0 if s.requests[r].online else 1
        r = s.requests[r].list_next
    if offline != inst.offline_running:
        return False
    return blocks == inst.swap_used <= s.shapes[inst.shape].swap_blocks


@kernel
def _cache_agrees(s: Sim, i: int) -> bool:
    """The order of release holds entries without users, marked as what they are."""
    inst = s.instances[i]
    width = s.settings[0].block_tokens // BLOCK_TOKENS
    blocks, c = 0, inst.cache_head
    while c >= 0:
        row = s.cached[c]
        whole = row.present == segment_blocks(s, row.segment)
        if row.users != 0 or row.present < 1 or holds(s, row.segment, i, USED):
            return False
        if holds(s, row.segment, i, WHOLE) != whole or holds(s, row.segment, i, PART) == whole:
            return False
        blocks += row.present * width
        c = row.after
    return blocks == inst.blocks_cached


@kernel
def _batch(s: Sim, i: int) -> int:
    """What is wrong with an engine's batch and blocks, 0 when nothing is."""
    inst = s.instances[i]
    if not 0 <= inst.blocks_used <= inst.blocks_total or inst.blocks_cached < 0:
        return 301
    if inst.running + inst.incoming > inst.max_seqs:
        return 302
    seated = inst.decoding + inst.filling + inst.landing
    if seated != inst.running or inst.bins.sum() != inst.decoding:
        return 303
    if inst.running == 0 and inst.context != 0:
        return 307
    if inst.running + inst.kept + inst.incoming == 0 and inst.blocks_used != 0:
        return 307
    if inst.kept > 0 and not _kept_agree(s, i):
        return 308
    if not _lists_agree(s, i):
        return 103
    if not _swap_agrees(s, i):
        return 309
    if s.settings[0].has_prefixes and not _cache_agrees(s, i):
        return 306
    return 0


@kernel
def _owns_gpus(s: Sim, i: int) -> bool:
    inst = s.instances[i]
    for n in range(inst.gpus):
        if s.gpus[inst.gpu[n]].instance != i:
            return False
    return True


@kernel
def _instances(s: Sim) -> int:
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state == UNUSED:
            continue
        if not _owns_gpus(s, i):
            return 304
        if inst.state == ACTIVE or inst.state == LEAVING:
            broken = _batch(s, i)
            if broken != 0:
                return broken
    return 0


@kernel
def _hardware(s: Sim) -> int:
    for p in range(len(s.pools)):
        present, free = 0, 0
        for g in range(len(s.gpus)):
            gpu = s.gpus[g]
            if gpu.pool == p and gpu.present:
                present += 1
                free += 1 if gpu.instance < 0 else 0
        if present != s.pools[p].present or free != s.pools[p].free:
            return 305
    return 0


@kernel
def _held_agree(s: Sim) -> bool:
    n, r = 0, s.totals[0].held_head
    while r >= 0 and n <= s.totals[0].held:
        if s.requests[r].state != HELD:
            return False
        n += 1
        r = s.requests[r].list_next
    return n == s.totals[0].held


@kernel
def _times_agree(s: Sim, r: int, now: int) -> bool:
    q = s.requests[r]
    if q.entered > now or q.first > now or q.finish > now:
        return False
    if q.state == FINISHED:
        return 0 <= q.entered <= q.first <= q.finish
    return q.state == REJECTED or q.finish < 0


@kernel
def _is_outside(state: int) -> bool:
    return state in (WAITING_ARRIVAL, FINISHED, REJECTED)


@kernel
def _sweep(s: Sim, now: int) -> int:
    """Every request: its times, and where it is."""
    totals = s.totals[0]
    finished, rejected, inside = 0, 0, 0
    for r in range(len(s.requests)):
        state = s.requests[r].state
        if not _times_agree(s, r, now):
            return 202
        finished += 1 if state == FINISHED else 0
        rejected += 1 if state == REJECTED else 0
        if r < s.settings[0].rows and not _is_outside(state):
            inside += 1
    if finished != totals.finished or rejected != totals.rejected:
        return 101
    return 102 if inside > totals.outstanding else 0


@entry
def check(s: Sim, before: int, now: int) -> int:
    """Number of the first invariant that does not hold at `now`, 0 when all do."""
    if now < before:
        return 201
    for k in range(s.settings[0].routers):
        for j in range(s.router_counts[k]):
            if s.router_seen[k, j] > now:
                return 203
    broken = _instances(s)
    if broken == 0 and not _held_agree(s):
        broken = 104
    few = len(s.requests) < SWEEP
    if broken == 0 and (few or s.totals[0].handled % SWEEP == 0):
        broken = _hardware(s)
        if broken == 0:
            broken = _sweep(s, now)
        if broken == 0 and not blocks_accounted(s):
            broken = 310
    return broken
