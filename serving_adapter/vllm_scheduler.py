"""vLLM's scheduler with the live policy inside, for `--scheduler-cls`.

`PolicyScheduler` is for synchronous, `AsyncPolicyScheduler` for asynchronous scheduling. Before a
step the policy orders the waiting queue and the batch, whose last member vLLM preempts first, says
how many of the queue may come in, and sets the step's token budget; vLLM's own `schedule` does the
rest. Who is not admitted is kept out of its sight for that step. `docs/vllm.md` has the
environment. This is the one module that imports vLLM.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import secrets
import time
from collections import deque

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import SchedulingPolicy
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.request import Request, RequestStatus

from serving_adapter.engine_hooks.engine_view import Columns
from serving_adapter.engine_hooks.hook_metrics import HookMetrics
from serving_adapter.engine_hooks.hooks import EngineHooks
from serving_adapter.engine_hooks.host_thread import HostThread
from serving_adapter.engine_hooks.settings import settings_of
from serving_adapter.engine_hooks.step_times import StepTimes
from serving_adapter.errors import AdapterError, defect
from telemetry.output_lengths import OutputLengths

IDLE_S = 0.001  # between two steps in which nobody runs because nobody is admitted
MAX_IN_FLIGHT = 64
_ANSWERED = (RequestStatus.FINISHED_STOPPED, RequestStatus.FINISHED_LENGTH_CAPPED)

_log = logging.getLogger("evolver.engine")


class VllmView:
    """One vLLM scheduler as an `EngineView`; what vLLM does not know stays missing."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.steps = StepTimes()
        self.lengths = OutputLengths()
        self._of = scheduler
        self._key = secrets.token_bytes(16)
        self._capacity_tokens = _capacity_tokens(scheduler)

    def name_of(self, request: Request) -> str:
        """See `EngineView`."""
        return str(request.request_id)

    def arrived_s(self, request: Request) -> float:
        """See `EngineView`."""
        return float(request.arrival_time)

    def show_request(self, of: Columns, request: Request) -> None:
        """See `EngineView`."""
        said = self.lengths.predict(*_asked(request))
        of["age_s"][0] = max(0.0, time.time() - request.arrival_time)
        of["seed"][0] = hash(request.request_id) & (1 << 61) - 1
        of["prompt_tokens"][0] = request.num_prompt_tokens
        of["predicted_output_tokens"][0] = math.nan if said is None else said.mean_tokens
        of["predicted_output_error"][0] = math.nan if said is None else said.relative_error
        of["done_tokens"][0] = request.num_output_tokens
        of["preempted_count"][0] = request.num_preemptions
        of["class_id"][0] = of["branch_count"][0] = 1
        of["tenant"][0] = of["branch"][0] = of["held_count"][0] = of["moved_count"][0] = 0
        of["weight"][0], of["online"][0] = 1.0, True
        if request.session_id:
            of["session"][0] = self._number(request.session_id)

    def show_instance(self, of: Columns) -> None:
        """See `EngineView`."""
        scheduler, steps = self._of, self.steps
        running, waiting = scheduler.running, scheduler.waiting
        contexts = [request.num_computed_tokens for request in running]
        decoding = sum(not request.is_prefill_chunk for request in running)
        oldest = min((request.arrival_time for request in waiting), default=math.nan)
        of["id"][0] = of["role"][0] = 0
        of["tp"][0] = scheduler.parallel_config.tensor_parallel_size
        of["pp"][0] = scheduler.parallel_config.pipeline_parallel_size
        of["signal_age_s"][0] = 0.0
        of["queued_requests"][0] = len(waiting) + len(scheduler.kv_holding_waiting)
        of["queued_prompt_tokens"][0] = sum(request.num_prompt_tokens for request in waiting)
        of["running_requests"][0], of["decoding_requests"][0] = len(running), decoding
        of["prefill_backlog_tokens"][0] = sum(
            request.num_tokens - request.num_computed_tokens
            for request in running
            if request.is_prefill_chunk
        )
        of["context_tokens"][0] = sum(contexts)
        of["mean_context_tokens"][0] = sum(contexts) / max(len(contexts), 1)
        of["longest_context_tokens"][0] = max(contexts, default=0)
        of["oldest_wait_s"][0] = max(0.0, time.time() - oldest) if waiting else 0.0
        of["kv_capacity_tokens"][0] = self._capacity_tokens
        used = scheduler.kv_cache_manager.usage * self._capacity_tokens
        of["kv_used_tokens"][0] = round(used)
        of["max_num_seqs"][0] = scheduler.max_num_active_reqs
        of["token_budget"][0] = scheduler.max_num_scheduled_tokens
        of["speculation_depth"][0] = scheduler.num_spec_tokens
        of["step_time_s"][0], of["step_base_s"][0] = steps.latest_s, steps.decode_s
        of["step_per_seq_s"][0] = of["step_per_context_s"][0] = 0.0
        of["prefill_tokens_per_s"][0] = steps.prefill_tokens_per_s
        of["decode_tokens_per_s"][0] = decoding / steps.decode_s
        of["draining"][0] = of["starting"][0] = False

    def _number(self, name: str) -> int:
        """A client's name as a number under a key that nobody else has."""
        text = name.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") >> 2


def _asked(request: Request) -> tuple[int, int, int, int, int]:
    """What a length is predicted from; an engine knows neither classes nor tenants nor turns."""
    return 1, 0, request.num_prompt_tokens, 0, request.max_tokens


class PolicyScheduler(Scheduler):  # type: ignore[misc]  # vLLM comes without types
    """vLLM's scheduler under the live policy."""

    running: list[Request]
    max_num_scheduled_tokens: int

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        if self.policy is not SchedulingPolicy.FCFS:
            raise AdapterError(
                "A policy orders the queue itself: leave --scheduling-policy at fcfs."
            )
        settings = settings_of(os.environ, self.parallel_config.data_parallel_index)
        self.policy_host = HostThread(settings)
        self.policy_view = VllmView(self)
        self.policy_metrics = HookMetrics(self.policy_host.registry)
        self.policy_hooks = EngineHooks(
            self.policy_host.host,
            self.policy_view,
            name=settings.name,
            decisions=self.policy_host.decisions,
            metrics=self.policy_metrics,
        )
        self._own_budget = self.max_num_scheduled_tokens
        self._least_budget = min(
            self._own_budget, self.max_num_running_reqs * (1 + self.num_spec_tokens)
        )
        self._in_flight: deque[tuple[float, int, int]] = deque(maxlen=MAX_IN_FLIGHT)
        self._updated_s = 0.0
        self._failed: set[str] = set()
        self.policy_host.start()

    def schedule(self, *args: object, **options: object) -> SchedulerOutput:
        """One step as the live policy wants it."""
        hidden = self._decide()
        try:
            output = super().schedule(*args, **options)
        finally:
            self.waiting.extend(hidden)
        tokens = output.total_num_scheduled_tokens
        if tokens > 0:
            scheduled = (time.perf_counter(), len(output.num_scheduled_tokens), tokens)
            self._in_flight.append(scheduled)
        elif hidden and not self.running:
            time.sleep(IDLE_S)
        return output

    def update_from_output(
        self, scheduler_output: SchedulerOutput, *args: object, **options: object
    ) -> dict[int, EngineCoreOutputs]:
        """See how long the step took."""
        outputs: dict[int, EngineCoreOutputs]
        outputs = super().update_from_output(scheduler_output, *args, **options)
        now_s = time.perf_counter()
        if scheduler_output.total_num_scheduled_tokens > 0 and self._in_flight:
            began_s, requests, tokens = self._in_flight.popleft()
            self.policy_view.steps.add(now_s - max(began_s, self._updated_s), requests, tokens)
        self._updated_s = now_s
        return outputs

    def _free_request(self, request: Request, *args: object, **options: object) -> object:
        """Learn how long answers are."""
        if request.status in _ANSWERED:
            self.policy_view.lengths.learn(*_asked(request), request.num_output_tokens)
        return super()._free_request(request, *args, **options)

    def shutdown(self) -> None:
        """Stop following when the engine stops."""
        self.policy_host.close()
        super().shutdown()

    def _decide(self) -> list[Request]:
        """Have the policy decide this step; who must not be looked at in it."""
        try:
            self.policy_hooks.begin_step()
            self._set_budget()
            self._set_order()
            return self._hide_refused()
        # Whatever goes wrong here, the engine must serve on as if nobody had asked.
        except Exception as error:
            kind = type(error).__name__
            if kind not in self._failed:
                _log.error("a step is scheduled without the policy: %s", defect(error))
            self._failed.add(kind)
            self.policy_metrics.faulted("step", kind)
            return []

    def _set_budget(self) -> None:
        """Never below a token for each that may run, which is vLLM's own lower bound."""
        asked = self.policy_hooks.token_budget()
        budget = self._own_budget
        if asked is not None:
            budget = max(min(asked, self._own_budget), self._least_budget)
        if budget != self.max_num_scheduled_tokens:
            self.max_num_scheduled_tokens = budget
            self.policy_metrics.budget(budget)

    def _set_order(self) -> None:
        """Requests that hold KV while they wait have a queue of their own, which stays as it is."""
        ordered = self.policy_hooks.order(self.waiting, self.running)
        if ordered is not None:
            waiting, self.running = ordered
            self.waiting.clear()
            self.waiting.extend(waiting)

    def _hide_refused(self) -> list[Request]:
        """Take whom the policy does not admit off the queue."""
        waiting = self.waiting
        if not waiting:
            return []
        held = self.num_waiting_for_streaming_input
        seats = self.max_num_active_reqs - len(self.running) - held
        allowed = self.policy_hooks.admitted(
            waiting, seats, len(self.running), self.deferred_waiting
        )
        hidden = [waiting.pop() for _ in range(len(waiting) - allowed)]
        return hidden[::-1]


class AsyncPolicyScheduler(PolicyScheduler, AsyncScheduler):  # type: ignore[misc]  # as above
    """vLLM's asynchronous scheduler under the live policy."""


def _capacity_tokens(scheduler: Scheduler) -> int:
    """Tokens whose KV fits; -1 when vLLM does not say."""
    blocks = scheduler.cache_config.num_gpu_blocks
    return int(blocks) * int(scheduler.block_size) if blocks else -1
