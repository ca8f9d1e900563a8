"""Plans: asking trigger and planner, checking the answer, and carrying it out engine by engine."""

# mypy: no-warn-return-any
# a row of a structured array is Any to mypy; numba checks what becomes of its fields
from __future__ import annotations

from sandbox.abi import FAILED
from sandbox.contract import DECODE, MIXED, PREFILL
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
from sandbox.kernel.elastic import adjust_supply, forget_wants, note_wants, settle_wants
from sandbox.kernel.engine import interrupt
from sandbox.kernel.handover import (
    call_incoming_off,
    drop_forgotten,
    lose_kept,
    redirect_landing,
)
from sandbox.kernel.hardware import (
    adopt,
    find_shape,
    integrate,
    remove_engine,
    start_engine,
)
from sandbox.kernel.heaps import push_event, set_instance_event
from sandbox.kernel.hiding import hide_window
from sandbox.kernel.jit import entry, kernel
from sandbox.kernel.matching import begin_flip, keep_engines
from sandbox.kernel.observe import clear_tick, fill_cluster, fill_plan, fill_window
from sandbox.kernel.queues import empty_queue, leave
from sandbox.kernel.readers import see_run
from sandbox.kernel.routing import decide, rebuild_views
from sandbox.kernel.runs import run_blocks, run_length_ps, steps_done
from sandbox.kernel.state import (
    ACTIVE,
    BLOCK_TOKENS,
    DRAINED,
    IDLE,
    LEAVING,
    NEVER,
    PLAN_READY,
    RUN,
    STARTING,
    Sim,
)


@kernel
def _roles_work(s: Sim) -> bool:
    """Can some replica compute prompts, and some decode what those replicas do not?"""
    prompts, decodes = False, False
    for j in range(s.new_plan[0].n_replicas):
        role = s.new_plan[0].replicas[j].role
        if role != MIXED and role != PREFILL and role != DECODE:
            return False
        if role != MIXED and s.settings[0].has_samples:
            return False  # several samples of a request stay where their prompt is
        prompts = prompts or role != DECODE
        decodes = decodes or role != PREFILL
    return prompts and decodes


@kernel
def valid_plan(s: Sim) -> bool:
    """Does `new_plan` name replicas that exist, on GPUs that are there, in roles that serve?"""
    plan = s.new_plan[0]
    if plan.n_replicas < 1 or plan.n_replicas > len(plan.replicas) or not _roles_work(s):
        return False
    for p in range(len(s.pools)):
        used = 0
        for j in range(plan.n_replicas):
            entry = plan.replicas[j]
            if entry.pool == p:
                shape = find_shape(s, p, entry.tp, entry.pp)
                if shape < 0:
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
    """Start every replica of the plan that has no engine and finds GPUs; give back what is left."""
    for j in range(s.plan[0].n_replicas):
        if s.plan[0].replicas[j].instance < 0:
            start_engine(s, j, now, at_once)
    adjust_supply(s, now)


@kernel
def settle(s: Sim, i: int, now: int) -> None:
    """Stop an engine in the middle of its steps: whole steps count, the rest is lost."""
    inst = s.instances[i]
    if inst.mode == RUN:
        k = steps_done(s, i, now)
        first = run_blocks(s, i, 1)
        if k > 0:
            see_run(s, i, k, inst.started + run_length_ps(s, i, k))
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
        q = s.requests[r]
        decoding = q.decoding
        stop_running(s, i, r)
        leave(s, i, r)
        s.totals[0].recomputed += q.prompt + q.done - 1 if decoding else q.computed
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
        settle(s, i, now)
    if inst.replica >= 0 and inst.state != LEAVING:
        s.plan[0].replicas[inst.replica].instance = -1
    inst.replica = -1
    serving = inst.state != STARTING
    if serving:
        inst.state = LEAVING
        rebuild_views(s)
        call_incoming_off(s, i, now)
        lose_kept(s, i, now)
        _reroute_queue(s, i, now)
        redirect_landing(s, i, now)
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
    landing = inst.incoming + inst.landing
    call_incoming_off(s, i, now)
    _reroute_queue(s, i, now)
    redirect_landing(s, i, now)
    if landing > 0:
        interrupt(s, i, now)
    if inst.running + inst.kept == 0:
        settle(s, i, now)
        remove_engine(s, i, now)
        return 0
    inst.drained_from = now
    push_event(s, now + s.settings[0].drain, DRAINED, i, inst.id)
    return 0


@kernel
def _adopt_all(s: Sim, now: int) -> bool:
    """Kept engines take the role, range and share of their replica; True when a role changed."""
    flips = 0
    s.router_seen[:, :] = -1
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if (inst.state != ACTIVE and inst.state != STARTING) or inst.replica < 0:
            continue
        flipped = inst.state == ACTIVE and inst.role != s.plan[0].replicas[inst.replica].role
        adopt(s, i, inst.replica)
        inst.flipped = flipped
        if flipped:
            flips += 1
            begin_flip(s, i, now)
    if flips == 0:
        return False
    rebuild_views(s)
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if inst.state == ACTIVE and inst.flipped and inst.role != MIXED:
            _reroute_queue(s, i, now)
        inst.flipped = False
    return True


@entry
def carry_out(s: Sim, now: int, at_once: int) -> int:
    """Make `new_plan` the plan: keep equal engines, drain the others, start what is missing."""
    totals = s.totals[0]
    keep_engines(s)
    s.plan[0] = s.new_plan[0]
    changed = _adopt_all(s, now)
    for i in range(len(s.instances)):
        inst = s.instances[i]
        if (inst.state == ACTIVE or inst.state == STARTING) and inst.replica < 0:
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
    if s.settings[0].hides:
        hide_window(s)
    s.new_plan[0].n_replicas = 0
    s.new_plan[0].keep = False
    return s.planner_memory.ctypes.data


@kernel
def _stand_in(s: Sim, memory: int) -> None:
    """The present plan stands; the default's answer when that cannot, or is the default's itself.

    A plan that the default made because GPUs were gone would else stay small when they are back.
    """
    totals = s.totals[0]
    s.new_plan[0] = s.plan[0]
    if valid_plan(s) and not totals.stand_in:
        return
    s.new_plan[0].n_replicas = 0
    s.new_plan[0].keep = False
    ask_default(s, PLANNER, s.settings[0].plan_fuel, memory + 512)
    totals.stand_in = True


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
    only_asks = not failed and note_wants(s) and s.new_plan[0].n_replicas == 0
    valid = not failed and valid_plan(s)
    if not failed and not valid and not only_asks:
        note_fault(s, PLANNER, INVALID_DECISION)
        failed = True
    if failed:
        forget_wants(s)
    if valid:
        totals.stand_in = False
    else:
        _stand_in(s, memory)
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
        settle_wants(s)
        adjust_supply(s, now)
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
    settle_wants(s)
    if valid_plan(s):
        carry_out(s, now, 0)
    else:
        consider(s, now)
    return 0


@entry
def monitor(s: Sim, now: int) -> int:
    """A monitoring point: close the window and ask."""
    fill_window(s, now)
    drop_forgotten(s, now)
    consider(s, now)
    clear_tick(s)
    return 0
