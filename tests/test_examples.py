"""The examples and the policies in the documents do what they say."""

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


@pytest.mark.parametrize("page", ["docs/policies.md"])
def test_policies_in_the_documents_are_admitted(page):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        verify(block)
