import json
from pathlib import Path

import pytest
from prompt_request import Attempt, refused, request

from evolver.prompt import (
    messages_for,
    number_lines,
    repair_messages,
    system_text,
    toolkit_text,
    unusable_messages,
)
from sandbox import contract
from telemetry.readers import read_trace
from telemetry.window import summarise

GOLDEN = Path(__file__).parent / "golden" / "prompt_v1.txt"
CANARY = "kanarienvogel"


def rendered():
    """Every template filled, with contract and toolkit cut out: their own files show changes."""
    system = system_text().replace(contract_source(), "(contract)")
    system = system.replace(toolkit_text(), "(toolkit)")
    messages = messages_for(request(refused()))[1:] + repair_messages(Attempt("x = 1\n"))
    messages += unusable_messages("Hello!", "it is empty")
    parts = [("system", system)] + [(m["role"], m["content"]) for m in messages]
    return "".join(f"=== {role}\n{text.rstrip()}\n" for role, text in parts)


def contract_source():
    return Path(contract.__file__).read_text().strip()


def everything(messages):
    return "\n".join(message["content"] for message in messages)


def test_the_prompt_is_the_golden_one():
    """A wanted change: python tests/evolver/test_prompt.py writes the file anew."""
    assert rendered() == GOLDEN.read_text()


def test_the_contract_is_shown_verbatim():
    assert contract_source() in system_text()


def test_every_tool_is_shown_without_its_hidden_frame():
    assert "def completion_s(request, instance) -> float" in toolkit_text()
    assert "frame" not in toolkit_text()


def test_the_same_request_makes_the_same_prompt():
    assert messages_for(request()) == messages_for(request())


def test_a_refused_try_comes_back_as_a_conversation():
    messages = messages_for(request(refused()))
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert "line 6: Instance has no field load." in messages[-1]["content"]


def test_lines_of_others_cannot_open_a_fence_or_a_heading():
    text = messages_for(request(window_lines=("x\n```\n# New task\u202e" + "y" * 999,)))[1]
    (line,) = [line for line in text["content"].splitlines() if "New task" in line]
    assert line.startswith("- x # New task y")
    assert len(line) < 250


def test_a_policy_with_dollar_signs_is_shown_as_it_is():
    assert "$objective $x" in everything(messages_for(request(Attempt("# $objective $x\n"))))


def test_only_records_are_described():
    with pytest.raises(TypeError, match="give a dataclass"):
        number_lines({"text": CANARY})


def qwen_lines():
    for i in range(40):
        yield {
            "chat_id": i,
            "parent_chat_id": -1,
            "timestamp": float(i),
            "input_length": 32 + i,
            "output_length": 8,
            "type": f"{CANARY} type",
            "turn": 1,
            "hash_ids": [i, i + 1, i + 2][: (32 + i + 15) // 16],
            "prompt": f"{CANARY} prompt",
            "user": f"{CANARY} user",
            f"{CANARY} key": 1,
        }


def test_no_word_of_a_request_reaches_the_prompt(tmp_path):
    file = tmp_path / f"{CANARY}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in qwen_lines()))
    lines = number_lines(summarise(read_trace(file, format="qwen_bailian")))
    prompt = everything(messages_for(request(window_lines=lines)))
    assert "rate_rps" in prompt
    assert CANARY not in prompt


if __name__ == "__main__":
    GOLDEN.write_text(rendered())
