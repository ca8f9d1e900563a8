"""Dumps: bounded, numbers only, and exact enough to look at what was decided."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sandbox import contract
from serving_adapter.activation import missing_rows
from serving_adapter.decision import DecisionInput
from serving_adapter.safety.dumps import KEPT_DUMPS, MAX_DUMP_BYTES, dump_text, dumps_in, write_dump
from serving_adapter.safety.ejection import Ejection, EjectionKind

EJECTION = Ejection(EjectionKind.SLOW, "late", "a" * 64, 7, 256, 1, 1.7e9)


def given(number: int, engines: int = 3) -> DecisionInput:
    request, rows = missing_rows(contract.Request, 1), missing_rows(contract.Instance, engines)
    request["prompt_tokens"], request["age_s"] = 100 + number, 0.1
    rows["id"] = np.arange(engines)
    rows["kv_used_tokens"][0], rows["step_time_s"][0] = 12_345, 1 / 3
    memory = np.zeros(contract.MEMORY_SLOTS)
    memory[5] = number
    return DecisionInput(
        number=number, sequence=7, digest="a" * 64, request=request.tobytes(),
        rows=rows.tobytes(), memory=memory.tobytes(), rotation=1, fuel=60_000,
        choice=number % engines, fault="", call_s=1.5e-6,
    )  # fmt: skip


def test_a_dump_holds_the_newest_inputs_as_exact_numbers():
    body = json.loads(dump_text(EJECTION, {"decisions": 2.0}, [given(1), given(2)]))
    newest = body["inputs"][0]
    assert body["decisions"] == [[2, 2, 1.5, ""], [1, 1, 1.5, ""]]
    assert (newest["request"]["prompt_tokens"], newest["memory"]) == (102, {"5": 2.0})
    assert newest["instances"]["step_time_s"] == [1 / 3, None, None]
    assert "deadline_s" not in newest["request"]
    assert body["ejection"]["reason"] == "late"


@pytest.mark.parametrize("engines", [1, 16, 512])
def test_law_a_dump_is_bounded_however_much_there_is(engines):
    text = dump_text(EJECTION, {}, [given(number, engines) for number in range(256)])
    body = json.loads(text)
    assert len(text.encode()) <= MAX_DUMP_BYTES
    assert len(body["decisions"]) == 256
    assert engines > 16 or body["inputs"]


def test_old_dumps_make_room(tmp_path):
    for number in range(KEPT_DUMPS + 3):
        write_dump(tmp_path / "dumps", replace(EJECTION, unix_s=1.7e9 + number), "{}")
    assert len(dumps_in(tmp_path / "dumps")) == KEPT_DUMPS
    assert "221323" in dumps_in(tmp_path / "dumps")[0].name


def test_a_disk_that_refuses_costs_the_dump_only(tmp_path):
    (tmp_path / "file").touch()
    assert write_dump(tmp_path / "file" / "dumps", EJECTION, "{}") is None
