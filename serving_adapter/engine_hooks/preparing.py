"""Makes a policy ready to decide inside an engine: its engine hooks are loaded and tried out."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sandbox import contract
from sandbox.engine import EngineName
from sandbox.errors import PolicyFault
from serving_adapter.activation import Ready, Rows, missing_rows, new_memory, prepare_policy
from serving_adapter.engine_hooks.hook_caller import HOOKS, HookCaller
from serving_adapter.errors import PolicyUnusable

SMOKE_CALLS = 3  # of each hook on each row, because memory makes a policy different the next time


def prepare_engine_policy(
    source: str,
    parameters: Mapping[str, float] | None = None,
    *,
    engine: EngineName = "auto",
) -> Ready:
    """Verify and load a policy's engine hooks, and ask each about synthetic rows.

    Raises:
        PolicyUnusable: at any of these steps; the message is the first reason.
    """
    ready = prepare_policy(source, parameters, engine=engine, hooks=HOOKS)
    smoke_test(ready)
    return ready


def smoke_test(ready: Ready) -> None:
    """Ask about new and old, small and large requests, on idle and busy engines, signals or none.

    Raises:
        PolicyUnusable: a hook faults, or gives a key that is no number.
    """
    if ready.loaded is None:
        return
    request, instance = missing_rows(contract.Request, 1), missing_rows(contract.Instance, 1)
    caller = HookCaller(ready.loaded, request, instance, new_memory())
    for busy in (False, True):
        _show_engine(instance, busy=busy)
        for tokens in (1, 512, 100_000):
            _show_request(request, tokens, done=tokens // 4 if busy else 0)
            for hook in HOOKS:
                _try(caller, hook)


def _try(caller: HookCaller, hook: str) -> None:
    if not caller.has(hook):
        return
    for _ in range(SMOKE_CALLS):
        try:
            value = caller.call(hook)
        except PolicyFault as fault:
            raise PolicyUnusable(
                f"The policy failed its smoke test in {hook}: {fault.reason}."
            ) from fault
        if not math.isfinite(value):
            raise PolicyUnusable(
                f"The policy's {hook} gave {value} in its smoke test: have it give a number, "
                "is_missing() tells where a signal is none."
            )


def _show_request(row: Rows, tokens: int, *, done: int) -> None:
    row["seed"], row["prompt_tokens"], row["done_tokens"] = 7, tokens, done
    row["now_s"], row["age_s"], row["weight"] = 100.0 + done, float(done), 1.0
    row["online"], row["class_id"], row["branch_count"] = True, 1, 1
    row["keyed_count"] = row["preempted_count"] = done


def _show_engine(row: Rows, *, busy: bool) -> None:
    row["id"] = 0
    counts = ("queued_requests", "running_requests", "decoding_requests", "context_tokens",
              "queued_prompt_tokens", "kv_used_tokens", "prefill_backlog_tokens")  # fmt: skip
    for name in counts:
        row[name] = 0
    row["kv_capacity_tokens"], row["max_num_seqs"], row["token_budget"] = 100_000, 64, 2_048
    if busy:
        row["queued_requests"], row["queued_prompt_tokens"] = 40, 20_000
        row["running_requests"] = row["decoding_requests"] = 64
        row["context_tokens"] = row["kv_used_tokens"] = 100_000
        row["step_time_s"] = row["step_base_s"] = 0.01
        row["prefill_tokens_per_s"], row["step_per_seq_s"] = 20_000.0, 1e-5
        row["step_per_context_s"] = 1e-8
