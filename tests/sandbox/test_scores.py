import json
import math

import pytest

from sandbox.scores import (
    WORST_OBJECTIVE_S,
    Candidate,
    MalformedScore,
    WindowScore,
    score_as_json,
    scores_from_json,
)

GOOD = WindowScore("w", 1.5, {"ttft_mean_s": 0.1, "tpot_mean_s": math.nan}, 2, "fuel")


def test_a_score_survives_the_way_through_json():
    (again,) = scores_from_json(json.loads(json.dumps([score_as_json(GOOD)])), ["w"])
    assert (again.objective, again.faults, again.fault) == (1.5, 2, "fuel")
    assert again.metrics["ttft_mean_s"] == 0.1
    assert math.isnan(again.metrics["tpot_mean_s"])


def test_an_objective_is_never_worse_than_the_worst():
    (score,) = scores_from_json([score_as_json(WindowScore("w", 1e9))], ["w"])
    assert score.objective == WORST_OBJECTIVE_S


@pytest.mark.parametrize(
    "change",
    [
        {"window": "other"},
        {"objective": True},
        {"objective": 0.0},
        {"objective": "1"},
        {"objective": 10**400},
        {"objective": None},
        {"metrics": {"no name": 1.0}},
        {"metrics": {"x": [1]}},
        {"metrics": {f"x{i}": 1.0 for i in range(300)}},
        {"faults": -1},
        {"faults": 1.0},
        {"fault": "Words of a candidate!"},
        {"more": 1},
    ],
)
def test_a_reply_of_any_other_shape_is_refused(change):
    with pytest.raises(MalformedScore):
        scores_from_json([score_as_json(GOOD) | change], ["w"])


def test_one_score_is_wanted_for_each_window():
    with pytest.raises(MalformedScore):
        scores_from_json([score_as_json(GOOD)], ["w", "v"])


def test_parameters_do_not_change_the_source_digest():
    assert Candidate("x").source_digest == Candidate("x", {"A": 1.0}).source_digest
