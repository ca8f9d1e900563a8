"""Made-up cases are decided in locked-down processes: every policy gets an answer or a sentence."""

import numpy as np
import pytest

from evolver.library import read
from sandbox import what_if_worker
from sandbox.policies import default_text
from sandbox.scores import Candidate
from sandbox.what_if import Case, InstanceCase, Signal, Sweep
from sandbox.what_if_worker import Kind, Pick, WhatIf, WhatIfFailed, ask_job

CASE = Case((InstanceCase(), InstanceCase(queued_requests=50), InstanceCase(queued_requests=50)))


def policy(body):
    return Candidate(f'"""A test."""\n\n\ndef route(request, instances, memory):\n{body}')


@pytest.fixture(scope="module")
def asked():
    made = WhatIf()
    yield made
    made.close()


def test_a_sweep_shows_where_a_pick_changes(asked):
    cases = Sweep(Signal.QUEUED, 0).cases(CASE)
    picks = asked.picks(Candidate(read("least_loaded")), (CASE, *cases))
    assert picks[0].instance == 0
    assert [picks[1].instance, picks[-1].instance != 0] == [0, True]
    assert all(0 < pick.fuel < what_if_worker.FUEL for pick in picks)


def test_locked_down_it_decides_as_in_this_process(asked):
    cases = (CASE, *Sweep(Signal.KV_USE, 1).cases(CASE))
    text = default_text()
    message = {"source": text, "parameters": {}, "instances": [3] * len(cases)}
    here = np.frombuffer(
        ask_job(None, message, what_if_worker._rows_of(cases), {}), what_if_worker._ANSWER
    )
    there = asked.picks(Candidate(text), cases)
    assert [pick.instance for pick in there] == here["pick"].tolist()
    assert [pick.fuel for pick in there] == here["fuel"].tolist()


def test_parameters_count(asked):
    text = (
        '"""A test."""\nTAKEN = 0.0  # tune: 0 .. 2\n\n\ndef route(request, instances, memory):\n'
    )
    text += "    return int(TAKEN)\n"
    picks = [asked.picks(Candidate(text, {"TAKEN": k}), [CASE])[0].instance for k in (0.0, 2.0)]
    assert picks == [0, 2]


@pytest.mark.parametrize(("body", "kind"), [
    ("    return HOLD\n", Kind.HOLD),
    ("    return REJECT\n", Kind.REJECT),
    ("    return 77\n", Kind.INVALID),
    ("    return instances[len(instances)].id\n", Kind.FAULT),
    ("    memory[0] += 1\n    return int(memory[0]) - 1\n", Kind.INSTANCE),
])  # fmt: skip
def test_what_is_no_pick_is_told_apart_and_memory_is_new(asked, body, kind):
    picks = asked.picks(policy(body), [CASE, CASE])
    assert [pick.kind for pick in picks] == [kind, kind]
    assert picks[0] == picks[1]
    assert bool(picks[0].fault) == (kind is Kind.FAULT)


def test_a_policy_without_the_hook_says_so(asked):
    text = '"""A test."""\n\n\ndef priority(request, instance, memory):\n    return request.age_s\n'
    assert asked.picks(Candidate(text), [CASE]) is None


@pytest.mark.parametrize("text", ["import os", "", "\x00", "def route(:", "x" * 100_000])
def test_what_the_verifier_refuses_is_said(asked, text):
    with pytest.raises(WhatIfFailed, match="does not admit"):
        asked.picks(Candidate(text), [CASE])


def test_who_hangs_is_ended_and_not_asked_the_same_again(asked, monkeypatch):
    monkeypatch.setattr(what_if_worker, "DEADLINE_S", 0.0)
    slow = policy("    return 1\n")
    with pytest.raises(WhatIfFailed, match="no answer within"):
        asked.picks(slow, [CASE])
    monkeypatch.setattr(what_if_worker, "DEADLINE_S", 5.0)
    with pytest.raises(WhatIfFailed, match="no answer within"):
        asked.picks(slow, [CASE])
    assert asked.picks(policy("    return 2\n"), [CASE])[0].instance == 2


def test_processes_that_were_killed_are_started_again(asked):
    assert asked.picks(policy("    return 0\n"), [CASE])
    asked._warm._process.kill()
    assert asked.picks(policy("    return 1 \n"), [CASE])[0].instance == 1


@pytest.mark.parametrize("reply", [
    b"", b"none ", bytes(23), np.array([(0, -1, 0)], what_if_worker._ANSWER).tobytes(),
    np.array([(0, 10**9, 0)], what_if_worker._ANSWER).tobytes(),
])  # fmt: skip
def test_an_answer_that_cannot_be_is_none(reply):
    with pytest.raises(WhatIfFailed):
        what_if_worker._read(reply, [CASE])


def test_an_answer_names_only_faults_that_there_are():
    row = np.array([(2**62, 5, 2**40)], what_if_worker._ANSWER).tobytes()
    assert what_if_worker._read(row, [CASE]) == (Pick(Kind.FAULT, -1, 5, "it failed"),)


def test_questions_are_bounded(asked):
    with pytest.raises(ValueError, match="cases"):
        asked.picks(policy("    return 0\n"), [CASE] * 32)
