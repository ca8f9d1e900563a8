"""Law 5: the two policy engines decide identically. Law 7: admitted code ends and stays inside."""

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trials

from sandbox import contract
from sandbox.compiled import build_policy
from sandbox.engine import load_policy
from sandbox.errors import ParametersRefused, PolicyFault
from sandbox.frame import FUEL, INDEX, NOT_A_NUMBER, OVERFLOW, SCRATCH, ZERO_DIVISION, Caller
from sandbox.policies import default_source
from sandbox.records import new_rows
from sandbox.verifier import verify

HERE = Path(__file__).parent

ROUTE = "def route(request, instances, memory):\n"
ROWS = {
    "request": contract.Request, "instance": contract.Instance, "entry": contract.Entry,
    "window": contract.Window, "cluster": contract.Cluster, "plan": contract.Plan,
    "new_plan": contract.Plan, "moves": contract.Moves, "instances": contract.Instance,
    "running": contract.Running, "entries": contract.Entry, "branches": contract.Branch,
}  # fmt: skip


def callers(source):
    return [Caller(load_policy(source, engine=engine)) for engine in ("interpreted", "compiled")]


@pytest.mark.parametrize("which", ["default", "every_construct"])
def test_law_5_engines_and_plain_python_agree_on_every_hook(which):
    text = (HERE / "every_construct.txt").read_text()
    source = default_source() if which == "default" else verify(text)
    for hook in source.hooks:
        report = trials.tried(source, hook, which, calls=12, compiled=True)
        assert not report.violations, hook


def test_the_default_policy_stops_on_no_ordinary_input():
    caller, rng = Caller(load_policy(default_source(), engine="interpreted")), random.Random(1)
    for hook in default_source().hooks:
        for _ in range(20):
            given = trials.inputs.inputs_for(hook, rng, wild=0.0)
            getattr(caller, hook)(**given.rows)


def rows(count=3):
    instances = new_rows(contract.Instance, count)
    instances["id"] = np.arange(count) + 10
    return new_rows(contract.Request, 1), instances


STOPS = {
    "    for i in range(200):\n        for j in range(50):\n            memory[0] += 1\n"
    "    return 0": FUEL,
    "    for i in range(request.prompt_tokens):\n        pass\n    return 0": FUEL,
    "    return instances[len(instances)].id": INDEX,
    "    return instances[request.turn - 1].id": INDEX,
    "    memory[64] = 1.0\n    return 0": INDEX,
    "    return min(i.id for i in instances if i.tp > 9)": INDEX,
    "    return int(1 / request.age_s)": ZERO_DIVISION,
    "    return 7 // request.turn": ZERO_DIVISION,
    "    a = 3\n    for i in range(60):\n        a = a * 3\n    return a": OVERFLOW,
    "    return int(1e300)": OVERFLOW,
    "    return int(request.deadline_s)": NOT_A_NUMBER,
    "    for i in range(9):\n        a = zeros(4096)\n    return 0": SCRATCH,
}


@pytest.mark.parametrize("body", STOPS)
def test_law_7_code_is_stopped_with_its_kind_of_fault(body):
    request, instances = rows()
    request["deadline_s"], request["prompt_tokens"] = math.nan, 1000
    caller = Caller(load_policy(verify(f"{ROUTE}{body}\n"), engine="interpreted"))
    with pytest.raises(PolicyFault) as caught:
        caller.route(request, instances, fuel=30_000)
    assert caught.value.kind == STOPS[body]


def test_law_7_planner_loops_end_with_the_fuel():
    source = verify(
        "def should_reschedule(window, cluster, plan, memory):\n    a = 0\n"
        "    for i in range(9007199254740992):\n        for j in range(9007199254740992):\n"
        "            a = j\n    return a > 0\n"
    )
    arguments = [new_rows(ROWS[name], 1) for name in ("window", "cluster", "plan")]
    for caller in callers(source):
        with pytest.raises(PolicyFault, match="fuel"):
            caller.should_reschedule(*arguments, fuel=20_000)


def test_a_parameter_changes_the_decision_without_compiling_again():
    source = verify("LIMIT = 5.0  # tune: 0 .. 10\n" + ROUTE
                    + "    return HOLD if instances[0].oldest_wait_s < LIMIT else 3\n")  # fmt: skip
    request, instances = rows()
    instances["oldest_wait_s"] = 2.0
    for engine in ("interpreted", "compiled"):
        loaded = load_policy(source, engine=engine)
        tuned = loaded.with_parameters({"LIMIT": 1.0})
        assert tuned.address("route") == loaded.address("route")
        assert tuned.digest != loaded.digest
        assert [Caller(one).route(request, instances) for one in (loaded, tuned)] == [-1, 3]


@pytest.mark.parametrize(
    "wrong", [{"LIMIT": 11.0}, {"LIMIT": math.nan}, {"OTHER": 1.0}, {"N": 1.5}]
)
def test_parameters_out_of_range_are_refused(wrong):
    constants = "LIMIT = 5.0  # tune: 0 .. 10\nN = 2\n"
    source = verify(constants + ROUTE + "    return N + int(LIMIT)\n")
    with pytest.raises(ParametersRefused):
        load_policy(source, wrong, engine="interpreted")


def test_rows_are_seen_rotated():
    source = verify(ROUTE + "    for inst in instances:\n        return inst.id\n    return HOLD\n")
    request, instances = rows()
    caller = Caller(load_policy(source, engine="interpreted"))
    seen = [caller.route(request, instances, rotation=rotation) for rotation in range(3)]
    assert seen == [10, 11, 12]


def test_memory_keeps_what_a_stopped_call_wrote_alike():
    source = verify(ROUTE + "    memory[0] = 7.0\n    return 1 // request.turn\n")
    for caller in callers(source):
        with pytest.raises(PolicyFault):
            caller.route(*rows())
        assert caller.memory[0] == 7.0


@pytest.mark.parametrize("forged", ["4096", "(ref(v_x__0) + 1000000000)", "(ref(v_x__0) - 8)"])
def test_law_7_a_word_that_is_no_row_of_an_argument_is_never_followed(forged):
    source = verify(ROUTE + "    rows = [x for x in instances]\n    return rows[0].id\n")
    broken = replace(source, lowered=source.lowered.replace("ref(v_x__0)", forged))
    assert broken.lowered != source.lowered
    with pytest.raises(PolicyFault):
        Caller(load_policy(broken, engine="compiled", code=build_policy(broken))).route(*rows())
