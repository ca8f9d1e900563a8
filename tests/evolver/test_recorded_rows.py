"""What a store gives back of a run may have been edited: it is refused in one sentence."""

from types import SimpleNamespace

import pytest

from evolver.errors import RecordStale
from evolver.recorded_rows import recorded_events, recorded_results
from evolver.run_start import RunStart, code_digest

EVENT = {"sequence": 0, "generation": 0, "candidate": None, "seconds": 1.0, "title": "t"}
RESULT = {"digest": "d", "window": "w", "objective": 2.0, "metrics": {"a": 1}, "fault": None,
          "fingerprint": "", "remarks": ["slow"]}  # fmt: skip
CONFIG = {"format": 1, "code": code_digest(), "limits": {"evaluations": 5}, "veterans": [],
          "humans": [{"name": "a", "text": "b", "active": True}], "worked": [], "failed": [],
          "models": [{"model": "openai/x"}], "mutator": True, "inputs": {}}  # fmt: skip


def rows(kind, *payloads):
    return [SimpleNamespace(kind=kind, payload=payload) for payload in payloads]


def test_whole_rows_are_read():
    (event,) = recorded_events(rows("run_started", EVENT))
    assert (event.seconds, event.data) == (1.0, {"title": "t"})
    ((key, result),) = recorded_results(rows("result", RESULT))
    assert (key, result.objective, result.remarks) == (("d", "w"), 2.0, ("slow",))
    assert RunStart.of(CONFIG).humans[0].active


@pytest.mark.parametrize(
    "payload",
    [None, [1], {}]
    + [{**EVENT, "seconds": x} for x in (float("nan"), 10**400, -1.0, "1")]
    + [{**EVENT, "sequence": float("inf")}, {**EVENT, "candidate": 5}],
)
def test_what_is_no_event_is_refused(payload):
    with pytest.raises(RecordStale, match="damaged"):
        list(recorded_events(rows("run_started", payload)))


def test_time_that_goes_back_is_refused():
    later = {**EVENT, "sequence": 1, "seconds": 0.5}
    with pytest.raises(RecordStale, match="time goes back"):
        list(recorded_events(rows("run_started", EVENT, later)))


@pytest.mark.parametrize(
    "payload",
    [None, [1]]
    + [{**RESULT, "objective": x} for x in (float("nan"), 0.0, -1.0, 10**400, "2", None)]
    + [{**RESULT, "metrics": x} for x in ("x", {"a": "b"}, {"a": float("inf")})]
    + [{**RESULT, "fault": {}}, {**RESULT, "remarks": [{}]}, {**RESULT, "more": 1}],
)
def test_what_is_no_result_is_refused(payload):
    with pytest.raises(RecordStale, match="damaged"):
        list(recorded_results(rows("result", payload)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limits", {"evaluations": 10**400}),
        ("limits", {"tokens": 1.5}),
        ("limits", None),
        ("humans", [{"name": "a", "text": None}]),
        ("worked", "abc"),
        ("models", [{"model": 5}]),
        ("models", [{"model": "openai/x", "tries": "y"}]),
        ("inputs", 5),
    ],
)
def test_a_configuration_that_was_edited_is_refused(name, value):
    with pytest.raises(RecordStale, match=name):
        RunStart.of({**CONFIG, name: value})
