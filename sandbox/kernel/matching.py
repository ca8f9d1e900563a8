"""Which engine serves which replica of a new plan, and what a change of role alone takes.

Engines are handed to replicas of their pool, TP and PP: those on lasting GPUs before those about
to lose one, and each time first where role and length range stay, then where the role stays, then
anywhere. So a plan that changes only roles, ranges or shares keeps every engine. A change of role
costs `switch.flip_s`, during which running requests go on and waiting ones wait.
"""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.kernel.heaps import push_event
from sandbox.kernel.jit import kernel
from sandbox.kernel.state import ACTIVE, NEVER, READY, STARTING, Sim

SAME, SAME_ROLE, ANY_ROLE = range(3)


@kernel
def _matches(s: Sim, i: int, j: int, likeness: int) -> bool:
    inst, entry = s.instances[i], s.new_plan[0].replicas[j]
    if entry.instance >= 0 or inst.pool != entry.pool:
        return False
    if inst.tp != entry.tp or inst.pp != entry.pp:
        return False
    if likeness == ANY_ROLE:
        return True
    if inst.role != entry.role:
        return False
    same = (
        inst.length_low == entry.length_low_tokens and inst.length_high == entry.length_high_tokens
    )
    return likeness == SAME_ROLE or same


@kernel
def _is_leaving(s: Sim, i: int) -> bool:
    inst = s.instances[i]
    for n in range(inst.gpus):
        if s.gpus[inst.gpu[n]].leave_at != NEVER:
            return True
    return False


@kernel
def _hand_over(s: Sim, leaving: bool, likeness: int) -> int:
    """One round of matching; how many living engines have no replica yet."""
    left = 0
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if (inst.state != ACTIVE and inst.state != STARTING) or inst.replica >= 0:
            continue
        left += 1
        if _is_leaving(s, i) != leaving:
            continue
        for j in range(s.new_plan[0].n_replicas):
            if _matches(s, i, j, likeness):
                s.new_plan[0].replicas[j].instance = inst.id
                inst.replica = j
                left -= 1
                break
    return left


@kernel
def keep_engines(s: Sim) -> None:
    """Hand engines that exist to like replicas of the new plan."""
    plan = s.new_plan[0]
    for j in range(plan.n_replicas):
        plan.replicas[j].instance = -1
    for i in range(len(s.instances)):
        s.instances[i].replica = -1
    for leaving in (False, True):
        for likeness in range(3):
            if _hand_over(s, leaving, likeness) == 0:
                return


@kernel
def begin_flip(s: Sim, i: int, now: int) -> None:
    """An engine takes another role: what waits goes on waiting until it has."""
    inst = s.instances[i]
    s.totals[0].flips += 1
    if s.settings[0].flip > 0:
        inst.flipping = True
        inst.ready_at = now + s.settings[0].flip
        push_event(s, inst.ready_at, READY, i, inst.id)
