"""What was promised is looked for on what arrives now."""

from __future__ import annotations

import pytest

from evolver import library
from evolver.daemon.check_order import Found, write_found
from evolver.daemon.config import DaemonConfig
from evolver.daemon.grounds import LiveGround
from evolver.daemon.protocols import LivePair, Stretch
from evolver.daemon.staleness import _judged, staleness
from sandbox.engine import load_policy
from sandbox.replay import default_policy
from sandbox.simulation import Setup
from sandbox.stats import Interval
from sandbox.verifier import verify
from telemetry import generate, load_profile
from telemetry.request_times import observed
from tests.evolver.daemon.realities import CLUSTER, logged, really, trace


def interval(mean, half=0.02):
    return Interval(mean - half, mean + half, mean, 0.95, 8)


@pytest.mark.parametrize(
    ("promised", "found", "stale", "share"),
    [
        (0.2, 0.19, False, 0.05), (0.2, 0.05, True, 0.73), (0.2, -0.1, True, 1.58),
        (0.02, 0.001, False, 0.95), (0.2, 0.3, False, 0.0),
    ],
)  # fmt: skip
def test_a_gain_that_is_gone_makes_evidence_stale(promised, found, stale, share):
    told = _judged(interval(promised), interval(found), None)
    assert told.stale is stale
    assert told.share == pytest.approx(share, abs=0.01)


def test_without_a_promise_only_a_loss_is_stale():
    assert not _judged(None, interval(0.0), None).stale
    assert _judged(None, interval(-0.1), None).stale
    assert _judged(None, interval(-0.1), None).share is None


def test_a_live_policy_is_held_against_what_it_replaced():
    text = library.read("round_robin")
    source = verify(text, "round_robin")
    live = load_policy(source, engine="compiled")
    seen = observed(logged(trace(rate=14.0), really(), live))
    told = staleness(None, live, default_policy(), Setup(seen.trace, really()), seen)
    assert told.found is not None
    assert told.realised.e2e.mean == pytest.approx(1.0, abs=0.01)
    same = staleness(None, default_policy(), None, Setup(seen.trace, CLUSTER))
    assert same.found.mean == 0.0
    assert not same.stale
    assert {"stale", "found_gain", "predicted_over_realised"} <= told.facts().keys()


def test_a_broken_promise_is_of_the_policy_that_gave_it(tmp_path):
    broken = Found("Compared.", "Most of the gain is gone.", "a" * 64)
    folder = tmp_path / "calibration"
    folder.mkdir()
    write_found(folder, broken)
    config = DaemonConfig.model_validate({
        "watch": {"request_log": "r", "cluster": "edge-8b"}, "calibrate": {"every_s": 0.0},
    })  # fmt: skip
    stretch = Stretch(generate(load_profile("azure2023_conv"), n=20, seed=1), 0.0, 100.0)
    ground = LiveGround(config, folder, tmp_path / "segments")
    for digest, stale in (("a" * 64, broken.stale), ("b" * 64, ""), (None, "")):
        ground.tend(stretch, LivePair(digest, "", ""))
        assert ground.now(stretch).stale == stale
    ground.close()
