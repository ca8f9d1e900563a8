import os
import socket
from pathlib import Path

import pytest

from sandbox.scores import WORST_OBJECTIVE_S, Candidate
from sandbox.worker import WorkerPool, WorkersUnavailable

TOY = str(Path(__file__).parent / "toy")
WINDOWS = ("w0", "w1")


def make_pool(payload=None, **options):
    payload = {"base": {"w0": 1.0, "w1": 10.0}} | (payload or {})
    defaults = {"workers": 2, "deadline_s": 20.0, "memory_bytes": 400 << 20}
    places = {"score": "toy_scorer:score", "search_path": [TOY], "prepare": "toy_scorer:prepare"}
    return WorkerPool(payload, **(defaults | places | options))


@pytest.fixture(scope="module")
def pool():
    with make_pool() as pool:
        yield pool


@pytest.fixture(scope="module")
def hasty_pool():
    with make_pool(deadline_s=0.5) as pool:
        yield pool


def job(text, windows=WINDOWS, **parameters):
    return Candidate(text, parameters or None), windows


def objectives(scores):
    return [score.objective for score in scores]


def in_force(pool, name):
    return next(layer.in_force for layer in pool.layers if layer.name == name)


def test_scores_come_back_in_the_order_of_jobs_and_windows(pool):
    jobs = [job("sleep_then_well"), job("well", ("w1",)), job("well", FACTOR=5.0)]
    results = pool.evaluate(jobs)
    assert [objectives(scores) for scores in results] == [[3.0, 30.0], [20.0], [5.0, 50.0]]
    assert [score.window for score in results[0]] == ["w0", "w1"]


def test_the_number_of_workers_changes_no_score(pool):
    jobs = [job(f"well {i % 3}", FACTOR=float(i)) for i in range(1, 9)]
    with make_pool(workers=1) as serial:
        assert [objectives(s) for s in serial.evaluate(jobs)] == [
            objectives(s) for s in pool.evaluate(jobs)
        ]


def test_new_parameters_of_a_source_reach_the_process_that_knows_it():
    with make_pool(workers=1) as pool:
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


def test_a_fork_bomb_cannot_fork(pool):
    if not in_force(pool, "no new processes"):
        pytest.skip("the system does not limit processes of this user")
    (scores,) = pool.evaluate([job("fork")])
    assert scores[0].fault == "crash"


def test_a_candidate_can_write_no_file(tmp_path):
    tmp_path.chmod(0o777)
    with make_pool({"file": str(tmp_path / "x")}) as pool:
        (scores,) = pool.evaluate([job("write")])
    assert scores[0].objective == 7.0


def test_a_candidate_has_no_network_and_no_environment(monkeypatch):
    monkeypatch.setenv("HOME", "/nowhere")
    server = socket.create_server(("127.0.0.1", 0))
    with server, make_pool({"port": server.getsockname()[1]}) as pool:
        connected, looked = pool.evaluate([job("connect"), job("look_around")])
        assert looked[0].objective == 7.0
        if in_force(pool, "no network"):
            assert connected[0].objective == 7.0


@pytest.mark.parametrize("text", ["chmod", "kill_its_parent", "exec"])
def test_system_calls_that_reach_outside_are_refused(pool, text):
    if not in_force(pool, "few system calls"):
        pytest.skip("this kernel or machine has no filter of system calls")
    (scores,) = pool.evaluate([job(text)])
    assert scores[0].objective == 7.0


def test_layers_in_force_and_missing_are_named_with_reasons(pool):
    assert in_force(pool, "bounded memory")
    assert all(layer.in_force or layer.note for layer in pool.layers)


def test_a_killed_warm_process_is_started_again_and_nothing_is_lost():
    with make_pool(workers=1) as pool:
        os.kill(pool._warm._process.pid, 9)
        assert objectives(pool.evaluate([job("well")])[0]) == [2.0, 20.0]


def test_a_parameter_that_is_no_number_is_refused(pool):
    (scores,) = pool.evaluate([job("well", FACTOR=float("nan"))])
    assert scores[0].fault == "refused"


@pytest.mark.parametrize("where", [{"score": "toy_scorer:nobody"}, {"prepare": "no_module:f"}])
def test_a_scorer_that_cannot_start_is_named_and_no_candidate_is_blamed(where):
    with pytest.raises(WorkersUnavailable, match=r"could not start: (Attribute|ModuleNotFound)"):
        make_pool(**where).start()


def test_no_process_outlives_the_pool():
    with make_pool(workers=1) as pool:
        pool.evaluate([job("well")])
        pids = [pool._warm._process.pid, pool._idle[0].child.pid]
    assert [_gone(pid) for pid in pids] == [True, True]


def _gone(pid):
    for _ in range(1000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        os.sched_yield()
    return False
