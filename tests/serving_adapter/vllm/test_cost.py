"""What our scheduler costs vLLM: the same requests with and without it, figures printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
POLICY = '''"""Shortest remaining first, sixteen at once, and a budget."""


def priority(request, instance, memory):
    predicted = request.predicted_output_tokens
    return request.age_s if is_missing(predicted) else predicted - request.done_tokens


def admit(request, instance, memory):
    return instance.running_requests < 16


def tune(instance, memory):
    set_token_budget(instance, 512)
'''


def figures_of(which: str, tiny: Path, environment: dict[str, str]) -> list[dict[str, object]]:
    """Serve in a process of its own; what it measured."""
    given = {**os.environ, **environment, "PYTHONPATH": str(HERE.parents[2])}
    given.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, str(HERE / "throughput.py"), str(tiny), which]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
    print()
    for one in figures:
        print(f"{one['what']:34}{one['tokens_per_s']:7.0f} tokens/s"
              f"{one['tokens_per_cpu_s']:7.0f} per second of processor time"
              f"{one['schedule_us']:8.0f} us to schedule a step")  # fmt: skip
    return figures


def test_vllm_alone_serves_them(tiny):
    assert [one["what"] for one in figures_of("own", tiny, {})] == ["vLLM alone"]


def test_our_scheduler_serves_the_same_with_and_without_a_policy(tiny, new_desk):
    desk = new_desk()
    desk.publish(POLICY)
    desk.snapshot.rename(desk.snapshot.with_suffix(".next"))
    figures = figures_of("policies", tiny, desk.environment)
    assert [one["what"] for one in figures] == [
        "our scheduler, no policy", "our scheduler, a compiled policy"
    ]  # fmt: skip
    lines = [json.loads(line) for line in desk.log.read_text().splitlines()]
    assert {line["hook"] for line in lines} == {"priority", "admit", "tune"}
