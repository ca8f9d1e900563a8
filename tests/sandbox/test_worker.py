import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_pools import children_of, toy_pool

from sandbox.scores import WORST_OBJECTIVE_S, Candidate
from sandbox.worker import IsolationMissing, WorkersUnavailable
from sandbox.worker_child import Child, JobFault

HERE = Path(__file__).parent

WINDOWS = ("w0", "w1")


@pytest.fixture(scope="module")
def pool():
    with toy_pool() as pool:
        yield pool


@pytest.fixture(scope="module")
def hasty_pool():
    with toy_pool(endless=hangs) as pool:
        yield pool


def hangs(text, asked_before):
    return asked_before if text == "hang_the_second_time" else "hang" in text


def job(text, windows=WINDOWS, **parameters):
    return Candidate(text, parameters or None), windows


def objectives(scores):
    return [score.objective for score in scores]


def test_scores_come_back_in_the_order_of_jobs_and_windows(pool):
    jobs = [job("dawdle_then_well"), job("well", ("w1",)), job("well", FACTOR=5.0)]
    results = pool.evaluate(jobs)
    assert [objectives(scores) for scores in results] == [[3.0, 30.0], [20.0], [5.0, 50.0]]
    assert [score.window for score in results[0]] == ["w0", "w1"]


def test_scores_are_told_once_each_as_they_are_done(pool):
    told = {}
    jobs = [job("dawdle_then_well"), job("refuse"), job("well", ("w1",))]
    results = pool.evaluate(jobs, lambda index, scores: told.setdefault(index, scores))
    assert [told[index] for index in range(3)] == results


def test_an_error_of_who_is_told_ends_the_batch_at_once(pool):
    def fail(index, scores):
        raise OSError(f"no room for {scores[0].window}")

    with pytest.raises(OSError, match="no room for w0"):
        pool.evaluate([job("well"), job("well again")], fail)
    assert objectives(pool.evaluate([job("well")])[0]) == [2.0, 20.0]


def test_the_number_of_workers_changes_no_score(pool):
    jobs = [job(f"well {i % 3}", FACTOR=float(i)) for i in range(1, 9)]
    with toy_pool(workers=1) as serial:
        assert [objectives(s) for s in serial.evaluate(jobs)] == [
            objectives(s) for s in pool.evaluate(jobs)
        ]


def test_new_parameters_of_a_source_reach_the_process_that_knows_it():
    with toy_pool(workers=1) as pool:
        calls = [
            pool.evaluate([job("well kept", FACTOR=f)])[0][0].metrics["calls"] for f in (1.0, 2.0)
        ]
    assert calls == [1.0, 2.0]


def test_two_sources_never_share_a_process(pool):
    first, second = pool.evaluate([job("well of one"), job("well of another")])
    assert first[0].metrics["calls"] == second[0].metrics["calls"] == 1.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("exit", "crash"),
        ("segfault", "crash"),
        ("raise", "crash"),
        ("nan", "crash"),
        ("babble", "crash"),
        ("allocate", "memory"),
        ("refuse", "refused"),
    ],
)
def test_a_mishap_scores_worst_on_every_window_and_harms_nobody(pool, text, fault):
    bad, good = pool.evaluate([job(text), job("well")])
    assert [(s.objective, s.fault) for s in bad] == [(WORST_OBJECTIVE_S, fault)] * 2
    assert objectives(good) == [2.0, 20.0]


def test_a_hang_is_killed_at_the_deadline(hasty_pool):
    hung, good = hasty_pool.evaluate([job("hang"), job("well")])
    assert {score.fault for score in hung} == {"timeout"}
    assert objectives(good) == [2.0, 20.0]


def test_a_verdict_comes_from_a_process_without_a_past(hasty_pool):
    jobs = [job("hang_the_second_time", FACTOR=float(i)) for i in range(3)]
    assert [s[0].fault for s in hasty_pool.evaluate(jobs)] == [None, None, None]


def test_a_candidate_has_no_environment_and_no_working_directory(pool, monkeypatch):
    monkeypatch.setenv("HOME", "/nowhere")
    with toy_pool() as pool:
        assert objectives(pool.evaluate([job("look_around")])[0]) == [7.0, 70.0]


def test_machine_code_is_made_once_a_source_and_reaches_every_child(pool):
    jobs = [job("compile well", FACTOR=float(i)) for i in range(4)] + [job("compile hasty")]
    assert {objectives(scores)[0] for scores in pool.evaluate(jobs[:4])} == {3.0}


def test_machine_code_is_made_after_all_for_what_takes_too_long_without(pool):
    slow, good = pool.evaluate([job("slowly"), job("well")])
    assert (objectives(slow), objectives(good)) == ([4.0, 40.0], [2.0, 20.0])
    assert slow[0].metrics["calls"] == 1.0


@pytest.mark.parametrize(
    ("mishap", "fault"), [("exit", "crash"), ("refuse", "refused"), ("allocate", "memory")]
)
def test_a_mishap_of_the_compiler_is_the_candidates(pool, mishap, fault):
    jobs = [job(f"compile {mishap}", FACTOR=float(i)) for i in range(3)]
    bad, again, third, good = pool.evaluate([*jobs, job("well")])
    assert {score.fault for score in (*bad, *again, *third)} == {fault}
    assert objectives(good) == [2.0, 20.0]


def test_a_compiler_that_hangs_is_killed_at_the_deadline(hasty_pool):
    (hung,) = hasty_pool.evaluate([job("compile hang")])
    assert {score.fault for score in hung} == {"timeout"}


def test_layers_are_all_in_force_or_named_with_reasons(pool):
    assert {layer.name for layer in pool.layers} >= {"files", "calls", "memory", "user"}
    assert all(layer.in_force or layer.note for layer in pool.layers)


MISSING = [("on_another_machine", "calls"), ("without_landlock", "files"),
           ("as_one_who_stays", "user")]  # fmt: skip


@pytest.mark.parametrize(("how", "layer"), MISSING)
def test_without_a_layer_nothing_runs_unless_it_is_accepted_by_name(how, layer, monkeypatch):
    with pytest.raises(IsolationMissing, match=f"--accept-missing {layer}") as missing:
        toy_pool(prepare=f"toy_scorer:prepare_{how}").start()
    names = missing.value.names  # root that stays root may fork, too
    assert layer in names
    monkeypatch.setenv("EVOLVER_ACCEPT_MISSING", "core tracing")
    with pytest.raises(IsolationMissing):
        toy_pool(prepare=f"toy_scorer:prepare_{how}", accept_missing={"memory"}).start()
    with toy_pool(prepare=f"toy_scorer:prepare_{how}", accept_missing=names) as pool:
        assert tuple(layer.name for layer in pool.missing) == names
        assert objectives(pool.evaluate([job("well")])[0]) == [2.0, 20.0]


def test_the_environment_accepts_missing_layers_too(monkeypatch):
    monkeypatch.setenv("EVOLVER_ACCEPT_MISSING", "calls,files")
    with toy_pool(prepare="toy_scorer:prepare_on_another_machine") as pool:
        assert [missing.name for missing in pool.missing] == ["calls"]


def test_a_layer_that_there_is_not_cannot_be_accepted():
    with pytest.raises(IsolationMissing, match="No layer of isolation is called 'everything'"):
        toy_pool(accept_missing={"everything"})


def test_a_killed_warm_process_is_started_again_and_nothing_is_lost():
    with toy_pool(workers=1) as pool:
        os.kill(pool._warm._process.pid, 9)
        assert objectives(pool.evaluate([job("well")])[0]) == [2.0, 20.0]


def test_a_parameter_that_is_no_number_is_refused(pool):
    (scores,) = pool.evaluate([job("well", FACTOR=float("nan"))])
    assert scores[0].fault == "refused"


WRONG = {"score": "toy_scorer:nobody"}


@pytest.mark.parametrize("where", [{"jobs": WRONG}, {"prepare": "no_module:f"}])
def test_a_job_that_cannot_start_is_named_and_no_candidate_is_blamed(where):
    with pytest.raises(WorkersUnavailable, match=r"could not start: (Attribute|ModuleNotFound)"):
        toy_pool(**where).start()


def test_a_child_is_stopped_between_jobs():
    with toy_pool(workers=1) as pool:
        pool.evaluate([job("well")])
        idle = pool._idle[0].child.pid
        assert _settled(lambda: children_of(pool) == {idle: "T"})
        assert objectives(pool.evaluate([job("well", FACTOR=4.0)])[0]) == [4.0, 40.0]
        assert pool._idle[0].child.pid == idle


def test_no_process_outlives_the_pool():
    with toy_pool(workers=1) as pool:
        pool.evaluate([job("well")])
        pids = [pool._warm._process.pid, pool._idle[0].child.pid]
    assert _settled(lambda: all(map(_gone, pids)))


def test_children_die_with_a_warm_process_that_is_killed():
    with toy_pool(workers=1) as pool:
        pool.evaluate([job("well")])
        pid = pool._idle[0].child.pid
        os.kill(pool._warm._process.pid, 9)
        assert _settled(lambda: _gone(pid))


def _gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _settled(holds, within_s=10.0):
    until_s = time.monotonic() + within_s
    while not holds() and time.monotonic() < until_s:
        time.sleep(0.005)
    return holds()


def test_an_idle_child_that_somebody_else_buried_is_a_fault_of_its_next_job():
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        child = Child(gone.pid, ours, 256, ())
        child.pause()
        child.resume()
        with pytest.raises(JobFault):
            child.send({})
