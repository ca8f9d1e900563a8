"""What a host remembers of what it admitted, on disk and among its processes."""

import json
import os

import pytest

from policy_store.errors import SnapshotDamaged, SnapshotStale, TrustUnusable
from policy_store.keys import read_trusted
from serving_adapter.admission import Floor
from serving_adapter.errors import SnapshotRefused, StateUnusable


def test_the_floor_is_shared_by_the_processes_of_a_host(new_admission, snapshot_of, tmp_path):
    one, other = new_admission(state=tmp_path), new_admission(state=tmp_path)
    one.accept(snapshot_of(8, "first"))
    assert other.floor().sequence == 8
    with pytest.raises(SnapshotStale):
        other.check(snapshot_of(7, "first"))


def test_a_slow_process_does_not_lower_the_floor(new_admission, snapshot_of, tmp_path):
    one, other = new_admission(state=tmp_path), new_admission(state=tmp_path)
    one.accept(snapshot_of(8, "first"))
    with pytest.raises(SnapshotStale):
        other.accept(snapshot_of(7, "last"))
    assert other.watched() == new_admission(state=tmp_path).floor().sequence == 8


def test_of_two_processes_that_checked_at_once_one_names_the_sequence(
    new_admission, snapshot_of, tmp_path
):
    one, other = new_admission(state=tmp_path), new_admission(state=tmp_path)
    one.check(snapshot_of(8, "first"))
    other.check(snapshot_of(8, "last"))
    one.accept(snapshot_of(8, "first"))
    with pytest.raises(SnapshotRefused, match="another policy"):
        other.accept(snapshot_of(8, "last"))


def test_a_sequence_names_one_policy_for_ever(new_admission, snapshot_of, tmp_path, word_digest):
    new_admission(state=tmp_path).accept(snapshot_of(3, "first"))
    again = new_admission(state=tmp_path)
    assert again.floor() == Floor(3, word_digest("first"))
    again.check(snapshot_of(3, "first"))
    with pytest.raises(SnapshotRefused, match="another policy"):
        again.check(snapshot_of(3, "last"))


def test_another_deployments_memory_is_refused(new_admission, snapshot_of, tmp_path):
    new_admission(state=tmp_path).accept(snapshot_of(3, "first"))
    with pytest.raises(StateUnusable, match="deployment 'default'"):
        new_admission(state=tmp_path, deployment="batch").floor()


@pytest.mark.parametrize(
    "body", ["", "[]", {"schema": 2, "deployment": "default", "sequence": 1, "policy": None},
             {"schema": 1, "deployment": "default", "sequence": True, "policy": None},
             {"schema": 1, "deployment": "default", "sequence": -1, "policy": None},
             {"schema": 1, "deployment": "default", "sequence": 1, "policy": 3}]
)  # fmt: skip
def test_a_damaged_memory_admits_nothing(new_admission, snapshot_of, tmp_path, body):
    (tmp_path / "sequence.json").write_text(body if isinstance(body, str) else json.dumps(body))
    with pytest.raises(StateUnusable, match="remove the file"):
        new_admission(state=tmp_path).check(snapshot_of(9, "first"))


def test_a_pipe_where_a_file_should_be_is_refused_and_not_waited_for(new_admission, tmp_path):
    pipe = tmp_path / "sequence.json"
    os.mkfifo(pipe)
    with pytest.raises(StateUnusable):
        new_admission(state=tmp_path).floor()
    with pytest.raises(SnapshotDamaged):
        new_admission().read(pipe)
    with pytest.raises(TrustUnusable):
        read_trusted(pipe)
