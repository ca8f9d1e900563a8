"""A run's sealed windows are opened for one candidate, and the audit log knows which."""

import pytest
from made_up import member

from evolver.journal import Event, EventKind
from evolver.record import RunRecord
from policy_store import PolicyStore
from policy_store.errors import SealedBefore

ONE, OTHER = member("one").digest, member("other").digest


def opening(candidate):
    return Event(1, EventKind.SEALED_OPENED, 1, candidate, {"windows": ["a", "b"], "humans": []})


def test_each_opening_is_audited_once_and_a_second_candidate_is_refused(tmp_path):
    with PolicyStore.open(tmp_path / "store.db") as store:
        run = store.runs.start_run("evolve", {}).id
        RunRecord(store, run).on_event(opening(ONE))
        resumed = RunRecord.resume(store, run)
        resumed.on_event(opening(ONE))
        with pytest.raises(SealedBefore, match="in a run with fresh windows"):
            resumed.on_event(opening(OTHER))
        (entry,) = store.audit.entries(subject=ONE)
        assert dict(entry.details) == {"run": run, "windows": 2}
        assert store.audit.verify().intact
