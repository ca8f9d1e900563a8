"""Drift: a planted change is found, named and dated; noise is not."""

import math

import numpy as np
import pytest

from telemetry import summarise
from telemetry.drift import (
    Detector,
    DriftSettings,
    features_of,
)
from telemetry.trace import Trace, TraceMeta

pytest.importorskip("river")
USUAL = {"rate_rps": 5.0, "prompt_tokens": 900.0, "output_tokens": 200.0, "burstiness": 1.0,
         "reuse": 0.4, "sessions": 0.8, "capacity": 8.0}  # fmt: skip


def points(count, seed, **changed):
    rng = np.random.default_rng(seed)
    usual = USUAL | changed
    return [
        {n: v * math.exp(0.1 * rng.standard_normal()) for n, v in usual.items()}
        for _ in range(count)
    ]


def found(detector, rows, start_s=0.0):
    drifts = (detector.observe(row, start_s + 10.0 * k) for k, row in enumerate(rows))
    return [drift for drift in drifts if drift is not None]


@pytest.mark.parametrize(("name", "value"), [
    ("rate_rps", 10.0), ("output_tokens", 300.0), ("prompt_tokens", 600.0), ("reuse", 0.0),
    ("capacity", 6.0), ("sessions", 0.3), ("burstiness", 3.0),
])  # fmt: skip
def test_a_change_is_found_with_its_name_its_size_and_its_time(name, value):
    drifts = found(Detector(), [*points(100, 1), *points(60, 2, **{name: value})])
    (drift,) = drifts
    assert drift.since_s == pytest.approx(1000.0, abs=30.0)
    assert drift.at_s < 1300.0
    (change,) = drift.changes
    assert (change.feature, change.before) == (name, pytest.approx(USUAL[name], rel=0.1))
    assert change.after == pytest.approx(value, rel=0.2)
    assert name in drift.describe()


def test_noise_outliers_and_what_is_missing_are_no_drift():
    rows = points(600, 3)
    for k, row in enumerate(rows):
        if k % 50 == 0:
            row["rate_rps"] *= 30.0
        if k % 3 == 0:
            row["reuse"] = math.nan
            del row["capacity"]
    assert found(Detector(), rows) == []


def test_several_changes_at_once_are_one_drift_and_the_new_ways_are_then_usual():
    rows = [*points(80, 4), *points(200, 5, rate_rps=12.0, output_tokens=60.0)]
    (drift,) = found(Detector(), rows)
    assert {change.feature for change in drift.changes} == {"rate_rps", "output_tokens"}


def test_it_keeps_no_more_than_its_settings_say():
    detector = Detector(DriftSettings(points=30))
    found(detector, points(500, 8))
    assert len(detector) < 60


def test_features_of_a_window_leave_out_what_is_unknown():
    trace = Trace.of(TraceMeta(), arrival_s=[0.0, 1.0, 4.0], prompt_tokens=[10, 20, 30],
                     output_tokens=[1, 2, 3], session=[0, 0, -1], span_s=10.0)  # fmt: skip
    seen = features_of(summarise(trace))
    assert seen["rate_rps"] == pytest.approx(0.3)
    assert (seen["prompt_tokens"], seen["output_tokens"]) == (20.0, 2.0)
    assert seen["sessions"] == pytest.approx(2 / 3)
    assert {"reuse", "capacity"}.isdisjoint(seen)
    assert features_of(summarise(trace.slice(5.0, 10.0))) == {"rate_rps": 0.0}
