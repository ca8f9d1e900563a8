"""How far off the sandbox was, as it is kept: what no comparison can have found is no error."""

import json

import pytest

from sandbox.prediction_error import PredictionError, Ratio

ERROR = PredictionError(200, 0.0, None, Ratio(1.1, 1.2, 1.0, 1.2), Ratio(0.9, 1.0, 0.8, 1.0), 8)


def test_an_error_comes_back_as_it_was_kept():
    assert PredictionError.from_json(json.loads(json.dumps(ERROR.to_json()))) == ERROR


@pytest.mark.parametrize("value", [None, 0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["mean", "p95"])
def test_a_ratio_that_no_times_have_is_damage_and_not_a_good_grade(name, value):
    told = ERROR.to_json()
    told["e2e"] |= {name: value}
    with pytest.raises(ValueError, match="above 0"):
        PredictionError.from_json(told)
