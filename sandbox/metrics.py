"""What a run was worth: latencies, goodput, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sandbox.class_metrics import Served, by_class, tenant_fairness
from sandbox.classes import classify, promises
from sandbox.hardware import Hardware
from sandbox.kernel.state import FINISHED, PS_PER_S, REJECTED
from sandbox.phases import phase_means
from sandbox.simulation import Outcome, Setup
from sandbox.switching import switch_numbers
from sandbox.token_deadlines import idle_s, reader_numbers
from sandbox.watched import Watch, watched
from sandbox.workflows import due_s, has_workflows, unloaded_s, workflow_times
from telemetry.trace import Trace

PENALTY = 10.0  # a request that never ends counts this many unloaded times, plus its age
_QUANTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Measurements of one policy on one trace; seconds unless the name says otherwise.

    Attributes:
        latencies: ttft_s, tpot_s, e2e_s of finished requests, each with mean, p50, p95, p99; and,
            if the trace has workflows, workflow_s, first entry to last finish, of finished ones.
        numbers: everything else, by the names that replay prints.
        objective_s: mean end-to-end time where a rejected or unfinished request counts ten times
            its unloaded time plus its age, and so does one that was due and never came.
        classes: numbers of each class by name, when there is more than one.
        watched: what guardrails look at, see `sandbox.watched`, and how the warm-up's requests
            fared: no part of the objective, and nobody shall pay with them; only in `flat`.
    """

    latencies: Mapping[str, Mapping[str, float]]
    numbers: Mapping[str, float]
    objective_s: float
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    watched: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Names and numbers; NaN becomes None."""
        nested = {name: _clean(values) for name, values in self.latencies.items()}
        classes = {name: _clean(values) for name, values in self.classes.items()}
        objective = {"objective_s": _number(self.objective_s)}
        return {**nested, **_clean(self.numbers), **objective, "classes": classes}

    def flat(self) -> dict[str, float]:
        """One level, `ttft_p99_s` style."""
        flat = {**self.numbers, **self.watched}
        for name, values in self.latencies.items():
            stem = name.removesuffix("_s")
            flat.update({f"{stem}_{kind}_s": value for kind, value in values.items()})
        return flat


def measure(outcome: Outcome, setup: Setup, hardware: Hardware, warmup_s: float = 0.0) -> Metrics:
    """Metrics of the requests that entered at or after `warmup_s`.

    Where the time went, prices and counters of the fleet (preemptions, reconfigurations, fuel,
    faults) are of the whole run, its warm-up included. The TPOT of a one-token answer is 0.
    """
    trace = setup.trace
    entered = outcome.entered >= 0
    since = round(warmup_s * PS_PER_S)
    mine = (outcome.entered >= since) & entered
    done = mine & (outcome.state == FINISHED)
    ttft = (outcome.first - outcome.entered)[done] / PS_PER_S
    e2e = (outcome.finish - outcome.entered)[done] / PS_PER_S
    steps = np.maximum(trace.output_tokens[done] - 1, 1)
    tpot = ((outcome.finish - outcome.first)[done] / PS_PER_S) / steps
    alone_s = unloaded_s(trace, hardware)
    due = _never_came(outcome, setup, alone_s, warmup_s)
    ids, online = classify(trace, setup.cluster)
    promised = promises(setup.cluster, ids)
    kept = _kept(promised, done, ttft, tpot, e2e)
    idle = idle_s(outcome, trace, promised, done)
    served = Served(mine | ~np.isnan(due), done, ttft, tpot, e2e, kept, idle)
    observed_s = _observed_s(outcome, setup, mine, warmup_s)
    whole, began = workflow_times(
        trace, outcome.entered, outcome.finish, outcome.state == FINISHED, since
    )
    latencies = {"ttft_s": _spread(ttft), "tpot_s": _spread(tpot), "e2e_s": _spread(e2e)}
    if has_workflows(trace):
        latencies["workflow_s"] = _spread(whole)
    numbers = {
        "goodput_rps": float(served.kept.sum()) / observed_s,
        "slo_attainment": float(served.kept.sum()) / max(int(served.asked.sum()), 1),
        **reader_numbers(outcome, setup, promised, served, due, observed_s),
        "workflows": float(began),
        "workflows_finished": float(len(whole)),
        "never_came": float((~np.isnan(due)).sum()),
        "throughput_tokens_per_s": float(trace.output_tokens[done].sum()) / _span_s(outcome, mine),
        **_time_split(outcome),
        **switch_numbers(outcome.totals),
        **_counts(outcome, trace, mine, done),
        **phase_means(trace, hardware, done, ttft, e2e, outcome.preempted),
    }
    numbers |= outcome.samples
    if np.isfinite(promised["deadline_s"]).any():
        numbers["deadline_attainment"] = served.attainment(promised["deadline_s"])
    if len(trace.tenants) > 1:
        numbers["tenant_fairness"] = tenant_fairness(served, trace, alone_s)
    classes = by_class(served, setup.cluster, ids, promised["deadline_s"])
    charged = _charged(outcome, alone_s, due, mine, done)
    watch = Watch(charged, alone_s, ids, online, promised, done)
    objective = _objective(charged, mine, done)
    seen = {**watched(watch, outcome, trace), **_early(outcome, alone_s, entered & ~mine, online)}
    return Metrics(latencies, numbers, objective, classes, seen)


def objective_s(outcome: Outcome, setup: Setup, hardware: Hardware, warmup_s: float = 0.0) -> float:
    """The objective alone, at a fraction of what `measure` takes; NaN where nothing counts."""
    mine = (outcome.entered >= round(warmup_s * PS_PER_S)) & (outcome.entered >= 0)
    charged = charged_s(outcome, setup, hardware, warmup_s)
    return _objective(charged, mine, mine & (outcome.state == FINISHED))


def charged_s(outcome: Outcome, setup: Setup, hardware: Hardware, warmup_s: float = 0.0) -> Floats:
    """Seconds that the objective charges each request, NaN for those that do not count."""
    entered = outcome.entered >= 0
    mine = (outcome.entered >= round(warmup_s * PS_PER_S)) & entered
    alone_s = unloaded_s(setup.trace, hardware)
    due = _never_came(outcome, setup, alone_s, warmup_s)
    return _charged(outcome, alone_s, due, mine, mine & (outcome.state == FINISHED))


def _spread(values: Floats) -> dict[str, float]:
    if len(values) == 0:
        return dict.fromkeys(("mean", *_QUANTILES), float("nan"))
    quantiles = np.percentile(values, list(_QUANTILES.values()))
    return {
        "mean": float(values.mean()),
        **dict(zip(_QUANTILES, map(float, quantiles), strict=True)),
    }


def _kept(
    promised: dict[str, Floats], done: NDArray[np.bool_], ttft: Floats, tpot: Floats, e2e: Floats
) -> NDArray[np.bool_]:
    """Which of the finished requests got all that their class was promised."""
    return (
        (ttft <= promised["ttft_s"][done])
        & (tpot <= promised["tpot_s"][done])
        & (e2e <= promised["e2e_s"][done])
    )


def _observed_s(outcome: Outcome, setup: Setup, mine: NDArray[np.bool_], warmup_s: float) -> float:
    """What goodput is taken over: the window that was offered, whatever a policy made of it.

    Were it to end with the last request, dropping a slow one would raise the goodput of the rest.
    In backlog mode nothing is offered at a time of its own, so it is the makespan there.
    """
    if setup.mode == "backlog":
        return _span_s(outcome, mine)
    return max(setup.trace.span_s - warmup_s, 1e-6)


def _span_s(outcome: Outcome, mine: NDArray[np.bool_]) -> float:
    """From the first arrival to the last end, at least a microsecond."""
    if not mine.any():
        return 1e-6
    last = max(int(outcome.finish[mine].max()), int(outcome.entered[mine].max()))
    return max((last - int(outcome.entered[mine].min())) / PS_PER_S, 1e-6)


def _time_split(outcome: Outcome) -> dict[str, float]:
    """The makespan, split exclusively by GPU time.

    Reconfiguring: GPUs that load an engine. Scheduling: GPUs that idle while a plan is computed.
    Serving: all else. `planning_s` overlaps serving and is not part of the sum.
    """
    totals = outcome.totals
    total_s = float(totals["integrated"]) / PS_PER_S
    gpu_ps = max(float(totals["gpu_ps"]), 1.0)
    loading = total_s * float(totals["loading_ps"]) / gpu_ps
    blocked = total_s * float(totals["blocked_ps"]) / gpu_ps
    return {
        "scheduling_s": blocked,
        "reconfiguration_s": loading,
        "serving_s": total_s - loading - blocked,
        "total_s": total_s,
        "planning_s": float(totals["planning_ps"]) / PS_PER_S,
        "decision_s": float(totals["deciding_ps"]) / PS_PER_S,
        "gpu_hours": float(totals["gpu_ps"]) / PS_PER_S / 3600.0,
        "price_usd": float(totals["price_usd"]),
    }


def _counts(
    outcome: Outcome, trace: Trace, mine: NDArray[np.bool_], done: NDArray[np.bool_]
) -> dict[str, float]:
    totals = outcome.totals
    rejected = int((mine & (outcome.state == REJECTED)).sum())
    asked = max(int(totals["prompt_tokens"]), 1)
    return {
        "requests": float(mine.sum()),
        "finished": float(done.sum()),
        "rejected": float(rejected),
        "unfinished": float(int(mine.sum()) - int(done.sum()) - rejected),
        "not_arrived": float(len(trace) - int((outcome.entered >= 0).sum())),
        "preemptions": float(totals["preemptions"]),
        "swaps": float(totals["swaps"]),
        "finetune_gpu_hours": float(totals["finetune_ps"]) / PS_PER_S / 3600.0,
        "migrations": float(totals["migrations"]),
        "kv_moved_bytes": float(totals["kv_moved"]),
        "transfer_s": float(totals["transfer_ps"]) / PS_PER_S / max(int(totals["transfers"]), 1),
        "reconfigurations": float(totals["reconfigurations"]),
        "plans": float(totals["plans"]),
        "prewarmed_tokens": float(totals["prewarmed_tokens"]),
        "cached_share": float(totals["cached_tokens"]) / asked,
        "busiest_share": _busiest_share(outcome, done),
        "fuel_per_decision": float(totals["fuel"]) / max(int(totals["decisions"]), 1),
        "faults": float(totals["faults"]),
    }


def _busiest_share(outcome: Outcome, done: NDArray[np.bool_]) -> float:
    """Share of finished requests that the busiest engine served."""
    engines = outcome.engine[done]
    if len(engines) == 0:
        return float("nan")
    return float(np.bincount(engines).max()) / len(engines)


def _charged(
    outcome: Outcome, alone_s: Floats, due: Floats, mine: NDArray[np.bool_], done: NDArray[np.bool_]
) -> Floats:
    """Seconds that each request counts, NaN for those that do not; see `Metrics.objective_s`."""
    end = int(outcome.totals["integrated"])
    lost, late = mine & ~done, ~np.isnan(due)
    charged = np.full(len(due), np.nan)
    charged[done] = (outcome.finish - outcome.entered)[done] / PS_PER_S
    age = (end - outcome.entered[lost]) / PS_PER_S
    charged[lost] = PENALTY * alone_s[lost] + np.maximum(age, 0.0)
    charged[late] = PENALTY * alone_s[late] + end / PS_PER_S - due[late]
    return charged


def _objective(charged: Floats, mine: NDArray[np.bool_], done: NDArray[np.bool_]) -> float:
    """Mean over what entered and what should have; see `_never_came` for the latter."""
    late = ~np.isnan(charged) & ~mine
    counted = int(mine.sum()) + int(late.sum())
    if counted == 0:
        return float("nan")
    parts = (charged[done].sum(), charged[mine & ~done].sum(), charged[late].sum())
    return float((parts[0] + parts[1] + parts[2]) / counted)


def _early(
    outcome: Outcome, alone_s: Floats, early: NDArray[np.bool_], online: NDArray[np.bool_]
) -> dict[str, float]:
    """Requests of the warm-up that were lost, and the online ones as a group like a class."""
    done = early & (outcome.state == FINISHED)
    charged = _charged(outcome, alone_s, np.full(len(early), np.nan), early, done)
    group = early & online
    return {
        "lost_early": float((early & ~done).sum()),
        "requests_warmup": float(group.sum()),
        "charged_warmup_s": float(charged[group].sum()),
        "alone_warmup_s": float(alone_s[group].sum()),
    }


def _never_came(outcome: Outcome, setup: Setup, alone_s: Floats, warmup_s: float) -> Floats:
    """When requests that never entered were due, NaN for those that need not have come.

    A call is due when it would have come had every call before it run alone. If that is before the
    end of the run and it did not come, those before it were held up, and leaving it out would
    reward the policy that did so: it counts as lost since it was due (or since the warm-up). In
    backlog mode nothing waits for think times.
    """
    due = np.full(len(setup.trace), np.nan)
    absent = outcome.entered < 0
    if absent.any():
        think = setup.trace.think_s * (setup.mode == "open")
        when = due_s(setup.trace, alone_s, think)
        late = absent & (when < int(outcome.totals["integrated"]) / PS_PER_S)
        due[late] = np.maximum(when[late], warmup_s)
    return due


def _clean(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
