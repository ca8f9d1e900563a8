"""Forecasts: the way that fits is found, errors are those of the past, intervals cover."""

import math

import numpy as np
import pytest

from telemetry.forecasts import INTERVAL, Forecaster


def fed(values, horizons=(1, 6), season=0):
    forecaster = Forecaster(horizons, season)
    for value in values:
        forecaster.learn(value)
    return forecaster


def test_noise_about_a_level_is_smoothed_and_a_random_walk_is_not():
    rng = np.random.default_rng(1)
    level = fed(5.0 * np.exp(0.3 * rng.standard_normal(400))).ahead(6)
    assert level.method == "smoothed 0.1"
    assert level.value == pytest.approx(5.0, rel=0.2)
    assert level.error == pytest.approx(0.3 * math.sqrt(2 / math.pi), rel=0.25)
    walk = fed(np.exp(np.cumsum(0.2 * rng.standard_normal(400)))).ahead(1)
    assert walk.method in ("naive", "smoothed 0.6")


@pytest.mark.parametrize("horizon", [1, 6, 23])
def test_a_season_is_seen_to_come_again(horizon):
    day = np.exp(np.sin(np.arange(240) * 2 * np.pi / 24))
    seen = fed(day, (horizon,), season=24).ahead(horizon)
    assert seen.method == "seasonal"
    assert seen.value == pytest.approx(np.exp(np.sin((239 + horizon) * 2 * np.pi / 24)))


def test_law_2_a_forecast_is_made_of_the_past_and_judged_when_its_moment_comes():
    rows = np.random.default_rng(2).lognormal(0.0, 0.4, 60).tolist()
    one, other = fed(rows), fed(rows)
    assert one.ahead(6) == other.ahead(6)
    for _ in range(5):
        one.learn(1.0)
    assert one.errors["naive", 6].count == 60 + 5 - 6


def test_intervals_cover_about_as_often_as_they_say():
    values = 10.0 * np.exp(0.5 * np.random.default_rng(3).standard_normal(3000))
    forecaster, inside = Forecaster((1,)), []
    for value in values:
        told = forecaster.ahead(1)
        if told is not None and not math.isnan(told.low):
            inside.append(told.low <= value <= told.high)
        forecaster.learn(float(value))
    assert np.mean(inside) == pytest.approx(INTERVAL, abs=0.06)


def test_what_is_missing_or_zero_or_new_is_no_error():
    assert Forecaster().ahead(1) is None
    told = fed([3.0, math.nan, 0.0, math.inf, 3.0]).ahead(1)
    assert told.value > 0
    assert math.isnan(told.error)
