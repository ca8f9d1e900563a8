import math

import numpy as np
import pytest

from sandbox import arithmetic, contract, toolkit
from sandbox.errors import PolicyFault
from sandbox.frame import FRAME
from sandbox.interpreted import CallState
from sandbox.language.kinds import tools
from sandbox.language.reads import fields_read_by
from sandbox.records import new_rows
from sandbox.views import view_of

STATE = CallState(10**9, 0)


def empty_plan():
    rows = new_rows(contract.Plan, 1)
    return view_of("Plan").read(rows.ctypes.data)


@pytest.mark.parametrize(
    ("value", "documented"),
    [
        (toolkit.sqrt(-4.0), 0.0),
        (toolkit.exp(1e9), math.exp(700.0)),
        (toolkit.log(0.0), -745.0),
        (toolkit.log(math.inf), math.inf),
        (toolkit.clip(5.0, 0.0, 1.0), 1.0),
        (toolkit.ratio(1.0, 0.0, 7.0), 7.0),
        (toolkit.ratio(math.nan, 1.0, 7.0), 7.0),
        (toolkit.floor(STATE, -0.5), -1),
        (toolkit.ceil(STATE, 0.5), 1),
    ],
)
def test_mathematics_is_total(value, documented):
    assert value == documented


def test_order_is_stable_and_puts_missing_values_last():
    values = [3.0, math.nan, 1.0, 3.0, -math.inf, 1.0]
    assert toolkit.order(STATE, values, 6) == [4.0, 2.0, 5.0, 0.0, 3.0, 1.0]


def test_random01_is_uniform_and_differs_by_seed_and_draw():
    draws = np.array([toolkit.random01(seed, k) for seed in range(60) for k in range(60)])
    assert ((draws >= 0.0) & (draws < 1.0)).all()
    assert len(set(draws)) == len(draws)
    assert abs(draws.mean() - 0.5) < 0.02


def test_random01_agrees_with_its_compiled_form():
    from numba import njit

    from sandbox.native.policy_builder import namespace

    native = namespace()["random01"]
    call = njit(lambda seed, k: native(seed, k))
    seeds = [0, 1, -1, 2**53, 2**63 - 1, -(2**63), 12345]
    assert [call(seed, 3) for seed in seeds] == [toolkit.random01(seed, 3) for seed in seeds]


def test_a_plan_is_filled_shared_dropped_and_kept():
    plan = empty_plan()
    for tp in (1, 2, 4):
        toolkit.add_replica(STATE, plan, 0, tp, 1, contract.MIXED)
    toolkit.set_share(STATE, plan, 2, 3, 9.0)
    toolkit.drop_replica(STATE, plan, 0)
    assert [replica.tp for replica in plan.replicas[: plan.n_replicas]] == [2, 4]
    assert plan.replicas[1].share[3] == 1.0
    other = empty_plan()
    toolkit.keep_plan(STATE, other, plan)
    assert (other.keep, other.n_replicas, toolkit.plan_gpus(STATE, other, 0)) == (True, 2, 6)


def test_a_full_plan_takes_no_more():
    plan = empty_plan()
    added = [toolkit.add_replica(STATE, plan, 0, 1, 1, 0) for _ in range(contract.MAX_REPLICAS + 1)]
    assert added == [*range(contract.MAX_REPLICAS), -1]


def test_scratch_ends():
    state = CallState(10**9, 0)
    arithmetic.vector(state, 16_384)
    with pytest.raises(RuntimeError):
        arithmetic.vector(state, 1)


def test_what_a_tool_reads_counts_as_read():
    assert "Instance.step_per_seq_s" in fields_read_by("completion_s")
    assert fields_read_by("set_speculation") == frozenset()


def test_every_tool_is_documented():
    assert all((getattr(toolkit, name).__doc__ or "").strip() for name in tools())


def test_views_cover_every_byte_of_their_record():
    assert view_of("Plan").layout.size == new_rows(contract.Plan, 1).dtype.itemsize
    assert FRAME.itemsize % 8 == 0


def test_faults_name_the_hook_and_survive_pickling():
    import pickle

    fault = PolicyFault("route", 2, "it divided by zero")
    assert pickle.loads(pickle.dumps(fault)).kind == 2
