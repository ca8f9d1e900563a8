"""The facts of a serving problem as lines for proposers: numbers and words of our own.

Nothing that a trace names (classes, tenants, sessions, models, notes) is read here, only numbers;
the model and GPU types are those that profiles ship for. What is shown of traffic and capacity is
of the training windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from evolver.directions import HOOKS
from evolver.guardrails import guardrail_lines
from evolver.problem import Problem
from evolver.prompt_lines import Cell, number, percent, table
from evolver.serving_evidence import GLOSSARY
from evolver.serving_signals import door_lines, silent_lines
from evolver.serving_traffic import capacity_line, traffic_lines
from evolver.task import Description
from sandbox.classes import classes_of, classify
from sandbox.cluster import ClusterSpec
from sandbox.contract import DECODE, MIXED, PREFILL
from sandbox.hardware import build_hardware
from sandbox.hidden import seen_through
from sandbox.kernel.program import Program
from sandbox.kernel.state import PS_PER_S
from sandbox.language.kinds import PLANNER_HOOKS
from sandbox.profiles import UnknownProfile, load_gpu, load_profile
from sandbox.replay import default_policy
from sandbox.scenario import Scenario
from sandbox.simulation import build, shares_prefixes
from sandbox.windows import Windows
from telemetry.trace import Trace

PLANNERS = frozenset({"should_reschedule", "schedule"})
MAX_SHAPE_ROWS = 20
OBJECTIVE = (
    "Minimise the geometric mean over windows of the mean end-to-end time in seconds.",
    "A request that is rejected or never finishes counts ten times its unloaded time plus its age; "
    "so does one that was due and never came.",
    "A gain must hold on windows that nobody has seen, against the best human policy: a rule that "
    "fits one window only is worth nothing.",
)


def description_of(problem: Problem, windows: Windows) -> Description:
    """What a run on this problem tells every proposer."""
    cluster = seen_through(problem.cluster)
    training = problem.training(windows)
    return Description(
        title=f"{problem.trace.meta.name} on {cluster.name}",
        objective="\n".join((*OBJECTIVE, *guardrail_lines(cluster), _hooks(problem.hooks))),
        window_lines=(*_load(problem), *traffic_lines(training, windows.training)),
        setting_lines=(
            *_fleet(cluster),
            *_plan(windows.training[0]),
            *_promises(cluster, training),
            *_engines(cluster),
            *door_lines(cluster),
            _periods(cluster, problem.hooks),
            _price(cluster, problem.hooks),
            *_caching(problem),
            *_changes(problem, windows),
            *silent_lines(problem, training),
            *GLOSSARY,
        ),
        regime=problem.regime(windows),
    )


def _load(problem: Problem) -> Iterable[str]:
    if problem.load.load is not None:
        yield (
            f"Arrivals are {percent(problem.load.load)} of what the default policy serves when all "
            f"come at once ({number(problem.load.capacity_rps)} requests/s)."
        )


def _hooks(hooks: frozenset[str]) -> str:
    return f"{HOOKS}, others are refused: {', '.join(sorted(hooks))}."


def _fleet(cluster: ClusterSpec) -> Iterable[str]:
    """Model, pools and the replicas that could be built."""
    hardware = build_hardware(cluster)
    shapes = hardware.shapes
    yield (
        f"Model: {_model(cluster)}, {number(hardware.weight_bytes / 1e9)} GB of weights, "
        f"{number(hardware.kv_bytes / 1e3)} kB of KV a token. Pipeline stages: at most "
        f"{cluster.engine.max_pipeline_parallel_size}."
    )
    heads = ("pool", "GPU", "count", "per node", "zone", "GB", "USD/h", "spot", "may grow to")
    yield from table(heads, (_pool(cluster, index) for index in range(len(cluster.pool))))
    yield "Replicas that can be built (a decode step: base + per sequence; context adds to it):"
    columns = ("pool", "tp", "pp", "gpus", "kv_tokens", "prefill_rate")
    yield from table(
        ("pool", "TP", "PP", "GPUs", "KV tokens", "prefill tokens/s", "base ms", "per seq ms"),
        (
            [*(float(row[name]) for name in columns), 1e3 * row["decode_base"],
             1e3 * row["decode_per_seq"]]
            for row in shapes[:MAX_SHAPE_ROWS]
        ),
    )  # fmt: skip


def _pool(cluster: ClusterSpec, index: int) -> tuple[Cell, ...]:
    spec = cluster.pool[index]
    gpu = load_gpu(spec.gpu)
    price = gpu.price_usd_per_hour if spec.price_usd_per_hour is None else spec.price_usd_per_hour
    size = spec.node_size or gpu.node_gpus
    grows = f"{spec.most} in {number(spec.provision_s)} s" if spec.elastic else "-"
    spot = "yes" if spec.spot else "no"
    return (
        index,
        gpu.name,
        spec.count,
        size,
        spec.zone,
        gpu.memory_bytes / 1e9,
        price,
        spot,
        grows,
    )


def _model(cluster: ClusterSpec) -> str:
    """The model's name as the shipped profiles have it."""
    for spec in cluster.pool:
        for tp in (1, 2, 4, 8):
            try:
                return load_profile(spec.gpu, cluster.model, tp).model
            except UnknownProfile:
                continue
    return "unnamed"


def _promises(cluster: ClusterSpec, training: Trace) -> Iterable[str]:
    """The promises to the classes that occur."""
    heads = (
        "class_id", "TTFT s", "TPOT s", "end to end s", "weight", "deadline s", "held at most s",
        "dropped when late",
    )  # fmt: skip
    ids, _ = classify(training, cluster)
    rows = (
        (float(place), one.slo.ttft_s, one.slo.tpot_s, one.slo.e2e_s, one.weight, one.deadline_s,
         one.max_hold_s, "yes" if one.drop_late else "no")
        for place, one in enumerate(classes_of(cluster), 1) if (ids == place).any()
    )  # fmt: skip
    yield "What is promised to each class of requests:"
    yield from table(heads, rows)


def _plan(scenario: Scenario) -> Iterable[str]:
    """What stands at time 0 when a policy plans nothing itself, by kind of replica."""
    sim = build(scenario.setup, default_policy(), default_policy())
    Program(sim).start()
    plan = sim.plan[0]
    replicas = plan["replicas"][: plan["n_replicas"]]
    kinds = Counter((int(r["pool"]), int(r["tp"]), int(r["pp"]), int(r["role"])) for r in replicas)
    given = "the cluster's own" if scenario.cluster.replica else "made by the default schedule"
    yield f"Plan of the first window at time 0, {given}:"
    roles = {MIXED: "mixed", PREFILL: "prefill", DECODE: "decode"}
    rows = ((pool, tp, pp, roles[role], n) for (pool, tp, pp, role), n in sorted(kinds.items()))
    yield from table(("pool", "TP", "PP", "role", "replicas"), rows)


def _engines(cluster: ClusterSpec) -> Iterable[str]:
    engine, predictor = cluster.engine, cluster.predictor
    overhead_s = float(build_hardware(cluster).shapes["request_overhead"][0]) / PS_PER_S
    yield (
        f"Engines: {engine.max_num_batched_tokens} tokens a step, {engine.max_num_seqs} sequences; "
        f"handling a request takes {number(1e3 * overhead_s)} ms before its engine sees it; "
        f"preempted requests are {'swapped' if engine.preemption == 'swap' else 'computed again'}."
    )
    if predictor.mode == "noisy" and predictor.sigma is not None:
        yield (
            "Output lengths are predicted with a log error of sigma "
            f"{number(predictor.sigma * predictor.error_factor)} and "
            f"{number(predictor.bias)} times the length on average."
        )
    elif predictor.mode == "measured":
        worse = predictor.error_factor
        yield (
            "Output lengths are predicted from the answers that have ended, by class, tenant, "
            "prompt tokens and turn; predicted_output_error is what is known of their error"
            + (f", made {number(worse)} times as large." if worse > 1 else ".")
        )
    elif predictor.mode == "history":
        yield "Output lengths are predicted as the mean of the class so far."
    else:
        yield "Output lengths are not predicted: predicted_output_tokens is NaN."
    yield from _extras(cluster)


def _extras(cluster: ClusterSpec) -> Iterable[str]:
    speculation, finetune, samples = cluster.speculation, cluster.finetune, cluster.samples
    if speculation.max_depth > 0:
        yield (
            f"Speculation: depth {speculation.depth} at first, at most {speculation.max_depth}; a "
            f"drafted token is accepted with {number(speculation.acceptance)}, a draft step takes "
            f"{percent(speculation.draft_share)} of a decode step."
        )
    if finetune is not None:
        yield (
            f"Fine-tuning takes {percent(finetune.share)} of every step at first and "
            f"{percent(finetune.kv_share)} of the KV blocks always."
        )
    if samples is not None:
        yield (
            f"Requests ask for {samples.count} samples, {samples.needed} finished ones end them; "
            f"branches is asked every {samples.check_every_tokens} tokens."
        )


def _periods(cluster: ClusterSpec, hooks: frozenset[str]) -> str:
    tick, router = cluster.tick, cluster.router
    line = (
        f"{router.count} routers see signals {number(router.signal_age_s)} s late. Every "
        f"{number(tick.rekey_s)} s priorities are asked anew, every {number(tick.hold_s)} s held "
        f"requests are routed again, for {number(tick.max_hold_s)} s at most."
    )
    if hooks & PLANNERS:
        line += f" Monitoring points come every {number(tick.monitoring_s)} s."
    if "migrate" in hooks:
        line += f" migrate is asked every {number(tick.migration_s)} s."
    if hooks & {"tune", "prewarm"}:
        line += f" tune is asked every {number(tick.control_s)} s."
    return line


def _price(cluster: ClusterSpec, hooks: frozenset[str]) -> str:
    price = cluster.price
    line = (
        f"A unit of fuel is {number(price.fuel_ns)} ns of scheduling time; what a router spends "
        f"makes its next requests wait. A hook per request may burn {price.decision_fuel:,} units"
    )
    if not hooks & PLANNER_HOOKS:
        return f"{line}."
    planner = price.planner_s * 1e9 / price.fuel_ns
    return (
        f"{line}, {', '.join(sorted(hooks & PLANNER_HOOKS))} {planner:,.0f} "
        f"({number(price.planner_s)} s)."
    )


def _caching(problem: Problem) -> Iterable[str]:
    if shares_prefixes(problem.trace, problem.cluster):
        yield "Engines keep a prefix cache; cached_prefix_tokens says what they have of a prompt."
    else:
        yield "No prefix is shared here: cached_prefix_tokens is 0."


def _changes(problem: Problem, windows: Windows) -> Iterable[str]:
    """What a change of the plan takes and how GPUs come and go; only where plans count."""
    if not problem.hooks & PLANNERS:
        yield "The plan made at the start stays: no GPU comes or goes."
        return
    switch = problem.cluster.switch
    yield (
        f"A new engine boots in {number(switch.start_s)} s and loads its weights (Shape.start_s is "
        f"both); a drained one may finish for {number(switch.drain_s)} s; a change of role takes "
        f"{number(switch.flip_s)} s. A loss is announced {number(switch.grace_s)} s before, "
        f"or known {number(switch.detect_s)} s after where it comes without notice."
    )
    yield capacity_line(problem, windows.training)
    if problem.mode == "backlog":
        yield "Backlog: what came between monitoring points is released when all before is done."
