"""How long one engine's metrics page takes to read: the project's reader and prometheus_client's.

python benchmarks/bench_scrape.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from serving_adapter.emulation.engine_metrics import EngineMetrics
from telemetry.engine_signals import parse_signals
from telemetry.scrape import read_scrape

ROUNDS = 200


def page() -> str:
    """What an emulated engine shows, with every histogram filled."""
    metrics = EngineMetrics("model")
    lengths = (metrics.request_prompt_tokens, metrics.request_generation_tokens)
    for histogram in (metrics.ttft_s, metrics.itl_s, metrics.e2e_s, metrics.queue_s, *lengths):
        histogram.observe(0.1, "model", "0")
    for gauge in (metrics.running, metrics.waiting, metrics.kv_usage):
        gauge.set(0.5, "model", "0")
    return metrics.registry.render()


def microseconds(call: Callable[[], object]) -> float:
    """Processor time of one call, the least of five runs."""
    times = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(ROUNDS):
            call()
        times.append((time.process_time() - began) / ROUNDS)
    return 1e6 * min(times)


def main() -> None:
    """Print one line a reader."""
    text = page()
    samples = sum(not line.startswith("#") for line in text.splitlines())
    print(f"one page: {len(text):,} characters, {samples} samples")
    print(f"signals (gateways)           {microseconds(lambda: parse_signals(text)):8.0f} us")
    print(f"signals and histograms       {microseconds(lambda: read_scrape(0.0, text)):8.0f} us")
    whole = microseconds(lambda: [list(f.samples) for f in text_string_to_metric_families(text)])
    print(f"prometheus_client's parser   {whole:8.0f} us")


if __name__ == "__main__":
    main()
