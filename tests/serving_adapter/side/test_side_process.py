"""Policies in processes of their own: same decisions, deadlines, deaths, and what is made of them.

Processes start from the installed package, as they do for users.
"""

import concurrent.futures.thread as executor
import contextlib
import mmap
import os
import signal
import socket
import threading
import time

import numpy as np
import pytest
from routing_policies import LATE_DIVISION, SHORTEST

from evolver.library import read
from sandbox import contract
from sandbox.errors import PolicyFault
from sandbox.policies import default_text
from sandbox.records import new_rows
from sandbox.worker_layers import IsolationMissing, probe
from serving_adapter.activation import missing_rows, new_memory, prepare_policy
from serving_adapter.errors import (
    PolicyUnusable,
    SideProcessAway,
    SideProcessDied,
    SideProcessSlow,
)
from serving_adapter.side import side_router
from serving_adapter.side.side_page import ANSWER, ASK, MAX_INSTANCES, new_page, views_of
from serving_adapter.side.side_process import SideProcesses
from serving_adapter.side.side_router import SideProcess, SideRouter

PLANNER_ONLY = '"""Never plans."""\n\n\ndef should_reschedule(window, cluster, plan, memory):\n' \
    "    return False\n"


@pytest.fixture(scope="module")
def processes():
    """Side processes with a deadline that a busy machine cannot miss."""
    started = SideProcesses("interpreted", deadline_s=5.0)
    yield started
    started.close()


def rows_of(*queued):
    rows = new_rows(contract.Instance, len(queued))
    rows["id"], rows["queued_requests"] = 10 + np.arange(len(queued)), queued
    return rows


def ask(router, *queued, memory=None, **request_fields):
    request = missing_rows(contract.Request, 1)
    for name, value in request_fields.items():
        request[name] = value
    memory = new_memory() if memory is None else memory
    return router.route(request, rows_of(*queued), memory, 0, 60_000)


def until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it never came true")


@pytest.mark.parametrize("text", [default_text(), read("prefix_affinity")])
def test_what_ships_loads_where_no_file_can_be_opened(processes, text):
    assert processes.prepare(text).router is not None


@pytest.mark.parametrize("engine", ["interpreted", "compiled"])
def test_law_5_it_decides_what_the_engine_in_process_decides(engine):
    processes = SideProcesses(engine, deadline_s=5.0)
    side, here = processes.prepare(SHORTEST), prepare_policy(SHORTEST, engine="interpreted")
    memories = side.memory, here.memory
    for queued in ([3], [2, 0, 1], list(range(200, 0, -1))):
        choices = [ask(one.router, *queued, memory=one.memory) for one in (side, here)]
        assert choices[0] == choices[1]
    assert (side.digest, memories[0].tolist()) == (here.digest, memories[1].tolist())
    processes.close()


def test_parameters_take_effect(processes):
    tuned = processes.prepare(SHORTEST, {"WEIGHT": 0.5})
    assert tuned.digest == prepare_policy(SHORTEST, {"WEIGHT": 0.5}, engine="interpreted").digest


def test_a_fault_comes_back_by_kind_and_ends_nothing(processes):
    router = processes.prepare(LATE_DIVISION).router
    with pytest.raises(PolicyFault, match="divided by zero"):
        ask(router, 0, 0, prompt_tokens=777)
    assert ask(router, 0, 0, prompt_tokens=1) == 10


@pytest.mark.parametrize(
    ("source", "word"),
    [("import os\n", "import"), ('"""x"""\n\n\ndef route(request, instances, memory):\n'
                                 "    return 42\n", "smoke test")],
)  # fmt: skip
def test_what_is_refused_in_process_is_refused_here(processes, source, word):
    with pytest.raises(PolicyUnusable, match=word):
        processes.prepare(source)


def test_a_policy_that_does_not_route_needs_no_process(processes):
    assert processes.prepare(PLANNER_ONLY).router is None


def test_a_killed_process_is_replaced_once(processes):
    router = processes.prepare(SHORTEST).router
    first = router.process.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: not alive(first))
    with pytest.raises(SideProcessDied) as death:
        ask(router, 1, 0)
    assert not death.value.final
    until(lambda: router.process is not None)
    assert (ask(router, 1, 0), router.process.pid != first) == (11, True)
    os.kill(router.process.pid, signal.SIGSEGV)
    until(lambda: router.process is None or dies(router))
    with pytest.raises(SideProcessDied, match="second one") as death:
        ask(router, 1, 0)
    assert death.value.final


def alive(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def dies(router):
    try:
        ask(router, 1, 0)
    except SideProcessDied:
        return True
    return False


def test_a_stopped_process_costs_one_deadline_and_then_nothing(processes, monkeypatch):
    router = processes.prepare(SHORTEST).router
    router.deadline_s = 0.002
    pid = router.process.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(SideProcessSlow) as miss:
        ask(router, 1, 0)
    assert miss.value.busy_s < 0.002
    with pytest.raises(SideProcessAway, match="busy"):
        ask(router, 1, 0)
    os.kill(pid, signal.SIGCONT)
    router.deadline_s = 5.0
    until(lambda: not is_busy(router))
    assert (ask(router, 1, 0), router.process.pid) == (11, pid)


def is_busy(router):
    try:
        ask(router, 1, 0)
    except SideProcessAway:
        return True
    return False


def test_a_process_that_hangs_is_killed(processes, monkeypatch):
    monkeypatch.setattr(side_router, "HANG_S", 0.02)
    router = processes.prepare(SHORTEST).router
    router.deadline_s, pid = 0.001, router.process.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(SideProcessSlow):
        ask(router, 1, 0)
    time.sleep(0.05)
    with pytest.raises(SideProcessDied, match="no answer"):
        ask(router, 1, 0)
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_the_process_goes_with_its_policy(processes):
    ready = processes.prepare(SHORTEST)
    pid = ready.router.process.pid
    del ready
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_the_collector_may_end_a_process_wherever_it_runs(processes):
    """It may run while this thread holds any lock there is, such as those of `to_thread`."""
    router = processes.prepare(SHORTEST).router
    pid = router.process.pid
    ending = threading.Thread(target=router.process.end, daemon=True)
    with executor._global_shutdown_lock:
        ending.start()
        ending.join(5)
    assert not ending.is_alive()
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_all_processes_go_when_the_warm_one_does():
    processes = SideProcesses("interpreted", deadline_s=5.0)
    router = processes.prepare(SHORTEST).router
    pid = router.process.pid
    processes.close()
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_where_isolation_is_needed_each_missing_layer_is_accepted_by_name(processes):
    missing = {layer.name for layer in probe() if not layer.in_force}
    strict = SideProcesses("interpreted", needs_isolation=True, accept_missing=missing)
    assert strict.prepare(SHORTEST).router is not None
    strict.close()


def test_a_missing_layer_that_nobody_accepted_is_refused(processes, monkeypatch):
    from sandbox.worker_lockdown import Layer

    strict = SideProcesses("interpreted", needs_isolation=True)
    fork = SideProcesses._fork

    def without_seccomp(self, lent=()):
        child = fork(self, lent)
        child.layers = (Layer("calls", False, "refused"),)
        return child

    monkeypatch.setattr(SideProcesses, "_fork", without_seccomp)
    with pytest.raises(PolicyUnusable, match="--accept-missing calls"):
        strict.prepare(SHORTEST)
    strict.close()


def test_a_layer_that_does_not_exist_cannot_be_accepted():
    with pytest.raises(IsolationMissing, match="No layer"):
        SideProcesses(accept_missing=["everything"])


@pytest.fixture
def played():
    """A router whose process is played by the test: the other end of its socket, and its page."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor, page = new_page()
    replacements = []
    process = SideProcess(os.getpid(), ours, page, lambda: None)
    router = SideRouter(process, None, replacements.append, 0.002)
    yield router, theirs, views_of(mmap.mmap(descriptor, 0))
    os.close(descriptor)
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("packet", "word"),
    [(b"x", "wrong length"), (b"x" * 4096, "wrong length"), (ANSWER.pack(2, 0, 10), "nobody asked"),
     (ANSWER.pack(-1, 0, 10), "nobody asked"), (ANSWER.pack(1, 99, 10), "status"),
     (ANSWER.pack(1, -1, 10), "status")],
)  # fmt: skip
def test_whatever_is_no_answer_is_the_end_of_the_process(played, packet, word):
    router, there, _ = played
    there.send(packet)
    with pytest.raises(SideProcessDied, match=word):
        ask(router, 1, 0)


def test_an_answer_given_twice_is_the_end_of_the_process(played):
    router, there, _ = played
    there.send(ANSWER.pack(1, 0, 11))
    assert ask(router, 1, 0) == 11
    there.send(ANSWER.pack(1, 0, 11))
    with pytest.raises(SideProcessDied, match="nobody asked"):
        ask(router, 1, 0)


def test_a_late_answer_is_thrown_away(played):
    router, there, _ = played
    with pytest.raises(SideProcessSlow):
        ask(router, 1, 0)
    there.send(ANSWER.pack(1, 0, 10))
    there.send(ANSWER.pack(2, 0, 11))
    assert ask(router, 1, 0) == 11


def fill(channel):
    with contextlib.suppress(BlockingIOError):
        while True:
            channel.send(b"x")


def test_a_full_pipe_is_a_miss(played, monkeypatch):
    router, _, _ = played
    fill(router.process._channel)
    with pytest.raises(SideProcessSlow, match="takes no questions"):
        ask(router, 1, 0)
    assert router.process is not None


def test_the_page_is_not_touched_while_an_answer_is_late(played):
    router, there, page = played
    with pytest.raises(SideProcessSlow):
        ask(router, 5, 6)
    with pytest.raises(SideProcessAway):
        ask(router, 7, 8)
    number, count, _, fuel = ASK.unpack(there.recv(100))
    assert (number, count, fuel) == (1, 2, 60_000)
    assert page.instances["queued_requests"][:2].tolist() == [5, 6]


def test_a_page_cannot_be_cut_off_under_its_reader():
    descriptor, page = new_page()
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    assert len(page.instances) == MAX_INSTANCES
    os.close(descriptor)


def test_more_instances_than_fit_are_not_asked_about(played):
    router, _, _ = played
    with pytest.raises(SideProcessAway, match="at most"):
        ask(router, *([0] * (MAX_INSTANCES + 1)))


async def test_a_host_serves_through_every_death(processes, new_host):
    from serving_adapter.facts import RequestFacts

    host = new_host(engines=2, prepare=processes.prepare)
    live = await host.swap(SHORTEST, 1)
    assert host.route(RequestFacts(arrived_s=0.0, prompt_tokens=1)).digest == live.digest
    os.kill(live.active.router.process.pid, signal.SIGKILL)
    for _ in range(20):
        decision = host.route(RequestFacts(arrived_s=0.0, prompt_tokens=1))
        assert decision.instance_id in (0, 1)
