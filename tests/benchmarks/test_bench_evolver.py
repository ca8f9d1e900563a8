"""The search's benchmark: scenarios that differ, and a table that counts wins as it says."""

import math

import bench_evolver
import evolver_scenarios
import pytest


def row(seed, *, engine, hill, name="edge"):
    arms = {"engine": {"objectives": engine}, "hill": {"objectives": hill}}
    humans = {"one": [2.0, 4.0], "two": [4.0, 2.0]}
    return {"scenario": name, "seed": seed, "arms": arms, "humans": humans, "cpu_s": 1.0}


def test_there_are_ten_scenarios_to_develop_on_and_others_that_are_kept_aside():
    scenarios = evolver_scenarios
    names = [one.name for one in (*scenarios.DEVELOPMENT, *scenarios.KEPT_ASIDE)]
    assert len(scenarios.DEVELOPMENT) == 10
    assert len(set(names)) == len(names) > 11
    clusters = [one.cluster_spec() for one in scenarios.named(tuple(names))]
    assert [cluster.name for cluster in clusters] == names


def test_a_scenario_is_won_when_the_engine_is_better_on_average():
    better = [
        row(1, engine=[1.0, 1.0], hill=[2.0, 2.0]),
        row(2, engine=[1.0, 1.0], hill=[2.0, 8.0]),
    ]
    worse = [row(1, engine=[2.0, 2.0], hill=[1.0, 1.0], name="spot")]
    report = bench_evolver.report_of([*better, *worse], 1.0)
    assert (report["won"], report["of"]) == (1, 2)
    assert report["scenarios"]["edge"]["against"]["hill"]["mean"] == pytest.approx(
        1.5 * math.log(2)
    )


def test_gains_are_against_the_human_that_is_best_in_hindsight():
    assert bench_evolver.human_gain(row(1, engine=[1.0, 4.0], hill=[1.0, 1.0])) == pytest.approx(
        0.5 * math.log(2)
    )


def test_an_interval_is_students():
    found = bench_evolver.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found["mean"] == pytest.approx(3.0)
    assert found["high"] - 3.0 == pytest.approx(2.776 * math.sqrt(0.5), rel=1e-3)


def test_runs_of_other_settings_do_not_stand_in_the_same_table(tmp_path):
    path = tmp_path / "partial.jsonl"
    path.write_text('{"key": "a", "scenario": "edge", "seed": 1}\n'
                    '{"key": "b", "scenario": "edge", "seed": 2}\n')  # fmt: skip
    assert list(bench_evolver._read(str(path), "a")) == [("edge", 1)]
