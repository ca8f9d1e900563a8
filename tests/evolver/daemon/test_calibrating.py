"""The sandbox is held against live windows, fitted to them, and evidence says how it stood."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from evolver.daemon.calibrating import CalibrationLimits, Calibrator, Window, only_replica
from evolver.daemon.calibration_shelf import CHECKS, CalibrationShelf
from sandbox.calibration import read_calibration
from sandbox.cluster import ClusterSpec, EngineSpec, PoolSpec, ReplicaSpec
from sandbox.prediction_error import NotComparable, Tolerance
from sandbox.profile_standing import Grade
from sandbox.profiles import load_profile
from sandbox.replay import default_policy
from telemetry.request_rows import parse_rows
from telemetry.requests import Requests
from tests.evolver.daemon.realities import BEGAN, CLUSTER, calibration_of, logged, really, trace

NOW = BEGAN + 200.0
MEASURED = Path(__file__).resolve().parents[3].parent / "shared/fidelity/rtx_pro_6000"


def window(requests):
    return Window(BEGAN, BEGAN + 100.0, requests)


@pytest.fixture(scope="module")
def live():
    return window(logged(trace(), really()))


@pytest.fixture
def calibrator(tmp_path):
    return Calibrator(CalibrationShelf(tmp_path / "c"), CLUSTER)


def test_a_profile_that_is_right_is_good(calibrator):
    error = calibrator.check(window(logged(trace(), CLUSTER)), default_policy())
    assert error.lost == 0.0
    assert error.e2e.mean == pytest.approx(1.0, abs=0.01)
    assert calibrator.standing(NOW).grade is Grade.GOOD
    assert calibrator.due(NOW) == ""


def test_a_profile_that_is_off_is_poor_until_it_is_refitted(calibrator, live, tmp_path):
    assert calibrator.standing(NOW) is None
    before = calibrator.check(live, default_policy())
    assert before.tpot.high < 0.8
    assert before.tpot.low <= before.tpot.mean <= before.tpot.high
    standing = calibrator.cluster(NOW).standing
    assert standing.grade is Grade.POOR
    assert "off" in standing.reason
    reason = calibrator.due(NOW)
    assert "off" in reason
    refit = calibrator.refit(live, default_policy(), NOW, reason)
    assert refit.kept is not None
    assert abs(refit.after.e2e.mean - 1) < 0.03
    assert calibrator.standing(NOW).grade is Grade.GOOD
    assert calibrator.due(NOW + 1e5) == ""
    # What was fitted is a file that says where it comes from, and outlives the process.
    (file,) = (tmp_path / "c").glob("000001-*.json")
    provenance = read_calibration(file).provenance
    assert provenance.reason == reason
    assert abs(provenance.window_error[1]) < 0.03 < abs(provenance.window_error[0])
    again = Calibrator(CalibrationShelf(tmp_path / "c"), CLUSTER).cluster(NOW)
    assert again.calibrated[-1] == refit.kept
    assert again.standing.calibration == refit.kept.digest


def test_other_traffic_is_predicted_with_what_was_fitted(calibrator, live):
    calibrator.refit(live, default_policy(), NOW)
    other = window(logged(trace(seed=7, rate=9.0), really()))
    assert abs(calibrator.check(other, default_policy()).e2e.mean - 1) < 0.04


def test_a_refit_that_predicts_no_better_is_thrown_away(calibrator, tmp_path):
    refit = calibrator.refit(window(logged(trace(), CLUSTER)), default_policy(), NOW)
    assert refit.kept is None
    assert "no better" in refit.reason
    assert not list((tmp_path / "c").glob("0*.json"))


def test_there_may_be_nothing_to_fit_to(calibrator):
    untimed = window(logged(trace(), really(), usage=False))
    refit = calibrator.refit(untimed, default_policy(), NOW)
    assert refit.kept is None
    assert "nothing to fit to" in refit.reason


def test_too_few_requests_say_nothing(calibrator):
    with pytest.raises(NotComparable, match="needed"):
        calibrator.check(window(logged(trace(n=60), CLUSTER)), default_policy())


def test_an_old_check_makes_the_profile_stale(tmp_path, live):
    limits = CalibrationLimits(Tolerance(stale_s=3600.0))
    calibrator = Calibrator(CalibrationShelf(tmp_path), CLUSTER, limits)
    calibrator.check(window(logged(trace(), CLUSTER)), default_policy())
    assert calibrator.standing(NOW).grade is Grade.GOOD
    assert calibrator.is_time(NOW + 7200)
    assert calibrator.standing(NOW + 7200).grade is Grade.STALE


def test_damaged_files_are_left_out_and_said(tmp_path, calibrator, live):
    calibrator.refit(live, default_policy(), NOW)
    shelf = CalibrationShelf(tmp_path / "c")
    (tmp_path / "c" / CHECKS).write_text("[{")
    (tmp_path / "c" / "000009-H100-x-tp1.json").write_text('{"gpu": 3}')
    assert len(shelf.versions()) == 1
    assert shelf.checks() == ()
    assert len(shelf.complaints) == 2
    assert Calibrator(shelf, CLUSTER).standing(NOW) is None


def test_a_clock_that_runs_faster_is_taken_into_account(calibrator):
    quick = logged(trace(), CLUSTER)
    real = replace(
        quick, arrived_unix_s=BEGAN + (quick.arrived_unix_s - BEGAN) / 5, ttft_s=quick.ttft_s / 5,
        e2e_s=quick.e2e_s / 5, last_token_s=quick.last_token_s / 5,
    )  # fmt: skip
    error = calibrator.check(
        Window(BEGAN, BEGAN + 20.0, real, clock_speed=5.0), default_policy()
    )
    assert math.isclose(error.e2e.mean, 1.0, abs_tol=0.01)


def test_the_one_kind_of_replica_of_a_cluster():
    assert only_replica(CLUSTER) == ("A100", 1)
    assert only_replica(CLUSTER.model_copy(update={"replica": ()})) == ("A100", 1)
    two = (*CLUSTER.pool, PoolSpec(gpu="H100", count=1))
    assert only_replica(CLUSTER.model_copy(update={"replica": (), "pool": two})) is None


def test_only_what_the_live_policy_decided_is_compared():
    before = logged(trace(n=50), CLUSTER, digest="cd" * 32)
    after = logged(trace(n=50, seed=1), CLUSTER, digest="ab" * 32)
    later = replace(after, arrived_unix_s=after.arrived_unix_s + 90.0)
    both = Window(BEGAN, BEGAN + 200.0, Requests.join([before, later]))
    kept = both.since_entry("ab" * 32)
    assert 50 <= len(kept.requests) <= 52  # a few of others say nothing
    assert kept.since_unix_s >= BEGAN
    assert both.since_entry(None) is both
    assert len(both.since_entry("cd" * 32).requests) == 0


@pytest.mark.parametrize(
    ("folder", "model", "tp"), [("Llama-3.1-8B", "llama-3.1-8b", 1), ("Qwen3-32B", "qwen3-32b", 2)]
)
def test_a_real_engines_timings_are_fitted(tmp_path, folder, model, tp):
    """Two real runs of vLLM, from step times that were never fitted to a serving engine."""
    requests = measured(folder)
    raw = calibration_of(load_profile("RTX PRO 6000", model, tp, terms=False))
    base = ClusterSpec(
        name="measured", model=model, pool=(PoolSpec(gpu="RTX PRO 6000", count=tp),),
        replica=(ReplicaSpec(pool=0, tp=tp, count=1),), calibrated=(raw,),
        engine=EngineSpec(max_num_seqs=128, enable_prefix_caching=False),
    )  # fmt: skip
    until = float(requests.arrived_unix_s.max())
    calibrator = Calibrator(CalibrationShelf(tmp_path), base)
    whole = Window(float(requests.arrived_unix_s.min()), until, requests)
    assert calibrator.check(whole, default_policy()).e2e.high < 0.95
    assert calibrator.due(until) != ""
    assert calibrator.refit(whole, default_policy(), until).kept is not None
    standing = calibrator.standing(until)
    assert standing.grade is Grade.GOOD
    assert max(abs(standing.ttft), abs(standing.tpot), abs(standing.e2e)) < 0.05


def measured(folder):
    file = MEASURED / folder / "requests.jsonl"
    if not file.is_file():
        pytest.skip("needs the measured requests of a real vLLM beside the repository")
    rows = []
    for line in file.read_text().splitlines():
        told = json.loads(line)
        queued_s = told["queued_ts"]
        rows.append({
            "arrived_unix_s": queued_s, "prompt_tokens": told["input_toks"],
            "output_tokens": told["output_toks"], "waited_s": 0.0, "instance_id": 0,
            "stream": True, "usage": True, "outcome": "ok",
            "ttft_s": told["first_token_ts"] - queued_s, "e2e_s": told["last_token_ts"] - queued_s,
        })  # fmt: skip
    return parse_rows(rows).requests
