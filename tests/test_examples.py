"""The examples and the policies in the documents do what they say."""

import importlib
import re
import runpy
import sys
from pathlib import Path

import pytest

from sandbox.verifier import verify

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_policy_is_admitted():
    source = verify((ROOT / "examples" / "own_policy.py").read_text(), "own_policy")
    assert source.hooks == ("route",)
    assert {tunable.name for tunable in source.tunables} == {
        "KV_LIMIT", "FULL_PENALTY", "TYPICAL_TOKENS"}


def test_a_trace_of_ones_own_is_replayed(capsys, monkeypatch, tmp_path):
    rows = "".join(f"{0.25 * k},{100 + k % 7},{20 + k % 5}\n" for k in range(200))
    path = tmp_path / "mine.csv"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + rows)
    monkeypatch.setattr(sys, "argv", ["replay_your_trace.py", str(path)])
    runpy.run_path(str(ROOT / "examples" / "replay_your_trace.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "200 requests" in out
    assert re.search(r"own_policy +\d+\.\d\d s end to end", out)


@pytest.fixture
def other_task(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    yield importlib.import_module("other_task")
    for name in ("other_task", "other_task_rules"):
        del sys.modules[name]


def test_something_else_than_serving_is_searched_and_equal_seeds_give_equal_runs(
    other_task, capsys
):
    other_task.main(3)
    once = capsys.readouterr().out
    other_task.main(3)
    assert capsys.readouterr().out == once
    assert re.search(r"improved: Better than .* by \d+\.\d% to", once)


@pytest.mark.parametrize(
    "text",
    [
        "", "weight; minutes", "().__class__", "weight.real", "open('x')", "weight ** 9",
        "f'{weight}'", "lambda: 1", "[weight]", "'weight'", "unknown", "1e999", "9**9**9",
        "min(*weight, 1)", "weight < minutes < 1", "(a := weight)", "max(weight, 1, key=weight)",
        "\0", "-" * 900 + "1", "+".join("1" * 99), "(" * 400 + "1" + ")" * 400, "None",
    ],
)  # fmt: skip
def test_a_rule_of_the_example_can_do_nothing_but_arithmetic(other_task, text):
    with pytest.raises(other_task.NotARule):
        other_task.Rule(text)


@pytest.mark.parametrize("text", ["weight / (minutes - minutes)", "-(2 if weight < 3 else 1)", "7"])
def test_a_rule_reads_back_as_itself_and_always_has_a_value(other_task, text):
    rule = other_task.Rule(text)
    assert other_task.Rule(rule.annotated()).digest() == rule.digest()
    other = dict.fromkeys(rule.parameters(), 12.5)
    assert other_task.Rule(rule.written(other)).digest() == rule.digest(other)
    assert other_task.work(rule, other, "training-0").fault is None


@pytest.mark.parametrize("page", ["docs/policies.md"])
def test_policies_in_the_documents_are_admitted(page):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        verify(block)
