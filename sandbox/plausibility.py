"""Can this outcome be true? Checks of what another process reported against what we know ourselves.

The trace and the cluster file say who enters when, what a request needs at the very least on the
fastest replica, and what GPUs cost; an outcome must agree with all of it, and its counters with
its arrays. The bounds hold for every feature of the simulator: caching may save a prompt but for
its last step, speculation and tuning are in the tables, a preempted request may get a token from
the step that computes its KV again. So an honest outcome always passes; a dishonest one can claim
no more than a fleet on which nobody waits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.classes import classify, promises
from sandbox.frame import FAULTS
from sandbox.hardware import Hardware
from sandbox.kernel.calls import HOOKS, INVALID_DECISION
from sandbox.kernel.readers import SLOWEST_PACE_S
from sandbox.kernel.state import ENDED, FINISHED, NEVER, PS_PER_S, REJECTED, WAITING_ARRIVAL
from sandbox.samples import has_samples
from sandbox.simulation import Outcome, Setup, latest_end_s, shares_prefixes
from sandbox.switching import most_engines
from sandbox.workflows import graph_of, has_workflows

Ints = NDArray[np.int64]
_ROUNDING = 1e-6  # of integrals that are sums of floats
_FLOORED = 1.0 - 1e-9  # of bounds that are reckoned in floats
_FLOATS = ("gpu_ps", "loading_ps", "blocked_ps", "price_usd", "drain_ps", "kv_moved", "finetune_ps")
_COUNTS = (
    "planning_ps", "deciding_ps", "decisions", "fuel", "plans", "reconfigurations", "faults",
    "preemptions", "swaps", "migrations", "transfers", "transfer_ps", "cached_tokens",
    "prompt_tokens", "flips", "failures", "recomputed", "integrated", "prewarmed_tokens",
)  # fmt: skip


class ImplausibleOutcome(ValueError):
    """An outcome that the simulation asked for cannot have."""


def check_outcome(outcome: Outcome, setup: Setup, hardware: Hardware) -> None:
    """Hold an outcome against trace and cluster.

    Raises:
        ImplausibleOutcome: something in it cannot be.
    """
    ended = _check_states(outcome, most_engines(hardware.pools, hardware.shapes))
    _check_entries(outcome, setup, ended)
    _check_times(outcome, least_times(setup, hardware, outcome))
    _check_totals(outcome, setup, hardware)
    _check_samples(outcome)
    _check_readers(outcome, setup)


def _require(holds: bool | np.bool_, else_: str) -> None:
    if not holds:
        raise ImplausibleOutcome(else_)


def _check_states(outcome: Outcome, engines: int) -> NDArray[np.bool_]:
    """Every request is somewhere, and ends at most once; which ones ended."""
    for times in (outcome.entered, outcome.first, outcome.finish):
        _require(((times >= -1) & (times < NEVER)).all(), "a time out of range")
    state, came = outcome.state, outcome.entered >= 0
    ended: NDArray[np.bool_] = (state == FINISHED) | (state == REJECTED)
    _require(((state >= 0) & (state <= ENDED)).all(), "a state that there is not")
    _require(((state == WAITING_ARRIVAL) == ~came).all(), "a state before entering")
    _require(((outcome.finish >= 0) == ended).all(), "an end that is none")
    served = (outcome.engine >= 0) | (state != FINISHED)
    known = (outcome.engine >= -1) & (outcome.engine < engines)
    _require((served & known).all(), "an engine that there is not")
    for counted in (outcome.preempted, outcome.held, outcome.moved):
        _require((counted >= 0).all(), "a count below zero")
    return ended


def _check_entries(outcome: Outcome, setup: Setup, ended: NDArray[np.bool_]) -> None:
    """Who comes when: at the time of the trace, or a think time after all parents' ends."""
    trace, is_open = setup.trace, setup.mode == "open"
    stop = round(latest_end_s(setup) * PS_PER_S)
    due = np.round(trace.arrival_s * PS_PER_S).astype(np.int64)
    waits = trace.after >= 0
    if has_workflows(trace):
        parents, children = graph_of(trace).below(np.arange(len(trace)))
        last = np.full(len(trace), -1, np.int64)
        np.maximum.at(last, children, np.where(ended, outcome.finish, NEVER)[parents])
        think = np.round(trace.think_s * PS_PER_S).astype(np.int64) * is_open
        due = np.where(waits, last + think, due)
    came = np.where(due <= stop, due, -1)
    if is_open:
        _require((outcome.entered == came).all(), "a request that came at another time")
        return
    _require((outcome.entered[waits] == came[waits]).all(), "a call that came at another time")


@dataclass(frozen=True, slots=True, eq=False)
class LeastTimes:
    """Picoseconds that each request needs at the very least, whatever the policy.

    Attributes:
        first: from entering to the first token; rest: from there to the last.
    """

    first: Ints
    rest: Ints


def least_times(setup: Setup, hardware: Hardware, outcome: Outcome) -> LeastTimes:
    """Bounds from the step tables of all shapes of replica.

    A first token needs its router, then every uncached prompt token at the best rate of any chunk,
    and one prompt step at least. Each further token needs a step, and one of a decode step the
    reading of its own context.
    """
    trace, shapes = setup.trace, hardware.shapes
    overhead = shapes["step_overhead"][:, None]
    prompts = hardware.step_tokens[:, 1:]
    prompt_step = int((overhead + prompts + hardware.step_mixed.min(1)[:, None]).min())
    sizes = np.arange(1, prompts.shape[1] + 1)
    ps_a_token = float((prompts / sizes / shapes["pp"][:, None]).min())
    least = np.full(len(trace), float(prompt_step))
    if not shares_prefixes(trace, setup.cluster):
        least = np.maximum(least, trace.prompt_tokens * ps_a_token * _FLOORED)
    first = least.astype(np.int64) + int(shapes["request_overhead"].min())
    if has_samples(setup.cluster):  # other samples than the recorded one may end it
        return LeastTimes(first, np.zeros(len(trace), np.int64))
    return LeastTimes(first, _rest(setup, hardware, outcome, prompt_step))


def _rest(setup: Setup, hardware: Hardware, outcome: Outcome, prompt_step: int) -> Ints:
    steps = setup.trace.output_tokens.astype(np.float64) - 1.0
    plain = (hardware.shapes["step_overhead"][:, None] + hardware.step_batch[:, 1:]).min()
    speculating = hardware.spec_batch[:, 1:].min(initial=NEVER)
    slope = float(
        min(hardware.step_context[:, 1:].min(), hardware.spec_context[:, 1:].min(initial=NEVER))
    )
    reading = np.maximum(steps - outcome.preempted - outcome.moved, 0.0)
    context = reading * setup.trace.prompt_tokens + 0.5 * reading * (reading + 1.0)
    base = float(min(plain, speculating, prompt_step))
    return ((steps * base + slope * context) * _FLOORED).astype(np.int64)


def _check_times(outcome: Outcome, least: LeastTimes) -> None:
    done, told = outcome.state == FINISHED, outcome.first >= 0
    began = outcome.first >= outcome.entered + least.first
    _require((began | ~told).all(), "a first token sooner than any engine computes it")
    _require((told | ~done).all(), "a request that finished without a token")
    lasted = outcome.finish >= outcome.first + least.rest
    _require((lasted | ~done).all(), "a last token sooner than any engine computes it")
    refused = outcome.state == REJECTED
    _require((outcome.finish >= outcome.entered)[refused].all(), "an end before the entry")
    latest = max(int(x.max(initial=-1)) for x in (outcome.entered, outcome.first, outcome.finish))
    _require(latest <= int(outcome.totals["integrated"]), "a time after the end")


def _check_totals(outcome: Outcome, setup: Setup, hardware: Hardware) -> None:
    """Counters agree with the arrays, and integrals with the clock."""
    totals, state = outcome.totals, outcome.state
    floats = [float(totals[name]) for name in _FLOATS] + [float(x) for x in totals["phase_ps"]]
    _require(all(0.0 <= value < np.inf for value in floats), "an integral that is none")
    counts = [int(totals[name]) for name in _COUNTS] + [int(x) for x in totals["starts"]]
    _require(all(0 <= value < NEVER for value in counts), "a counter out of range")
    for name, number in (("finished", FINISHED), ("rejected", REJECTED)):
        _require(int(totals[name]) == int((state == number).sum()), f"another count of {name}")
    if not has_samples(setup.cluster):
        _require(int(totals["preemptions"]) == int(outcome.preempted.sum()), "other preemptions")
    _require(int(totals["cached_tokens"]) <= int(totals["prompt_tokens"]), "too much cached")
    if int(totals["faults"]) > 0:
        kind, hook = int(totals["first_fault"]), int(totals["fault_hook"])
        known = (kind in FAULTS or kind == INVALID_DECISION) and 0 <= hook < len(HOOKS)
        _require(known, "a fault that there is not")
    _check_clock(outcome, setup, hardware)


def _check_clock(outcome: Outcome, setup: Setup, hardware: Hardware) -> None:
    """The end of the run, and what the GPUs of that time are and cost."""
    totals, more = outcome.totals, 1.0 + _ROUNDING
    stop, end = round(latest_end_s(setup) * PS_PER_S), int(totals["integrated"])
    left = (outcome.state != FINISHED) & (outcome.state != REJECTED)
    _require(end <= stop, "a run beyond its end")
    _require(end == stop or not (left & (outcome.entered >= 0)).any(), "a run cut short")
    gpu_ps = float(totals["gpu_ps"])
    parts = float(totals["loading_ps"]) + float(totals["blocked_ps"])
    _require(parts <= gpu_ps * more, "more GPU time lost than there was")
    most = np.array([pool.most for pool in setup.cluster.pool], np.float64)
    price = float((hardware.pools["price"] * most).sum()) * end / PS_PER_S / 3600.0
    _require(gpu_ps <= float(most.sum()) * end * more, "more GPUs than there are")
    _require(float(totals["price_usd"]) <= price * more, "a price that nobody asks")
    if setup.capacity is None and not any(pool.elastic for pool in setup.cluster.pool):
        _require(gpu_ps * more >= float(most.sum()) * end, "fewer GPUs than there are")
        _require(float(totals["price_usd"]) * more >= price, "a price that nobody asks")


def _check_readers(outcome: Outcome, setup: Setup) -> None:
    """No reader is further behind than the last token is late, nor less than both ends say."""
    done = outcome.state == FINISHED
    pace = promises(setup.cluster, classify(setup.trace, setup.cluster)[0])["tpot_s"]
    followed = done & (pace <= SLOWEST_PACE_S)
    _require(((outcome.behind >= 0) == followed).all(), "a reader who is not followed")
    lasted, began = outcome.finish - outcome.entered, outcome.first - outcome.entered
    _require((outcome.behind <= lasted)[followed].all(), "a reader who waits for nothing")
    _require((outcome.behind >= began)[followed].all(), "a reader before the first token")
    if not has_samples(setup.cluster):  # other samples than the recorded one may be the answer
        step = np.round(np.where(followed, pace, 0.0) * PS_PER_S).astype(np.int64)
        least = lasted - step * (setup.trace.output_tokens - 1)
        _require((outcome.behind >= least)[followed].all(), "a reader before the last token")


def _check_samples(outcome: Outcome) -> None:
    numbers = dict(outcome.samples)
    quality = numbers.pop("answer_quality", 0.0)
    _require(0.0 <= quality <= 1.0 or np.isnan(quality), "a quality out of range")
    _require(all(0.0 <= x < NEVER for x in numbers.values()), "a number of samples that is none")
    finished, started = numbers.get("samples_finished", 0.0), numbers.get("samples_started", 0.0)
    _require(finished <= started, "more samples finished than started")
