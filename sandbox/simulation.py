"""One simulation: a trace on a cluster under a policy, from arrays in to arrays out.

`build` lays everything out in the kernel's rows, `simulate` runs it, `Outcome` is what happened.
Nothing here decides anything: times, capacities and prices are in the rows, decisions are hooks'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sandbox import contract
from sandbox.capacity import Pairing, capacity_rows
from sandbox.classes import class_rows, fill_classes
from sandbox.cluster import ClusterSpec
from sandbox.draws import SEEDS, stream
from sandbox.engine import LoadedPolicy
from sandbox.engine_settings import fill_engine
from sandbox.errors import SandboxError
from sandbox.frame import FRAME
from sandbox.hardware import Hardware, build_hardware
from sandbox.hidden import hide, mask_words, seen_through
from sandbox.kernel import state
from sandbox.kernel.state import BLOCK_TOKENS, NEVER, PS_PER_S
from sandbox.known_hardware import fill_cluster, start_plan
from sandbox.predictions import predict_lengths, with_workflows
from sandbox.prefixes import Prefixes, cache_rows, fill_paths, no_prefixes, prefixes_of
from sandbox.records import new_rows
from sandbox.samples import sample_numbers, with_samples
from sandbox.switching import fill_switch, hold_at_start, most_engines
from sandbox.transfers import fill_transfers
from telemetry.trace import Trace

Mode = Literal["open", "backlog"]
LONGEST_S = 4_000_000.0  # int64 picoseconds end at 106 days; half of it keeps sums in range
EVENTS_PER_CALL = 200_000
EVENTS_PER_LOOK = 16
DEFAULT_MEMORY_ROWS = 1


class SimulationError(SandboxError):
    """A simulation that cannot start; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is simulated, apart from the policy.

    Attributes:
        trace: the requests; capacity: which GPUs are there when, None for always.
        mode: "open", arrivals at their times; "backlog", each monitoring interval's requests are
            released together when the previous interval's are done.
        seed: of the predictor's errors and of `request.seed`.
        stop_s: end of the run for what has not finished; twice the span by default.
        macro: False steps every iteration by itself, the reference of macro-stepping.
        learned: what the length predictor knew when the trace began, see foretelling.py.
        debug: check the laws' invariants after every event; many times slower.
    """

    trace: Trace
    cluster: ClusterSpec
    capacity: Pairing | None = None
    mode: Mode = "open"
    seed: int = 0
    stop_s: float | None = None
    macro: bool = True
    debug: bool = False
    learned: bytes = b""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened; arrays are per request of the trace, times in picoseconds, -1 for never.

    Attributes:
        entered, first, finish: arrival at the router, first and last token.
        behind: how long after `entered` a reader of the class's pace would have had to begin, so as
            never to wait for a token; -1 where nobody followed, see kernel/readers.py.
        state: FINISHED, REJECTED or where it was when the run ended.
        preempted, held, moved: how often.
        engine: which slot of the simulator served it last, -1 for none.
        totals: counters and integrals of the run, see `state.TOTALS`.
        samples: what parallel samples cost and brought; empty when nobody asked for any.
    """

    entered: NDArray[np.int64]
    first: NDArray[np.int64]
    finish: NDArray[np.int64]
    behind: NDArray[np.int64]
    state: NDArray[np.int32]
    preempted: NDArray[np.int32]
    held: NDArray[np.int32]
    moved: NDArray[np.int32]
    engine: NDArray[np.int32]
    totals: np.void
    samples: Mapping[str, float] = field(default_factory=dict)


def simulate(
    setup: Setup,
    policy: LoadedPolicy,
    default: LoadedPolicy,
    look: Callable[[state.Sim], None] | None = None,
) -> Outcome:
    """Run to the end.

    Args:
        look: is shown the rows every so many events, to read only.

    Raises:
        SimulationError: the trace is too long for the clock, or no plan fits the cluster.
    """
    from sandbox.kernel.program import Program

    sim = build(setup, policy, default)
    program = Program(sim)
    if not program.start():
        raise SimulationError(
            f"No plan fits {setup.cluster.name} at the start; give it more GPUs, or take another "
            "stretch of the capacity file with --capacity-from."
        )
    while program.run(EVENTS_PER_LOOK if look else EVENTS_PER_CALL):
        if look:
            look(sim)
    return outcome_at_end(sim, setup)


def _complaint(broken: int, handled: int) -> str:
    from sandbox.kernel.invariants import BROKEN

    if broken in BROKEN:
        return (
            f"After {handled} events this does not hold: {BROKEN[broken]}. This is a defect of the "
            "simulator; please report it with the trace and the cluster file."
        )
    return "The simulator ran out of event space; shorten the trace."


def outcome_at_end(sim: state.Sim, setup: Setup) -> Outcome:
    """What happened in a run that is over; raises SimulationError when it broke off."""
    totals, rows = sim.totals[0], sim.requests[: len(setup.trace)]
    if totals["broken"]:
        raise SimulationError(_complaint(int(totals["broken"]), int(totals["handled"])))
    return Outcome(
        entered=rows["entered"].copy(),
        first=rows["first"].copy(),
        finish=rows["finish"].copy(),
        behind=_behind(rows),
        state=rows["state"].copy(),
        preempted=rows["preempted"].copy(),
        held=rows["held"].copy(),
        moved=rows["moved"].copy(),
        engine=rows["instance"].copy(),
        totals=totals,
        samples=sample_numbers(sim, setup),
    )


def _behind(rows: state.Rows) -> NDArray[np.int64]:
    """Of requests that finished, -1 of others: while one is in a batch it is not up to date."""
    known = (rows["state"] == state.FINISHED) & (rows["behind"] > -NEVER)
    return np.where(known, rows["behind"] - rows["entered"], -1)


def latest_end_s(setup: Setup) -> float:
    """When the run ends at the latest, seconds."""
    span_s = setup.trace.span_s
    stop_s = setup.stop_s if setup.stop_s is not None else max(2.0 * span_s, 60.0)
    return max(stop_s, 20.0 * span_s) if setup.mode == "backlog" else stop_s


def build(setup: Setup, policy: LoadedPolicy, default: LoadedPolicy) -> state.Sim:
    """All rows of a simulation at time 0, before its first plan."""
    trace, cluster = setup.trace, seen_through(setup.cluster)
    setup = replace(setup, cluster=cluster)
    stop_s = latest_end_s(setup)
    if not 0.0 < stop_s <= LONGEST_S:
        raise SimulationError(
            f"The clock holds {LONGEST_S:.0f} s and this run needs {stop_s:.0f} s; cut the trace "
            "with --from and --until."
        )
    hardware = build_hardware(cluster)
    shared = shares_prefixes(trace, cluster)
    prefixes = prefixes_of(trace) if shared else no_prefixes(len(trace))
    engines = most_engines(hardware.pools, hardware.shapes)
    capacity = capacity_rows(
        setup.capacity, hardware.pools, hardware.gpus, stop_s, cluster.switch.grace_s
    )
    hold_at_start(hardware.pools, hardware.gpus, cluster)
    sim = _allocate(setup, hardware, capacity, engines, prefixes)
    _fill_settings(sim.settings[0], setup, policy, hardware, stop_s, shared)
    fill_engine(sim.settings[0], cluster, policy)
    _fill_requests(sim.requests, setup)
    hide(sim, setup)
    fill_paths(sim.requests, prefixes)
    fill_classes(sim, trace, cluster)
    sim = with_workflows(sim, setup, policy, hardware)
    fill_transfers(sim, cluster, policy)
    sim = with_samples(sim, setup, policy)
    fill_cluster(sim, hardware, cluster)
    start_plan(sim, cluster)
    _connect(sim, policy, default)
    return sim


def shares_prefixes(trace: Trace, cluster: ClusterSpec) -> bool:
    """Is there a prefix cache, and anything known about what prompts share?"""
    aligned = trace.block_tokens > 0 and trace.block_tokens % BLOCK_TOKENS == 0
    return aligned and cluster.engine.enable_prefix_caching and len(trace.block_ids) > 0


def _allocate(
    setup: Setup, hardware: Hardware, capacity: state.Rows, engines: int, prefixes: Prefixes
) -> state.Sim:
    trace, routers = setup.trace, setup.cluster.router.count
    per_gpu = (hardware.shapes["kv_tokens"] // hardware.shapes["gpus"]).max()
    most_blocks = int(per_gpu) * len(hardware.gpus) // max(trace.block_tokens, BLOCK_TOKENS)
    instances = np.zeros(engines, state.INSTANCE)
    instances["id"] = instances["replica"] = instances["event_pos"] = -1
    instances["event_at"] = NEVER
    return state.Sim(
        settings=np.zeros(1, state.SETTINGS),
        totals=_totals(hardware, setup),
        requests=np.zeros(len(trace), state.REQUEST),
        instances=instances,
        pools=hardware.pools,
        gpus=hardware.gpus,
        shapes=hardware.shapes,
        step_tokens=hardware.step_tokens,
        step_batch=hardware.step_batch,
        step_context=hardware.step_context,
        step_mixed=hardware.step_mixed,
        spec_batch=hardware.spec_batch,
        spec_context=hardware.spec_context,
        spec_line=hardware.spec_line,
        capacity=capacity,
        events=np.zeros(2 * len(trace) + 16 * engines + 4 * len(hardware.gpus) + 8192, state.EVENT),
        instance_heap=np.zeros(engines, np.int64),
        **cache_rows(prefixes, engines, most_blocks),
        entry_row=new_rows(contract.Entry, 1),
        tenant_load=np.zeros((engines, int(trace.tenant.max(initial=0)) + 1), np.int32),
        **class_rows(setup.cluster, engines),
        **_masked_rows(routers, engines),
        router_slots=np.zeros((2 * routers + 1, engines), np.int64),
        router_seen=np.full((2 * routers, engines), -1, np.int64),
        router_counts=np.zeros(2 * routers, np.int64),
        router_free=np.zeros(routers, np.int64),
        sent=np.zeros((routers, engines), state.SENT),
        router_memory=np.zeros((routers + 1, contract.MEMORY_SLOTS)),
        engine_memory=np.zeros((engines, contract.MEMORY_SLOTS)),
        planner_memory=np.zeros((1 + DEFAULT_MEMORY_ROWS, contract.MEMORY_SLOTS)),
        cluster=new_rows(contract.Cluster, 1),
        plan=new_rows(contract.Plan, 1),
        new_plan=new_rows(contract.Plan, 1),
        running=new_rows(contract.Running, contract.MAX_RUNNING),
        moves=new_rows(contract.Moves, 1),
        frame=np.zeros(1, FRAME),
        hooks=np.zeros(22, np.int64),
        hook_parameters=np.zeros(22, np.int64),
        scratch=np.zeros(contract.SCRATCH_FLOATS),
        **_spare_rows(),
        links=np.zeros(0, np.int64),
    )


def _masked_rows(routers: int, engines: int) -> dict[str, NDArray[Any]]:
    """Records of which a signal profile hides fields, and the same memory in words."""
    router_rows = new_rows(contract.Instance, (2 * routers + 3) * engines).reshape(-1, engines)
    request_row, window = new_rows(contract.Request, 1), new_rows(contract.Window, 1)
    return {
        "router_rows": router_rows,
        "router_words": router_rows.view(np.int64),
        "request_row": request_row,
        "request_words": request_row.view(np.int64),
        "window": window,
        "window_words": window.view(np.int64),
        "hidden": np.zeros((8, mask_words()), np.int64),
    }


def _spare_rows() -> dict[str, NDArray[Any]]:
    """What stands in for the rows of workflows and samples until there are some."""
    return {
        "edge_offsets": np.zeros(1, np.int64),
        "edge_rows": np.zeros(1, np.int32),
        "horizons": np.zeros((1, 2)),
        "samples": np.zeros(1, state.SAMPLE),
        "branch_rows": new_rows(contract.Branch, contract.MAX_BRANCHES),
    }


def _totals(hardware: Hardware, setup: Setup) -> state.Rows:
    rows = np.zeros(1, state.TOTALS)
    row = rows[0]
    for name in ("cache_spare", "held_head", "held_tail", "last_switch", "period"):
        row[name] = -1
    row["gpus_present"] = int(hardware.gpus["present"].sum())
    row["next_monitor"] = int(setup.cluster.tick.monitoring_s * PS_PER_S)
    row["next_migration"] = int(setup.cluster.tick.migration_s * PS_PER_S)
    row["next_control"] = int(setup.cluster.tick.control_s * PS_PER_S)
    row["rate_at_plan"], row["feasible"] = np.nan, True
    return rows


def _ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)


def _fill_settings(
    row: np.void,
    setup: Setup,
    policy: LoadedPolicy,
    hardware: Hardware,
    stop_s: float,
    shared: bool,
) -> None:
    cluster, tick = setup.cluster, setup.cluster.tick
    row["block_tokens"] = max(setup.trace.block_tokens, BLOCK_TOKENS)
    row["monitor"], row["rekey"] = _ps(tick.monitoring_s), _ps(tick.rekey_s)
    row["hold_tick"], row["max_hold"] = _ps(tick.hold_s), _ps(tick.max_hold_s)
    row["migration"], row["control"] = _ps(tick.migration_s), _ps(tick.control_s)
    row["has_control"] = bool({"tune", "prewarm", "evict"} & set(policy.hooks))
    row["debug"] = setup.debug
    row["has_evict"] = "evict" in policy.hooks
    row["has_prewarm"] = "prewarm" in policy.hooks and shared
    row["signal_age"], row["stop"] = _ps(cluster.router.signal_age_s), _ps(stop_s)
    fill_switch(row, cluster)
    row["fuel_ps"] = round(cluster.price.fuel_ns * 1000)
    row["route_fuel"] = cluster.price.decision_fuel
    row["plan_fuel"] = round(cluster.price.planner_s * 1e9 / cluster.price.fuel_ns)
    row["routers"] = cluster.router.count
    row["token_budget"] = cluster.engine.max_num_batched_tokens
    row["max_seqs"] = cluster.engine.max_num_seqs
    row["backlog"], row["macro"] = setup.mode == "backlog", setup.macro
    row["kv_bytes"], row["weight_bytes"] = hardware.kv_bytes, hardware.weight_bytes
    row["nominal_prompt"], row["nominal_output"] = 1000.0, 200.0
    row["has_prefixes"], row["rows"] = shared, len(setup.trace)
    row["learns_lengths"] = cluster.predictor.mode == "history"
    row["has_priority"], row["has_admit"] = "priority" in policy.hooks, "admit" in policy.hooks
    row["needs_tpot"] = "Instance.tpot_slo_s" in policy.source.fields_read
    row["needs_share"] = "Instance.share" in policy.source.fields_read
    row["needs_longest"] = "Instance.longest_context_tokens" in policy.source.fields_read


def _fill_requests(rows: state.Rows, setup: Setup) -> None:
    trace, n = setup.trace, len(setup.trace)
    rows["arrival"] = np.round(trace.arrival_s * PS_PER_S).astype(np.int64)
    rows["think"] = np.round(trace.think_s * PS_PER_S).astype(np.int64)
    for name in ("entered", "first", "finish", "hold_since", "began"):
        rows[name] = -1
    rows["behind"] = -NEVER
    rows["order"] = np.arange(n)
    rows["seed"] = stream(setup.seed, SEEDS).integers(0, 2**53, n)
    rows["predicted"], rows["predicted_error"] = predict_lengths(setup)
    rows["prompt"], rows["output"] = trace.prompt_tokens, trace.output_tokens
    rows["tenant"], rows["session"], rows["turn"] = trace.tenant, trace.session, trace.turn
    rows["period"] = (trace.arrival_s // setup.cluster.tick.monitoring_s).astype(np.int32)
    for name in ("instance", "last_instance", "list_next", "list_prev", "fill_next"):
        rows[name] = -1
    rows["after"] = trace.after


def _connect(sim: state.Sim, policy: LoadedPolicy, default: LoadedPolicy) -> None:
    """Addresses: of the hooks, and of the rows that every call of a hook sees."""
    from sandbox.kernel.calls import HOOKS

    for k, hook in enumerate(HOOKS):
        own = policy if hook in policy.hooks else default
        for row, loaded in ((k, own), (len(HOOKS) + k, default)):
            if hook in loaded.hooks:
                sim.hooks[row] = loaded.address(hook)
                sim.hook_parameters[row] = loaded.parameters_of(hook).ctypes.data
    frame = sim.frame[0]
    frame["request"], frame["instance"] = (
        sim.request_row.ctypes.data,
        sim.router_rows[-1].ctypes.data,
    )
    frame["window"], frame["cluster"] = sim.window.ctypes.data, sim.cluster.ctypes.data
    frame["entry"], frame["entries"] = sim.entry_row.ctypes.data, sim.entries.ctypes.data
    frame["plan"], frame["new_plan"] = sim.plan.ctypes.data, sim.new_plan.ctypes.data
    frame["scratch"] = sim.scratch.ctypes.data
