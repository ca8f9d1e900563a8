"""Runs Dynamo's offline replay; executed by the peer's interpreter, never by ours.

`python peer_dynamo.py jobs.json` prints one JSON line a job. A job names the trace, the engine's
settings, the number of workers, the router's mode and settings.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

SUMMARY = {"ttft_s": "mean_ttft_ms", "tpot_s": "mean_tpot_ms", "e2e_s": "mean_e2e_latency_ms"}


def run(job: dict[str, Any]) -> dict[str, float]:
    """Mean latencies in seconds, requests finished, share of prompt tokens from the cache."""
    from dynamo._core import KvRouterConfig  # type: ignore[import-not-found] # the peer's
    from dynamo.replay.api import run_trace_replay  # type: ignore[import-not-found] # the peer's

    router = job.get("router")
    report = run_trace_replay(
        job["trace"],
        extra_engine_args=json.dumps({"engine": job["engine"]}),
        num_workers=job["workers"],
        router_mode="round_robin" if router is None else "kv_router",
        router_config=None if router is None else KvRouterConfig(**router),
    )
    found = {ours: float(report.summary[theirs]) / 1e3 for ours, theirs in SUMMARY.items()}
    return {
        **found,
        "finished": float(report.summary["completed_requests"]),
        "cached": float(report.summary["prefix_cache_reused_ratio"]),
    }


def main() -> None:
    """Every job of the file, in order; standard output carries nothing but the answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the peer logs to standard output
    with open(sys.argv[1], encoding="utf-8") as file:
        jobs = json.load(file)
    for job in jobs:
        print(json.dumps(run(job)), file=answers, flush=True)


if __name__ == "__main__":
    main()
