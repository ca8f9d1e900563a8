"""The cluster as it is now: what came and went, how far predictions are off, what still holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evolver.daemon.calibrating import Calibrator
from evolver.daemon.calibration_shelf import CalibrationShelf
from evolver.daemon.live_grounds import Live, LiveGrounds, pairing_of
from evolver.daemon.protocols import Stretch
from sandbox.cluster import ClusterSpec, EngineSpec, PoolSpec, ReplicaSpec
from sandbox.profile_standing import Grade
from sandbox.profiles import load_profile
from sandbox.replay import default_policy
from telemetry.cluster_events import Change, ClusterEvent, Node
from telemetry.cluster_state import LiveCluster
from telemetry.errors import ReadError
from telemetry.request_rows import parse_rows
from telemetry.request_times import observed
from tests.evolver.daemon.realities import BEGAN, CLUSTER, calibration_of, logged, really, trace

UNTIL = BEGAN + 100.0
MEASURED = Path(__file__).resolve().parents[3].parent / "shared/fidelity/rtx_pro_6000"


def grounds(tmp_path, requests, base=CLUSTER, live=None, **options):
    calibrator = Calibrator(CalibrationShelf(tmp_path), base)
    serving = live or (lambda: Live("", default_policy()))
    return LiveGrounds(base, calibrator, serving, requests, clock=lambda: UNTIL + 1, **options)


def stretch(requests):
    return Stretch(observed(requests).trace, BEGAN, UNTIL)


def test_a_ground_is_fitted_and_says_so(tmp_path):
    requests = logged(trace(), really())
    asked = []
    ground = grounds(tmp_path, lambda *span: asked.append(span) or requests)
    found = ground.now(stretch(requests))
    assert found.cluster.standing.grade is Grade.GOOD
    assert len(found.cluster.calibrated) == 1
    assert found.error < 0.03
    assert any("A refit was tried. It was kept." in note for note in found.notes)
    # It is not the time for another look.
    ground.now(stretch(requests))
    assert asked == [(BEGAN, UNTIL)]


def test_what_cannot_be_read_is_a_note(tmp_path):
    def requests(*_):
        raise ReadError("The log is gone: look for it.")

    def poll(*_):
        raise OSError("no route")

    found = grounds(tmp_path, requests, polls=[poll]).now(stretch(logged(trace(n=50), CLUSTER)))
    assert found.capacity is None
    assert found.cluster.standing is None
    assert any("no route" in note for note in found.notes)
    assert any("The log is gone" in note for note in found.notes)


def test_lost_gpus_are_simulated_and_told(tmp_path):
    told = []
    ground = grounds(tmp_path, lambda *_: logged(trace(n=50), CLUSTER), told=told.append)
    nodes = [Node("a", 1, "A100"), Node("b", 1, "A100")]
    ground.take([ClusterEvent(BEGAN - 5, Change.PRESENT, node) for node in nodes])
    ground.take([ClusterEvent(BEGAN + 40, Change.FAILED, nodes[1])])
    found = ground.now(stretch(logged(trace(n=50), CLUSTER)))
    assert found.capacity.trace.sampled(25.0).tolist() == [2, 2, 1, 1]
    assert found.capacity.trace.unannounced.tolist() == [True]
    assert [event.kind for event in told] == ["node_present", "node_present", "node_failed"]


def test_only_what_the_live_policy_decided_is_compared(tmp_path):
    before, after = logged(trace(), really()), logged(trace(seed=3), CLUSTER, digest="ab" * 32)
    moved = replace(after, arrived_unix_s=after.arrived_unix_s + 200.0)
    both = type(after).join([replace(before, digest=np.zeros_like(before.digest),
                                     digests=("cd" * 32,)), moved])  # fmt: skip
    live = Live("ab" * 32, default_policy())
    found = grounds(tmp_path, lambda *_: both, live=lambda: live).now(stretch(both))
    assert found.cluster.standing.requests < 600
    assert found.cluster.standing.grade is Grade.GOOD
    assert found.staleness is None


@pytest.mark.parametrize(("seen", "up"), [((0, 1), 2), ((0,), 1), ((0, 1, 2), 3)])
def test_events_are_laid_on_the_clusters_gpus(seen, up):
    live = LiveCluster()
    live.take([ClusterEvent(BEGAN - 1, Change.PRESENT, Node(f"n{k}", 1, "A100")) for k in seen])
    pairing, notes = pairing_of(CLUSTER, live.trace(BEGAN, UNTIL), 2.0)
    assert (pairing is None) is (up >= 2)
    assert bool(notes) is (up > 2)
    if pairing is not None:
        assert (pairing.trace.span_s, pairing.trace.sampled(100.0).tolist()) == (200.0, [1, 1])


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
    span = Stretch(
        observed(requests).trace, float(requests.arrived_unix_s.min()),
        float(requests.arrived_unix_s.max()),
    )  # fmt: skip
    ground = LiveGrounds(
        base, Calibrator(CalibrationShelf(tmp_path), base), lambda: Live("", default_policy()),
        lambda *_: requests, clock=lambda: span.until_unix_s,
    )  # fmt: skip
    found = ground.now(span)
    (kept,) = CalibrationShelf(tmp_path).versions()
    before, after = kept.provenance.window_error
    assert before < -0.05
    assert abs(after) < 0.02
    standing = found.cluster.standing
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
