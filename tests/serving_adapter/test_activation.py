"""Real policies on their way to a live host: verified, loaded by either engine, smoke-tested."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from routing_policies import LATE_DIVISION, SHORTEST

from sandbox import contract
from sandbox.frame import Caller
from sandbox.records import new_rows
from serving_adapter.activation import (
    NativeRouter,
    missing_rows,
    new_memory,
    prepare_policy,
    smoke_test,
)
from serving_adapter.decision import Author
from serving_adapter.errors import PolicyUnusable
from serving_adapter.facts import RequestFacts

ALWAYS_42 = '''
"""Picks an instance that is not there."""


def route(request, instances, memory):
    return 42
'''
PLANNER_ONLY = '''
"""Never plans."""


def should_reschedule(window, cluster, plan, memory):
    return False
'''

interpreted = partial(prepare_policy, engine="interpreted")


@pytest.mark.parametrize("engine", ["interpreted", "compiled"])
def test_a_real_policy_routes_with_either_engine(engine):
    ready = prepare_policy(SHORTEST, engine=engine)
    request, rows = missing_rows(contract.Request, 1), new_rows(contract.Instance, 3)
    rows["id"], rows["queued_requests"] = [7, 8, 9], [2, 0, 1]
    choices = [ready.router.route(request, rows, ready.memory, turn, 60_000) for turn in range(4)]
    assert choices == [8, 8, 8, 8]
    assert ready.memory[0] == 4.0


def test_parameters_are_part_of_the_digest_and_take_effect():
    ready, tuned = interpreted(SHORTEST), interpreted(SHORTEST, {"WEIGHT": 0.5})
    rows = new_rows(contract.Instance, 2)
    rows["id"], rows["queued_requests"], rows["running_requests"] = [1, 2], [4, 0], [0, 3]
    picked = [
        one.router.route(missing_rows(contract.Request, 1), rows, new_memory(), 0, 60_000)
        for one in (ready, tuned)
    ]
    assert ready.digest != tuned.digest
    assert picked == [2, 1]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os", "cannot go live"),
        (ALWAYS_42, "which is not there"),
        (LATE_DIVISION.replace("777", "512"), "divided by zero"),
    ],
)
def test_what_must_not_go_live_is_refused_with_its_reason(source, reason):
    with pytest.raises(PolicyUnusable, match=reason):
        interpreted(source)


def test_a_policy_without_route_leaves_it_to_the_default():
    assert interpreted(PLANNER_ONLY).router is None


async def test_a_fault_that_shows_only_live_ejects_and_serves(new_host):
    host = new_host(prepare=interpreted)
    await host.swap(SHORTEST, 1)
    await host.swap(LATE_DIVISION, 2)
    fine = host.route(RequestFacts(arrived_s=0.0, prompt_tokens=5))
    faulty = host.route(RequestFacts(arrived_s=0.0, prompt_tokens=777))
    assert (fine.author, faulty.author) == (Author.ACTIVE, Author.LAST_GOOD)
    assert (faulty.reason, faulty.sequence) == ("zero-division", 2)


async def test_running_out_of_fuel_is_a_fault_like_any_other(new_host):
    host = new_host(prepare=interpreted, fuel=3)
    await host.swap(SHORTEST, 1)
    decision = host.route(RequestFacts(arrived_s=0.0, prompt_tokens=5))
    assert (decision.author, decision.reason) == (Author.BUILT_IN, "fuel")


def test_the_short_way_into_a_policy_decides_as_the_long_one():
    router = interpreted(SHORTEST).router
    assert isinstance(router, NativeRouter)
    caller = Caller(router.loaded)
    rows = new_rows(contract.Instance, 16)
    rows["id"] = np.arange(16)
    request = missing_rows(contract.Request, 1)
    for turn in range(16):
        rows["queued_requests"] = np.roll(np.arange(16), turn) // 2
        arguments = (request, rows, new_memory(), turn, 60_000)
        assert router.route(*arguments) == caller.route(*arguments)


def test_the_smoke_test_covers_missing_signals():
    class NeedsSignals:
        def route(self, request, instances, memory, rotation, fuel):
            return int(instances["id"][0]) if instances["kv_capacity_tokens"][0] > 0 else -9

    with pytest.raises(PolicyUnusable, match="smoke test"):
        smoke_test(NeedsSignals())


def test_a_swap_imports_no_compiler_into_the_process_that_serves():
    text = "def route(request, instances, memory):\n    return instances[0].id\n"
    code = (
        "import sys\nfrom serving_adapter.activation import prepare_policy\n"
        f"ready = prepare_policy({text!r}, engine='compiled')\n"
        "sys.exit(ready.router is None or 'numba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
