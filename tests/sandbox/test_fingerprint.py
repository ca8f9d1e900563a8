"""Fingerprints: equal for equal outcomes, whatever the text or the constants that led there."""

from dataclasses import replace

import numpy as np
import pytest

from evolver.library import read
from sandbox.cluster import load_cluster
from sandbox.engine import load_policy
from sandbox.fingerprint import fingerprint
from sandbox.replay import default_policy
from sandbox.simulation import Setup, simulate
from sandbox.verifier import verify
from telemetry.generator import generate
from telemetry.profile import load_profile

TRACE = generate(load_profile("azure2023_conv"), n=300, seed=4)


def outcome(text):
    policy = load_policy(verify(text), engine="interpreted")
    return simulate(Setup(TRACE, load_cluster("edge-8b")), policy, default_policy())


@pytest.fixture(scope="module")
def plain():
    return outcome(read("least_loaded"))


def test_names_comments_and_constants_that_decide_nothing_leave_no_print(plain):
    renamed = read("least_loaded").replace("WAITING_WEIGHT", "QUEUE_WEIGHT")
    assert fingerprint(outcome(f"# a remark\n{renamed}")) == fingerprint(plain)


def test_another_policy_has_another(plain):
    assert fingerprint(outcome(read("round_robin"))) != fingerprint(plain)


@pytest.mark.parametrize(
    "row", ["entered", "first", "finish", "state", "preempted", "held", "moved", "engine"]
)
def test_one_picosecond_or_place_of_one_request_is_enough(plain, row):
    column = getattr(plain, row).copy()
    column[7] += 1
    assert fingerprint(replace(plain, **{row: column})) != fingerprint(plain)


def test_plans_count_and_thinking_alone_does_not(plain):
    for name, same in (("reconfigurations", False), ("faults", False), ("fuel", True)):
        totals = np.array([plain.totals])
        totals[name] += 1
        assert (fingerprint(replace(plain, totals=totals[0])) == fingerprint(plain)) is same
