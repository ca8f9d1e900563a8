"""What a proposer is told of a problem: its numbers, and never a word that a trace brought."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_request import request

from evolver.moves import Move
from evolver.problem import Problem
from evolver.prompt import messages_for
from evolver.prompt_lines import MAX_LINE_CHARACTERS
from evolver.serving_words import description_of
from sandbox.capacity import pair
from sandbox.cluster import ClusterSpec
from sandbox.replay import LoadReport
from telemetry import read_trace
from telemetry.capacity import CapacityTrace
from telemetry.trace import Trace, TraceMeta

CANARY = "kanarienvogel"
CLUSTER = ClusterSpec.model_validate({
    "model": "Llama-3.1-8B", "pool": [{"gpu": "L40S", "count": 4, "spot": True}],
    "class": [{"name": f"{CANARY}-class", "prompt_min_tokens": 500, "slo": {"ttft_s": 1.25}}],
})  # fmt: skip


def trace(word):
    rng = np.random.default_rng(1)
    n, names = 400, tuple(f"{word} tenant {k}" for k in range(3))
    return Trace.of(
        TraceMeta(name=f"{word} name", format=word, clock=word, notes=(word,), source=word),
        arrival_s=np.sort(rng.uniform(0.0, 200.0, n)), prompt_tokens=rng.integers(10, 2000, n),
        output_tokens=rng.integers(1, 40, n), tenant=rng.integers(0, 3, n), tenants=names,
        session=rng.integers(0, 99, n), online=rng.random(n) < 0.8, span_s=200.0,
    )  # fmt: skip


def capacity(word):
    built = CapacityTrace.of(
        TraceMeta(name=word, notes=(word,)), "availability", span_s=200.0,
        initial_up=[True, True], time_s=[20.0, 50.0, 60.0], node=[0, 0, 1],
        up=[False, True, False], models=(f"{word} model",),
    )  # fmt: skip
    return pair(CLUSTER, replace(built, zones=(f"{word} zone",)))


def problem(word=CANARY, with_capacity=True):
    report = LoadReport(0.5, 4.0, 2.0, 1.0)
    return Problem(trace(word), CLUSTER, report, capacity(word) if with_capacity else None)


@pytest.fixture(scope="module")
def windows():
    return problem().windows()


@pytest.fixture(scope="module")
def described(windows):
    return description_of(problem(), windows)


def prompts(description):
    asked = request(
        objective_text=description.objective,
        setting_lines=description.setting_lines,
        window_lines=description.window_lines,
    )
    parts = (m["content"] for move in Move for m in messages_for(asked, move))
    return "\n".join(parts)


@settings(max_examples=15, deadline=None)
@given(st.text(min_size=1, max_size=30).map(lambda text: f"{CANARY} {text}"))
def test_no_word_of_a_trace_reaches_a_prompt(windows, word):
    named = [replace(s, trace=replace(s.trace, tenants=trace(word).tenants, meta=trace(word).meta))
             for s in windows.training]  # fmt: skip
    description = description_of(problem(word), replace(windows, training=tuple(named)))
    assert description.window_lines
    assert CANARY not in prompts(description)


def qwen_lines():
    for i in range(400):
        yield {
            "chat_id": i,
            "parent_chat_id": i - 1 if i % 3 else -1,
            "timestamp": i / 2.0,
            "input_length": 32 + i,
            "output_length": 8,
            "type": f"{CANARY} type",
            "turn": 1 + i % 3,
            "hash_ids": list(range((32 + i + 15) // 16)),
            "prompt": f"{CANARY} prompt",
            "user": f"{CANARY} user",
            f"{CANARY} key": 1,
        }


def test_no_word_of_a_file_reaches_a_prompt(windows, tmp_path):
    file = tmp_path / f"{CANARY}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in qwen_lines()))
    read = read_trace(file, format="qwen_bailian")
    text = prompts(description_of(replace(problem(), trace=read), windows))
    assert "Sessions: " in text
    assert CANARY not in text


def test_the_setting_says_what_there_is(described):
    text = "\n".join((described.objective, *described.setting_lines))
    for words in (
        "| 0 | L40S | 4 | 8 |", "smooth goodput at most 2.0 % lower", "| 1 | 1.25 |",
        "made by the default schedule", "2 routers", "2 ns of scheduling time", "boots in 20 s",
        "sigma 0.5", "Hooks that count here, others are refused: admit, priority, route, schedule",
    ):  # fmt: skip
        assert words in text


def test_capacity_is_told_of_the_training_windows_only(described, windows):
    (line,) = [line for line in described.setting_lines if "come and go" in line]
    assert windows.training[-1].stop_s > 60.0
    assert "2 are lost and 1 come (back)" in line
    assert "4 at first, then 3 to 4" in line
    assert "longest loss" in line


def test_windows_are_rows_of_one_table(described, windows):
    rows = [line for line in described.window_lines if line.startswith("| w")]
    assert rows[0].startswith("| window | requests |")
    assert [row.split(" | ")[0] for row in rows[1:]] == [f"| {w.name}" for w in windows.training]
    assert rows[1].endswith("| 3 / 3.5 / 4 |") or "/" in rows[1]


def test_the_regime_knows_of_lost_capacity(described):
    assert described.regime["capacity_changes_per_hour"] > 0.0


def test_a_fixed_fleet_says_so(windows):
    fixed = replace(windows, training=tuple(replace(s, capacity=None) for s in windows.training))
    description = description_of(problem(with_capacity=False), fixed)
    assert "The plan made at the start stays: no GPU comes or goes." in description.setting_lines
    assert description.regime["capacity_changes_per_hour"] == 0.0


def test_no_line_of_ours_is_cut(described):
    lines = (*described.setting_lines, *described.window_lines, *described.objective.splitlines())
    assert max(map(len, lines)) <= MAX_LINE_CHARACTERS
