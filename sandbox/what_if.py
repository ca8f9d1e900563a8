"""What if: a made-up fleet and one request, whom a policy would pick, and how that changes.

`Case` is what a person sets; what they do not set is filled in as an engine with that load would
show it. `what_if_worker` asks policies about it, in locked-down processes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from sandbox import contract
from sandbox.errors import SandboxError
from sandbox.frame import Rows
from sandbox.records import new_rows

FEWEST_INSTANCES, MOST_INSTANCES = 2, 8
STEPS = 30  # of a sweep
TYPICAL_PROMPT_TOKENS, TYPICAL_OUTPUT_TOKENS = 1000.0, 200.0  # of those that wait or run
LENGTH_ERROR = 0.5  # relative, of a predicted length
BLOCK_TOKENS = 16
MAX_NUM_SEQS, TOKEN_BUDGET = 256, 8192
TTFT_SLO_S, TPOT_SLO_S, E2E_SLO_S = 2.0, 0.1, 30.0
NOW_S = 1000.0


class CaseRefused(SandboxError):
    """A case out of its bounds."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a number of a case may be; `step` is how finely people set it."""

    low: float
    high: float
    usual: float
    step: float = 1.0
    unit: str = ""

    def holds(self, value: float) -> bool:
        """Whether a value is within."""
        return math.isfinite(value) and self.low <= value <= self.high


class Signal(StrEnum):
    """What can be set of an instance."""

    QUEUED = "queued_requests"
    RUNNING = "running_requests"
    KV_USE = "kv_use"
    PREFIX_HIT = "prefix_hit"
    PREFILL = "prefill_tokens_per_s"
    DECODE = "decode_tokens_per_s"
    KV_CAPACITY = "kv_capacity_tokens"


SIGNALS = {
    Signal.QUEUED: Bound(0, 100, 2),
    Signal.RUNNING: Bound(0, 200, 16),
    Signal.KV_USE: Bound(0.0, 1.0, 0.4, 0.01, "of its KV cache"),
    Signal.PREFIX_HIT: Bound(0.0, 1.0, 0.0, 0.01, "of this prompt"),
    Signal.PREFILL: Bound(100, 100_000, 12_000, 100, "tokens/s"),
    Signal.DECODE: Bound(10, 50_000, 1500, 10, "tokens/s, whole batch"),
    Signal.KV_CAPACITY: Bound(10_000, 10_000_000, 400_000, 10_000, "tokens"),
}
ASKED = {
    "prompt_tokens": Bound(1, 200_000, 2000),
    "predicted_output_tokens": Bound(1, 50_000, 200),
    "class_id": Bound(1, contract.MAX_CLASSES - 1, 1),
    "age_s": Bound(0.0, 600.0, 0.0, 0.1, "s"),
}


@dataclass(frozen=True, slots=True)
class InstanceCase:
    """One instance as a person sets it; shares are 0 .. 1."""

    queued_requests: float = SIGNALS[Signal.QUEUED].usual
    running_requests: float = SIGNALS[Signal.RUNNING].usual
    kv_use: float = SIGNALS[Signal.KV_USE].usual
    prefix_hit: float = SIGNALS[Signal.PREFIX_HIT].usual
    prefill_tokens_per_s: float = SIGNALS[Signal.PREFILL].usual
    decode_tokens_per_s: float = SIGNALS[Signal.DECODE].usual
    kv_capacity_tokens: float = SIGNALS[Signal.KV_CAPACITY].usual


@dataclass(frozen=True, slots=True)
class Case:
    """A request and the instances it may go to.

    Raises:
        CaseRefused: a number or the number of instances is out of its bounds.
    """

    instances: tuple[InstanceCase, ...]
    prompt_tokens: float = ASKED["prompt_tokens"].usual
    predicted_output_tokens: float = ASKED["predicted_output_tokens"].usual
    class_id: float = ASKED["class_id"].usual
    age_s: float = ASKED["age_s"].usual

    def __post_init__(self) -> None:
        if not FEWEST_INSTANCES <= len(self.instances) <= MOST_INSTANCES:
            raise CaseRefused(
                f"Give {FEWEST_INSTANCES} to {MOST_INSTANCES} instances, not {len(self.instances)}."
            )
        told = [(name, bound, getattr(self, name)) for name, bound in ASKED.items()]
        told += [
            (signal.value, bound, getattr(one, signal))
            for one in self.instances
            for signal, bound in SIGNALS.items()
        ]
        for name, bound, value in told:
            if not bound.holds(value):
                raise CaseRefused(f"Give {name} from {bound.low:g} to {bound.high:g}.")

    def request_row(self) -> Rows:
        """The request as a policy sees it."""
        rows = new_rows(contract.Request, 1)
        row = rows[0]
        row["now_s"], row["age_s"], row["seed"] = NOW_S, self.age_s, 1
        row["prompt_tokens"] = int(self.prompt_tokens)
        row["predicted_output_tokens"] = self.predicted_output_tokens
        row["predicted_output_error"] = LENGTH_ERROR
        row["class_id"], row["weight"], row["online"] = int(self.class_id), 1.0, True
        row["ttft_slo_s"], row["tpot_slo_s"] = TTFT_SLO_S, TPOT_SLO_S
        row["e2e_slo_s"], row["deadline_s"] = E2E_SLO_S, E2E_SLO_S - self.age_s
        for name in ("session", "last_instance", "prefix_key", "workflow"):
            row[name] = -1
        for name in ("workflow_remaining_s", "workflow_horizon_s"):
            row[name] = np.nan
        row["branch_count"] = 1
        row["held_count"] = int(self.age_s > 0.0)
        return rows

    def instance_rows(self) -> Rows:
        """The instances as a policy sees them; ids are 0, 1, ..."""
        rows = new_rows(contract.Instance, len(self.instances))
        for number, one in enumerate(self.instances):
            _fill(rows[number], number, one, self)
        rows["share"] = 1.0 / len(rows)
        return rows


def _fill(row: np.void, number: int, one: InstanceCase, case: Case) -> None:
    queued, running = int(one.queued_requests), int(one.running_requests)
    capacity, used = int(one.kv_capacity_tokens), int(one.kv_use * one.kv_capacity_tokens)
    step_s = max(running, 1) / one.decode_tokens_per_s
    row["id"] = row["node"] = number
    row["tp"] = row["pp"] = 1
    row["length_high_tokens"] = 2**31
    row["queued_requests"] = queued
    row["queued_prompt_tokens"] = int(queued * TYPICAL_PROMPT_TOKENS)
    row["running_requests"] = row["decoding_requests"] = running
    row["context_tokens"] = used if running else 0
    row["mean_context_tokens"] = used / max(running, 1) if running else 0.0
    row["longest_context_tokens"] = min(2 * used // max(running, 1), used) if running else 0
    remaining = queued * TYPICAL_OUTPUT_TOKENS + running * TYPICAL_OUTPUT_TOKENS / 2
    row["predicted_remaining_tokens"] = remaining
    row["oldest_wait_s"] = queued * TYPICAL_PROMPT_TOKENS / one.prefill_tokens_per_s
    row["kv_used_tokens"], row["kv_capacity_tokens"] = used, capacity
    row["kv_predicted_tokens"] = used + remaining
    row["max_num_seqs"], row["token_budget"] = MAX_NUM_SEQS, TOKEN_BUDGET
    row["step_time_s"] = step_s
    row["prefill_tokens_per_s"] = one.prefill_tokens_per_s
    row["decode_tokens_per_s"] = one.decode_tokens_per_s
    row["step_base_s"], row["step_per_seq_s"] = 0.7 * step_s, 0.3 * step_s / max(running, 1)
    cached = int(one.prefix_hit * case.prompt_tokens) // BLOCK_TOKENS * BLOCK_TOKENS
    row["cached_prefix_tokens"] = cached
    row["tenant_count"] = int(queued + running > 0)
    for name in ("handoff_s", "grace_s", "acceptance"):
        row[name] = np.nan
    row["tpot_slo_s"] = TPOT_SLO_S if running else np.nan
    row["knob_token_budget"] = row["knob_speculation"] = -1
    row["knob_offline_share"] = row["knob_finetune_share"] = np.nan


@dataclass(frozen=True, slots=True)
class Sweep:
    """One signal of one instance that moves from the low to the high end of its bounds."""

    signal: Signal
    instance: int = 0

    def values(self) -> tuple[float, ...]:
        """`STEPS` of them; counts are whole."""
        bound = SIGNALS[self.signal]
        whole = bound.step >= 1.0
        found = np.linspace(bound.low, bound.high, STEPS)
        return tuple(float(round(x)) if whole else float(x) for x in found)

    def cases(self, case: Case) -> tuple[Case, ...]:
        """The case at each of the values.

        Raises:
            CaseRefused: there is no such instance.
        """
        if not 0 <= self.instance < len(case.instances):
            raise CaseRefused("Choose an instance that there is.")
        return tuple(self._at(case, value) for value in self.values())

    def _at(self, case: Case, value: float) -> Case:
        changed = replace(case.instances[self.instance], **{self.signal.value: value})
        before, after = case.instances[: self.instance], case.instances[self.instance + 1 :]
        return replace(case, instances=(*before, changed, *after))
