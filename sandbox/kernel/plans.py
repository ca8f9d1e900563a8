"""Plans: asking trigger and planner, checking the answer, and carrying it out engine by engine."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.abi import FAILED
from sandbox.contract import MIXED
from sandbox.kernel.batch import stop_running
from sandbox.kernel.calls import (
    INVALID_DECISION,
    PLANNER,
    TRIGGER,
    ask,
    ask_default,
    note_fault,
    spent_ps,
)
from sandbox.kernel.hardware import (
    adopt,
    find_shape,
    gpu_present,
    integrate,
    remove_engine,
    start_engine,
)
from sandbox.kernel.heaps import push_event, set_instance_event
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.observe import clear_tick, fill_cluster, fill_plan, fill_situation, fill_window
from sandbox.kernel.queues import empty_queue, leave
from sandbox.kernel.routing import decide, rebuild_views
from sandbox.kernel.runs import run_blocks, steps_done
from sandbox.kernel.state import (
    ACTIVE,
    ANNOUNCE,
    BLOCK_TOKENS,
    DOWN,
    DRAINED,
    IDLE,
    LEAVING,
    NEVER,
    PLAN_READY,
    RUN,
    STARTING,
    UNUSED,
    Sim,
)


@kernel
def valid_plan(s: Sim) -> bool:
    """Does `new_plan` name replicas that exist, on GPUs that are there?

    Roles other than mixed are refused: this simulator does not disaggregate.
    """
    plan = s.new_plan[0]
    if plan.n_replicas < 1 or plan.n_replicas > len(plan.replicas):
        return False
    for p in range(len(s.pools)):
        used = 0
        for j in range(plan.n_replicas):
            entry = plan.replicas[j]
            if entry.pool == p:
                shape = find_shape(s, p, entry.tp, entry.pp)
                if shape < 0 or entry.role != MIXED:
                    return False
                used += s.shapes[shape].gpus
        if used > s.pools[p].present:
            return False
    for j in range(plan.n_replicas):
        if plan.replicas[j].pool < 0 or plan.replicas[j].pool >= len(s.pools):
            return False
    return True


@kernel
def plan_feasible(s: Sim) -> bool:
    """Are the GPUs of the present plan still there?"""
    plan = s.plan[0]
    for p in range(len(s.pools)):
        used = 0
        for j in range(plan.n_replicas):
            entry = plan.replicas[j]
            if entry.pool == p:
                used += entry.tp * entry.pp
        if used > s.pools[p].present:
            return False
    return plan.n_replicas > 0


@kernel
def start_pending(s: Sim, now: int, at_once: int) -> None:
    """Start every replica of the plan that has no engine and finds GPUs."""
    for j in range(s.plan[0].n_replicas):
        if s.plan[0].replicas[j].instance < 0:
            start_engine(s, j, now, at_once)


@kernel
def _settle(s: Sim, i: int, now: int) -> None:
    """Stop an engine in the middle of its steps: whole steps count, the rest is lost."""
    inst = s.instances[i]
    if inst.mode == RUN:
        k = steps_done(s, i, now)
        first = run_blocks(s, i, 1)
        if k > 0:
            inst.blocks_used += run_blocks(s, i, k) - first
        else:
            inst.blocks_used -= first
        inst.count += k
        inst.context += k * inst.decoding
        s.totals[0].steps += k
    elif inst.decoding > 0 and inst.mode != IDLE:
        inst.blocks_used -= inst.bins[(1 - inst.count) % BLOCK_TOKENS]
    if inst.mode != IDLE:
        inst.busy += now - inst.started
    inst.mode = IDLE
    inst.ends = NEVER
    set_instance_event(s, i, NEVER)


@kernel
def _reroute_queue(s: Sim, i: int, now: int) -> None:
    r = empty_queue(s, i)
    while r >= 0:
        decide(s, r, now)
        r = empty_queue(s, i)


@kernel
def _reroute_running(s: Sim, i: int, now: int) -> None:
    """Running requests lose their KV and are routed anew."""
    inst = s.instances[i]
    while inst.run_head >= 0:
        r = inst.run_head
        stop_running(s, i, r)
        leave(s, i, r)
        q = s.requests[r]
        q.preempted += 1
        q.computed = 0
        q.chunk = 0
        s.totals[0].preemptions += 1
        decide(s, r, now)


@entry
def lose_engine(s: Sim, i: int, now: int) -> int:
    """An engine stops at once: its requests are routed anew, its GPUs freed."""
    inst = s.instances[i]
    if inst.state != STARTING:
        _settle(s, i, now)
    if inst.replica >= 0 and inst.state != LEAVING:
        s.plan[0].replicas[inst.replica].instance = -1
    inst.replica = -1
    serving = inst.state != STARTING
    if serving:
        inst.state = LEAVING
        rebuild_views(s)
        _reroute_queue(s, i, now)
        _reroute_running(s, i, now)
    remove_engine(s, i, now)
    return 0


@entry
def drain_engine(s: Sim, i: int, now: int) -> int:
    """Stop taking work; running requests may finish until the drain limit."""
    inst = s.instances[i]
    inst.replica = -1
    if inst.state == STARTING:
        remove_engine(s, i, now)
        return 0
    inst.state = LEAVING
    rebuild_views(s)
    _reroute_queue(s, i, now)
    if inst.running == 0:
        _settle(s, i, now)
        remove_engine(s, i, now)
        return 0
    push_event(s, now + s.settings[0].drain, DRAINED, i, inst.id)
    return 0


@kernel
def _matches(s: Sim, i: int, j: int) -> bool:
    inst, entry = s.instances[i], s.new_plan[0].replicas[j]
    return (
        inst.pool == entry.pool
        and inst.tp == entry.tp
        and inst.pp == entry.pp
        and inst.role == entry.role
    )


@kernel
def _is_leaving(s: Sim, i: int) -> bool:
    inst = s.instances[i]
    for n in range(inst.gpus):
        if s.gpus[inst.gpu[n]].leave_at != NEVER:
            return True
    return False


@kernel
def _keep_engines(s: Sim) -> None:
    """Hand engines that exist to equal replicas of the new plan, those on lasting GPUs first."""
    plan = s.new_plan[0]
    for j in range(plan.n_replicas):
        plan.replicas[j].instance = -1
    for i in range(len(s.instances)):
        s.instances[i].replica = -1
    for leaving in (False, True):
        for i in range(len(s.instances)):
            inst = s.instances[i]
            if inst.state != ACTIVE and inst.state != STARTING:
                continue
            if inst.replica >= 0 or _is_leaving(s, i) != leaving:
                continue
            for j in range(plan.n_replicas):
                if plan.replicas[j].instance < 0 and _matches(s, i, j):
                    plan.replicas[j].instance = inst.id
                    inst.replica = j
                    break


@entry
def carry_out(s: Sim, now: int, at_once: int) -> int:
    """Make `new_plan` the plan: keep equal engines, drain the others, start what is missing."""
    totals = s.totals[0]
    _keep_engines(s)
    s.plan[0] = s.new_plan[0]
    changed = False
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state != ACTIVE and inst.state != STARTING:
            continue
        if inst.replica >= 0:
            adopt(s, i, inst.replica)
            s.router_seen[:, :] = -1
        else:
            changed = True
            drain_engine(s, i, now)
    before = totals.next_id
    start_pending(s, now, at_once)
    if changed or totals.next_id != before:
        totals.reconfigurations += 1 - at_once
        totals.switch_from = now
    totals.feasible = plan_feasible(s)
    return 0


@kernel
def _show_planner(s: Sim, now: int) -> int:
    fill_cluster(s, now)
    fill_plan(s, now)
    s.new_plan[0].n_replicas = 0
    s.new_plan[0].keep = False
    return s.planner_memory.ctypes.data


@entry
def make_plan(s: Sim, now: int) -> int:
    """Ask the planner; its answer, or the default's, is in `new_plan`; planning time in ps."""
    totals = s.totals[0]
    memory = _show_planner(s, now)
    fuel = s.settings[0].plan_fuel
    totals.plans += 1
    failed = ask(s, PLANNER, fuel, memory) == FAILED
    cost = spent_ps(s, fuel)
    totals.plan_fuel += fuel - max(s.frame[0].fuel, 0)
    if not failed and not valid_plan(s):
        note_fault(s, PLANNER, INVALID_DECISION)
        failed = True
    if failed:
        s.new_plan[0] = s.plan[0]
        if not valid_plan(s):
            s.new_plan[0].n_replicas = 0
            ask_default(s, PLANNER, fuel, memory + 512)
    totals.planning_ps += cost
    return cost


@entry
def consider(s: Sim, now: int) -> int:
    """Ask the trigger, and the planner when it says so or the plan is infeasible.

    Nobody is asked while a plan is being computed: `plan_ready` looks at what has changed.
    """
    totals = s.totals[0]
    if totals.planning:
        return 0
    memory = _show_planner(s, now)
    fuel = s.settings[0].plan_fuel
    wanted = ask(s, TRIGGER, fuel, memory) != FAILED and s.frame[0].value != 0.0
    cost = spent_ps(s, fuel)
    totals.planning_ps += cost
    if not wanted and totals.feasible:
        return 0
    cost += make_plan(s, now)
    if not valid_plan(s):
        return 0
    integrate(s, now)
    totals.planning = True
    totals.last_plan = now
    totals.rate_at_plan = s.window[0].classes[0].rate_rps
    push_event(s, now + cost, PLAN_READY, -1, -1)
    return 0


@entry
def plan_ready(s: Sim, now: int) -> int:
    """The planner's time is over: carry its plan out, or ask anew when GPUs went meanwhile."""
    integrate(s, now)
    s.totals[0].planning = False
    if valid_plan(s):
        carry_out(s, now, 0)
    else:
        consider(s, now)
    return 0


@entry
def monitor(s: Sim, now: int) -> int:
    """A monitoring point: close the window and ask."""
    fill_window(s, now)
    consider(s, now)
    clear_tick(s)
    return 0


@entry
def capacity_event(s: Sim, g: int, what: int, leaves_at: int, now: int) -> int:
    """A GPU is announced to go, goes, or comes."""
    totals, gpu = s.totals[0], s.gpus[g]
    pool = s.pools[gpu.pool]
    if what == ANNOUNCE:
        if gpu.present and gpu.leave_at == NEVER:
            gpu.leave_at = leaves_at
            pool.leave_at = gpu.leave_at
            pool.leaving += 1
            if gpu.instance >= 0:
                s.instances[gpu.instance].leaves_at = gpu.leave_at
    elif what == DOWN:
        if gpu.instance >= 0 and s.instances[gpu.instance].state != UNUSED:
            lose_engine(s, gpu.instance, now)
        gpu_present(s, g, False, now)
    else:
        gpu_present(s, g, True, now)
    totals.capacity_changed = True
    totals.last_capacity = now
    totals.feasible = plan_feasible(s)
    return 0


@entry
def after_capacity(s: Sim, now: int) -> int:
    """All capacity events of this instant are in: restart what fits, and ask the policy."""
    start_pending(s, now, 0)
    fill_situation(s, now)
    consider(s, now)
    return 0
