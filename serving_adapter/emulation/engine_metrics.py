"""The metrics of an emulated engine under vLLM's names, labels and histogram buckets.

`old_names` gives those of vLLM before 0.10, which spoke of GPU caches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from serving_adapter.emulation.engine_model import EngineModel, Generation
from serving_adapter.exposition import Counter, Gauge, Histogram, Registry

TTFT_BUCKETS_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
ITL_BUCKETS_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
)  # fmt: skip
REQUEST_BUCKETS_S = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
TOKEN_BUCKETS = (
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000,
)  # fmt: skip

LABELS = ("model_name", "engine")
ENGINE_INDEX = "0"


@dataclass(slots=True)
class EngineMetrics:
    """What `/metrics` of one emulated engine shows; times are on the engine's own clock."""

    model: str
    old_names: bool = False
    registry: Registry = field(default_factory=Registry)
    running: Gauge = field(init=False)
    waiting: Gauge = field(init=False)
    kv_usage: Gauge = field(init=False)
    cache: Gauge = field(init=False)
    prefix_queries: Counter = field(init=False)
    prefix_hits: Counter = field(init=False)
    preemptions: Counter = field(init=False)
    prompt_tokens: Counter = field(init=False)
    generation_tokens: Counter = field(init=False)
    success: Counter = field(init=False)
    ttft_s: Histogram = field(init=False)
    itl_s: Histogram = field(init=False)
    e2e_s: Histogram = field(init=False)
    queue_s: Histogram = field(init=False)
    request_prompt_tokens: Histogram = field(init=False)
    request_generation_tokens: Histogram = field(init=False)

    def __post_init__(self) -> None:
        gauge, counter = self.registry.gauge, self.registry.counter
        self.running = gauge("vllm:num_requests_running", "Requests in the batch.", LABELS)
        self.waiting = gauge("vllm:num_requests_waiting", "Requests in the queue.", LABELS)
        usage = "vllm:gpu_cache_usage_perc" if self.old_names else "vllm:kv_cache_usage_perc"
        self.kv_usage = gauge(usage, "KV blocks in use, 0 to 1.", LABELS)
        self.cache = gauge(
            "vllm:cache_config_info", "KV block layout.", ("block_size", "num_gpu_blocks", "engine")
        )
        self.preemptions = counter("vllm:num_preemptions_total", "Preemptions.", LABELS)
        self.prompt_tokens = counter("vllm:prompt_tokens_total", "Prompt tokens.", LABELS)
        self.generation_tokens = counter("vllm:generation_tokens_total", "Output tokens.", LABELS)
        self.success = counter(
            "vllm:request_success_total", "Ended requests.", (*LABELS, "finished_reason")
        )
        prefix = "vllm:gpu_prefix_cache" if self.old_names else "vllm:prefix_cache"
        self.prefix_queries = counter(f"{prefix}_queries_total", "Prompt tokens asked for.", LABELS)
        self.prefix_hits = counter(f"{prefix}_hits_total", "Prompt tokens found.", LABELS)
        for known in (self.prompt_tokens, self.generation_tokens):  # shown before the first, too
            known.inc(*self._key, by=0)
        self._histograms()

    def _histograms(self) -> None:
        histogram = self.registry.histogram
        self.ttft_s = histogram(
            "vllm:time_to_first_token_seconds", "Time to first token.", TTFT_BUCKETS_S, LABELS
        )
        self.itl_s = histogram(
            "vllm:inter_token_latency_seconds", "Time between tokens.", ITL_BUCKETS_S, LABELS
        )
        self.e2e_s = histogram(
            "vllm:e2e_request_latency_seconds", "Time to last token.", REQUEST_BUCKETS_S, LABELS
        )
        self.queue_s = histogram(
            "vllm:request_queue_time_seconds", "Time in the queue.", REQUEST_BUCKETS_S, LABELS
        )
        self.request_prompt_tokens = histogram(
            "vllm:request_prompt_tokens", "Prompt tokens of a request.", TOKEN_BUCKETS, LABELS
        )
        self.request_generation_tokens = histogram(
            "vllm:request_generation_tokens", "Output tokens of a request.", TOKEN_BUCKETS, LABELS
        )

    @property
    def _key(self) -> tuple[str, str]:
        return self.model, ENGINE_INDEX

    def token(self, generation: Generation, since_previous_s: float) -> None:
        """One token of a generation came out; NaN when it is the first."""
        self.generation_tokens.inc(*self._key)
        if math.isnan(since_previous_s):
            self.prompt_tokens.inc(*self._key, by=generation.prompt_tokens)
            self.ttft_s.observe(generation.first_token_s - generation.arrived_s, *self._key)
            self.queue_s.observe(generation.scheduled_s - generation.arrived_s, *self._key)
        else:
            self.itl_s.observe(since_previous_s, *self._key)

    def ended(self, generation: Generation, reason: str) -> None:
        """A generation ended by `stop`, `length` or `abort`."""
        self.success.inc(*self._key, reason)
        if reason != "abort":
            self.e2e_s.observe(generation.last_token_s - generation.arrived_s, *self._key)
            self.request_prompt_tokens.observe(generation.prompt_tokens, *self._key)
            self.request_generation_tokens.observe(generation.done_tokens, *self._key)

    def render(self, model: EngineModel) -> str:
        """The page, with the gauges read off the engine now."""
        settings = model.settings
        self.running.set(len(model.running), *self._key)
        self.waiting.set(len(model.waiting), *self._key)
        self.kv_usage.set(model.kv_usage, *self._key)
        self.preemptions.values[self._key] = model.preemptions
        self.prefix_queries.values[self._key] = model.cache.queried_tokens
        self.prefix_hits.values[self._key] = model.cache.hit_tokens
        self.cache.only(1, str(settings.block_size), str(settings.kv_blocks), ENGINE_INDEX)
        return self.registry.render()
