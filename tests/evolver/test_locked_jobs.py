"""Jobs in locked-down processes: one that fails ends all of them, or none but itself."""

from pathlib import Path

import locked_work
import pytest

from evolver.errors import ExperimentRefused
from evolver.locked_jobs import LockedJob, Workplace
from sandbox.worker_process import Role, WarmProcess, WorkerSetup, WorkersUnavailable

NAME = locked_work.__name__


class Here(Workplace):
    """A workplace whose jobs are of the tests' folder."""

    def start(self):
        folder = str(Path(locked_work.__file__).parent)
        return WarmProcess(WorkerSetup({"job": Role(self.job)}, self.prepare, (folder,)), "hello")


PLACE = Here(f"{NAME}:answer", f"{NAME}:prepare", "hello")


def refuses():
    raise ExperimentRefused("this one cannot be laid out; lengthen it")


def gone():
    raise WorkersUnavailable("no process is left")


GOOD = [LockedJob("first", {"k": 1}, lambda: b"one"), LockedJob("last", {"k": 2}, lambda: b"two")]
CRASHES = LockedJob("crashes", {"crash": True})
REFUSED = LockedJob("refused", {}, refuses)


def test_results_come_in_the_order_of_the_jobs():
    heard = []
    found = PLACE.run_all(GOOD, 2, heard.append)
    assert [one["of"] for one in found] == ["one", "two"]
    assert sorted(heard) == ["first", "last"]


@pytest.mark.parametrize(
    ("bad", "words"), [(CRASHES, "crashes ended with crash"), (REFUSED, "cannot be laid out")]
)
def test_a_job_that_fails_ends_no_other_where_each_is_asked_for(bad, words):
    heard = []
    first, failed, last = PLACE.run_each([GOOD[0], bad, GOOD[1]], 1, heard.append)
    assert (first["k"], last["k"]) == (1, 2)
    assert words in failed
    assert heard == ["first", bad.title, "last"]
    with pytest.raises(ExperimentRefused, match=words):
        PLACE.run_all([GOOD[0], bad, GOOD[1]], 1, heard.append)


def test_without_processes_there_is_nothing_to_go_on_with():
    with pytest.raises(WorkersUnavailable):
        PLACE.run_each([LockedJob("gone", {}, gone), *GOOD], 1, lambda _: None)
