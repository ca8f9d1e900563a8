"""Remarks: the worst requests of a window in numbers, lost ones first."""

import re
from dataclasses import replace

import pytest

from evolver.library import read
from sandbox.cluster import load_cluster
from sandbox.engine import load_policy
from sandbox.hardware import build_hardware
from sandbox.remarks import remarks
from sandbox.replay import default_policy
from sandbox.simulation import Setup, simulate
from sandbox.verifier import verify
from telemetry.generator import generate
from telemetry.profile import load_profile

CLUSTER = load_cluster("edge-8b")
HARDWARE = build_hardware(CLUSTER)
TRACE = generate(load_profile("azure2023_conv"), n=200, seed=4, rate_scale=4.0)
REJECTS = '''"""Sends the longest away."""


def route(request, instances, memory):
    if request.prompt_tokens > 3000:
        return REJECT
    return instances[0].id
'''


def told(text, warmup_s=1.0, trace=TRACE):
    policy = load_policy(verify(text), engine="interpreted")
    outcome = simulate(Setup(trace, CLUSTER), policy, default_policy())
    return outcome, remarks(outcome, trace, HARDWARE, warmup_s)


@pytest.fixture(scope="module")
def plain():
    return told(read("round_robin"))


def test_the_first_line_is_the_request_that_lost_most(plain):
    outcome, lines = plain
    assert 3 <= len(lines) <= 4
    waits = [float(re.search(r"waited ([\d.e-]+) s", line)[1]) for line in lines]
    assert max(waits) > 0.0
    rows = [int(re.search(r"prompt (\d+)", line)[1]) for line in lines]
    assert set(rows) <= set(TRACE.prompt_tokens.tolist())
    assert outcome.entered.min() >= 0


def test_lost_requests_come_first_and_say_so():
    _, lines = told(REJECTS)
    assert "no token" in lines[0]
    assert "rejected" in lines[0]


def test_names_of_a_trace_are_in_no_remark(plain):
    named = replace(TRACE, tenants=tuple(f"kanarienvogel{k}" for k in range(len(TRACE.tenants))))
    assert told(read("round_robin"), trace=named)[1] == plain[1]


def test_nothing_is_said_of_the_warm_up(plain):
    assert remarks(plain[0], TRACE, HARDWARE, 1e6) == ()
    assert all(float(line.split()[1]) >= 0.0 for line in plain[1])
