import json
import math
from dataclasses import replace

import pytest

from sandbox.evidence import (
    Contender,
    Effect,
    Evidence,
    EvidenceRefused,
    Gate,
    GateStatus,
    Outcome,
    Role,
    TimeSplit,
    WindowEvidence,
)
from sandbox.profile_standing import Grade, ProfileStanding
from sandbox.stats import Interval


def window(name="w0", sealed=True, candidate=1.25):
    objective = {Role.CANDIDATE: candidate, Role.ACTIVE: 1.5}
    metrics = {Role.CANDIDATE: {"ttft_p99_s": 0.1 + 0.2, "tpot_mean_s": math.nan}}
    return WindowEvidence(name, name, sealed, 60.0, 360.0, 0.8, 7, objective, metrics)


@pytest.fixture
def evidence():
    time = TimeSplit(1.0, 2.0, 97.0)
    interval = Interval(0.05, 0.2, 0.12, 0.95, 8)
    return Evidence(
        outcome=Outcome.IMPROVED,
        verdict="12 % faster than the active policy on windows the search did not see.",
        source_digest="ab" * 32,
        contenders=(Contender(Role.CANDIDATE, "c", "cd" * 32, time, 420.0),),
        gates=(Gate("ttft_p99", GateStatus.PASS, "0.30 s against 0.31 s"),),
        windows=(window(), window("w1", sealed=False)),
        effects=(Effect(Role.ACTIVE, "objective", True, interval, 0.004),),
        profile="h100-llama-3.1-8b",
        cluster="small",
        simulator_version="1",
        contract_version=1,
        fuel_price_ns=2.5,
        seed=1,
        loads=(0.5, 0.8, 0.95),
        candidates_tried=31,
        finalists=2,
    )


def test_reading_back_gives_the_same_record(evidence):
    again = Evidence.from_json(evidence.to_json())
    assert again == evidence
    assert hash(again) == hash(evidence)
    assert again.digest == evidence.digest


def test_one_digit_makes_another_record(evidence):
    changed = replace(evidence, windows=(window(candidate=1.2500000000000002), window("w1")))
    assert changed.digest != evidence.digest


def test_a_record_cannot_be_changed(evidence):
    with pytest.raises(TypeError):
        evidence.windows[0].metrics[Role.CANDIDATE]["ttft_p99_s"] = 0.0


def test_what_was_not_measured_is_null(evidence):
    document = json.loads(evidence.to_json())
    assert document["windows"][0]["metrics"]["candidate"]["tpot_mean_s"] is None


def test_only_sealed_units_count_as_unseen(evidence):
    twin = replace(window("w0, faster"), unit="w0", variant=True)
    assert replace(evidence, windows=(*evidence.windows, twin)).sealed_units == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("gates"),
        lambda d: d.update(note="more"),
        lambda d: d["gates"][0].update(status="maybe"),
        lambda d: d["windows"][0].update(sealed="yes"),
        lambda d: d["windows"][0]["objective"].update(candidate="1.25"),
        lambda d: d.update(schema=1),
        lambda d: d.update(seed=None),
    ],
)
def test_a_document_that_says_anything_else_is_refused(evidence, damage):
    document = json.loads(evidence.to_json())
    damage(document)
    with pytest.raises(EvidenceRefused, match="evaluate the policy again"):
        Evidence.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"schema": NaN}', b"\xff"])
def test_what_is_no_document_is_refused(text):
    with pytest.raises(EvidenceRefused):
        Evidence.from_json(text)


def test_lines_say_verdict_interval_gate_and_window(evidence):
    text = "\n".join(evidence.lines())
    for words in ("improved: 12 %", "+4.9 .. +18.1 %", "gate ttft_p99: pass", "sealed window w0",
                  "best of 31 candidates tried and 2 finalists; 1 sealed units"):
        assert words in text


STANDING = ProfileStanding(
    Grade.POOR, "The end-to-end time is +40% off, 15% is allowed.", 1200, None, 0.31, 0.4, 0.52,
    1_800_000_000.0, "ab12cd34ef56", 1_799_000_000.0,
)  # fmt: skip


def test_a_record_carries_the_standing_of_its_profile(evidence):
    doubtful = replace(evidence, standing=STANDING)
    assert (evidence.schema, doubtful.schema) == (2, 4)
    assert "standing" not in json.loads(evidence.to_json())
    again = Evidence.from_json(doubtful.to_json())
    assert (again, again.standing) == (doubtful, STANDING)
    said = "\n".join(doubtful.lines())
    assert "poor for this cluster" in said
    assert "end to end +40 %" in said
    assert "ab12cd34ef56" in said


@pytest.mark.parametrize("damage", [{"standing": None}, {"standing": {}}, {"schema": 4}])
def test_a_record_with_half_a_standing_is_refused(evidence, damage):
    document = {**json.loads(evidence.to_json()), **damage}
    with pytest.raises(EvidenceRefused):
        Evidence.from_json(json.dumps(document))
