"""A run's sealed windows are opened for one candidate, and the audit log knows which."""

import pytest
from made_up import member

from evolver.budget import Limits
from evolver.evolution import Problem
from evolver.journal import Event, EventKind
from evolver.record import RunRecord
from policy_store import PolicyStore
from policy_store.errors import SealedBefore
from sandbox.cluster import load_cluster
from sandbox.replay import LoadReport
from telemetry import generate, load_profile

ONE, OTHER = member("one").digest, member("other").digest


def opening(candidate):
    return Event(1, EventKind.SEALED_OPENED, 1, candidate, {"windows": ["a", "b"], "humans": []})


def test_each_opening_is_audited_once_and_a_second_candidate_is_refused(tmp_path):
    trace = generate(load_profile("azure2023_conv"), span_s=5.0, seed=0)
    problem = Problem(trace, load_cluster("edge-8b"), LoadReport(None, 10.0, 8.0, 1.0))
    with (
        PolicyStore.open(tmp_path / "store.db") as store,
        RunRecord(store, problem, Limits(evaluations=1), None) as record,
    ):
        record.on_event(opening(ONE))
        record.on_event(opening(ONE))  # as after a resume
        with pytest.raises(SealedBefore, match="in a run with fresh windows"):
            record.on_event(opening(OTHER))
        (entry,) = store.audit.entries(subject=ONE)
        assert dict(entry.details) == {"run": record.run, "windows": 2}
        assert store.audit.verify().intact
