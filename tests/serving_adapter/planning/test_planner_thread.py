import time

from planning_policies import LATE_GREED, TWO
from snapshot_files import SnapshotFile

from serving_adapter.host import PolicyHost
from serving_adapter.planning.planner import Reading
from serving_adapter.planning.planner_thread import PlannerSettings, PlannerThread
from serving_adapter.planning.wanted import ReplicaReading
from serving_adapter.planning.window import Tally


def until(condition, timeout_s=20.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_it_follows_the_signed_snapshot_and_an_ejection_is_latched_on_disk(tmp_path, three):
    file, queued, decisions = SnapshotFile(tmp_path), [0], []
    file.publish(LATE_GREED, TWO)
    settings = PlannerSettings(
        cluster=three, snapshot=file.path, trust=file.trust, state=tmp_path / "state",
        engine="interpreted", period_s=0.02,
    )  # fmt: skip

    def reading():
        spec = thread.planner.cluster.spec_of(0, 1, 1)
        return Reading(now_s=time.monotonic(), sums=Tally().sums, queued_requests=queued[0],
                       replicas=(ReplicaReading(spec=spec),))  # fmt: skip

    thread = PlannerThread(settings, reading, decisions.append)
    thread.start()
    thread.start()
    try:
        until(lambda: thread.wanted is not None)
        assert (thread.wanted.sequence, len(thread.wanted.replicas)) == (1, 1)
        queued[0] = 77
        until(lambda: len(thread.wanted.replicas) == 2)
        assert len(list((tmp_path / "state" / "latches").iterdir())) == 1
        file.publish(TWO)
        until(lambda: decisions[-1].sequence == 2)
    finally:
        thread.stop()
    assert {one.digest for one in decisions} <= file.named[1] | file.named[2]
    sequences = [one.sequence for one in decisions]
    assert sequences == sorted(sequences)


def test_nothing_is_planned_while_the_process_is_behind(tmp_path, three, monkeypatch):
    file, decisions, read = SnapshotFile(tmp_path), [], []
    file.publish(TWO)
    settings = PlannerSettings(cluster=three, snapshot=file.path, trust=file.trust,
                               engine="interpreted", period_s=0.02)  # fmt: skip

    def reading():
        read.append(None)
        return Reading(now_s=time.monotonic(), sums=Tally().sums, replicas=())

    thread = PlannerThread(settings, reading, decisions.append)
    monkeypatch.setattr(PolicyHost, "behind", True)
    thread.start()
    try:
        until(lambda: len(read) >= 3)
        assert not decisions
        monkeypatch.undo()
        until(lambda: thread.wanted is not None)
    finally:
        thread.stop()
