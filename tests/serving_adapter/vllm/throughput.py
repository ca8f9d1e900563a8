"""Measures what the scheduler costs an in-process vLLM: `throughput.py MODEL own|policies`.

Prints one JSON object per line: what decided, output tokens per second (by the clock, and of
processor time) of the best of four runs, and the processor time in which a step was scheduled.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

RUNS, REQUESTS = 4, 96


def main(model: str, which: str) -> None:
    """Serve the same requests under whatever is asked for."""
    from vllm import LLM

    options = {"scheduler_cls": "serving_adapter.vllm_scheduler.PolicyScheduler"}
    llm = LLM(
        model=model, load_format="dummy", dtype="bfloat16", max_model_len=1024, max_num_seqs=16,
        enforce_eager=True, enable_prefix_caching=False,
        **(options if which == "policies" else {}),
    )  # fmt: skip
    scheduler = llm.llm_engine.engine_core.engine_core.scheduler
    took_s = _timed(scheduler)
    _report("vLLM alone" if which == "own" else "our scheduler, no policy", llm, took_s)
    if which == "policies":
        _wait_for_policy(scheduler, Path(os.environ["EVOLVER_SNAPSHOT"]))
        _report("our scheduler, a compiled policy", llm, took_s)
        scheduler.shutdown()


def _timed(scheduler) -> list[float]:
    took_s, schedule = [], scheduler.schedule

    def timed(*args, **options):
        started_s = time.thread_time()
        output = schedule(*args, **options)
        took_s.append(time.thread_time() - started_s)
        return output

    scheduler.schedule = timed
    return took_s


def _report(what: str, llm, took_s: list[float]) -> None:
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": [5] * 20} for _ in range(REQUESTS)]
    params = [SamplingParams(max_tokens=8 if n % 2 else 64, ignore_eos=True)
              for n in range(REQUESTS)]  # fmt: skip
    llm.generate(prompts[:32], params[:32], use_tqdm=False)
    took_s.clear()
    runs = [_run_s(llm, prompts, params) for _ in range(RUNS)]
    tokens = sum(one.max_tokens for one in params)
    figures = {
        "what": what, "tokens_per_s": tokens / min(wall_s for wall_s, _ in runs),
        "tokens_per_cpu_s": tokens / min(busy_s for _, busy_s in runs),
        "schedule_us": sorted(took_s)[len(took_s) // 2] * 1e6,
    }  # fmt: skip
    print(json.dumps(figures), flush=True)


def _run_s(llm, prompts, params) -> tuple[float, float]:
    started_s, before_s = time.perf_counter(), time.process_time()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    assert len(outputs) == REQUESTS
    return time.perf_counter() - started_s, time.process_time() - before_s


def _wait_for_policy(scheduler, waiting: Path) -> None:
    """Bring the snapshot that lies beside it into its place, and wait until it is live."""
    waiting.with_suffix(".next").rename(waiting)
    deadline = time.monotonic() + 60.0
    while scheduler.policy_host.host.live.active is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
