"""What the gateway shows under `evolver_*`: requests by outcome, latencies, holds, engines."""

from __future__ import annotations

import math

from serving_adapter.emulation.engine_metrics import REQUEST_BUCKETS_S, TTFT_BUCKETS_S
from serving_adapter.exposition import Registry
from serving_adapter.request_log import RequestRecord


class GatewayMetrics:
    """Counters, histograms and gauges of one gateway in its registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._requests = registry.counter(
            "evolver_requests_total", "Requests ended.", ("endpoint", "outcome")
        )
        self._retries = registry.counter(
            "evolver_retries_total", "Attempts after the first, before the first byte."
        )
        self._tokens = registry.counter("evolver_tokens_total", "Tokens passed on.", ("kind",))
        self._ttft_s = registry.histogram(
            "evolver_time_to_first_token_seconds", "From arrival, streams only.", TTFT_BUCKETS_S
        )
        self._e2e_s = registry.histogram(
            "evolver_request_seconds", "From arrival to the end.", REQUEST_BUCKETS_S
        )
        self._active = registry.gauge("evolver_requests_active", "Requests in the gateway.")
        self._held = registry.gauge("evolver_requests_held", "Requests the policy holds.")
        self._open = registry.gauge("evolver_engines_open", "Engines that take requests.")
        self._draining = registry.gauge("evolver_draining", "1 while the gateway drains.")

    def ended(self, record: RequestRecord) -> None:
        """A request has ended."""
        self._requests.inc(record.endpoint, record.outcome)
        self._retries.inc(by=max(0, record.attempts - 1))
        self._tokens.inc("prompt", by=record.prompt_tokens)
        self._tokens.inc("output", by=record.output_tokens)
        self._e2e_s.observe(record.e2e_s)
        if record.stream and not math.isnan(record.ttft_s):
            self._ttft_s.observe(record.ttft_s)

    def render(self, *, active: int, held: int, engines_open: int, draining: bool) -> str:
        """The page, with the gauges as they are now."""
        self._active.set(active)
        self._held.set(held)
        self._open.set(engines_open)
        self._draining.set(draining)
        return self.registry.render()
